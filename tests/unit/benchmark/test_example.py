"""The stress test among the examples, as somebody runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .server import Engine, serving

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "stress_test.py"


def stress(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    env = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_MODEL": "m", "OPENAI_API_KEY": "k"}
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_every_request_has_its_status_and_latency() -> None:
    engine = Engine(fate=lambda number: "busy" if number == 3 else "ok")
    with serving(engine) as url:
        done = stress(url, "3", "9")
    lines = done.stdout.splitlines()
    assert len(lines) == 10, done.stderr
    assert sum("status 200  first token 0." in line for line in lines) == 8
    assert sum("status 429  first token –  whole answer" in line for line in lines) == 1
    assert lines[-1].startswith("8 of 9 answered")
    assert done.returncode == 1
    assert {header["Authorization"] for header in engine.headers} == {"Bearer k"}


def test_server_that_is_not_there() -> None:
    with serving(Engine()) as url:
        pass
    done = stress(url, "1", "1")
    assert "status ClientConnectorError" in done.stdout, done.stderr
    assert done.returncode == 1

"""The playbook on this machine as its only host, against an engine on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .server import Engine, serving

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"benchmark_requests": 4, "benchmark_output_tokens": 3, "benchmark_client_ceiling_seconds": 0}


def play(folder: Path, url: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook in a folder on an inventory with one vLLM host."""
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "vllm_models": [{"name": "m", "port": int(url.rpartition(":")[2])}],
        "vllm_api_key": "v3ry-s3cret",
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"vllm": {"hosts": {"gpu1": host}}}), "utf-8")
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PWD": str(folder), "NO_COLOR": "1"}
    # ansible.cfg names its folders relative to itself.
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "playbooks" / "benchmark.yml")]
    command += ["-i", str(inventory), "-e", json.dumps({**SMALL, **variables}), *options]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_engines_are_measured_and_results_brought_here(engine: Engine, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one question\nanother question\n", "utf-8")
    with serving(engine) as url:
        done = play(tmp_path, url, "-e", "benchmark_concurrency=[1,2]", benchmark_prompts_file=str(prompts))
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "benchmark" / "gpu1" / "m"
    summary = json.loads((results / "summary.json").read_text("utf-8"))
    assert [stage["load"] for stage in summary["stages"]] == [1, 2]
    assert {request["messages"][0]["content"] for request in engine.requests} == {"one question", "another question"}
    assert {header["Authorization"] for header in engine.headers} == {"Bearer v3ry-s3cret"}
    everything = done.stdout + done.stderr + "".join(path.read_text("utf-8") for path in results.iterdir())
    assert "v3ry-s3cret" not in everything
    assert "2 at a time: " in done.stdout
    assert str(results / "report.html") in done.stdout


def test_broken_promise_fails_the_play_and_leaves_the_report(engine: Engine, tmp_path: Path) -> None:
    engine.first_token_seconds = 0.05
    with serving(engine) as url:
        done = play(tmp_path, url, benchmark_concurrency=[1], benchmark_slo={"ttft_seconds": 0.001})
    assert done.returncode != 0
    assert "first token ≤ 0.001 s (slo.ttft_seconds), found 0.0 %" in done.stdout
    assert "promise NOT kept" in done.stdout
    assert (tmp_path / "benchmark" / "gpu1" / "m" / "report.html").exists()


def test_url_is_measured_from_here(engine: Engine, tmp_path: Path) -> None:
    with serving(engine) as url:
        done = play(
            tmp_path,
            url,
            benchmark_url=url,
            benchmark_models=["x/y"],
            benchmark_request_rate=[50],
            benchmark_api_key="g4te",
            benchmark_dest="elsewhere",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "elsewhere" / "localhost" / "x_y" / "requests.jsonl").exists()
    assert {request["model"] for request in engine.requests} == {"x/y"}
    assert {header["Authorization"] for header in engine.headers} == {"Bearer g4te"}


def test_check_mode_sends_nothing(engine: Engine, tmp_path: Path) -> None:
    with serving(engine) as url:
        done = play(tmp_path, url, "--check", benchmark_concurrency=[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would send 4 requests 1 at a time" in done.stdout
    assert (engine.requests, engine.paths) == ([], [])
    assert not (tmp_path / "benchmark").exists()


def test_misspelt_variable_is_refused(engine: Engine, tmp_path: Path) -> None:
    with serving(engine) as url:
        done = play(tmp_path, url, benchmark_concurency=[1])
    assert done.returncode != 0
    assert "Unknown variables: benchmark_concurency." in done.stdout + done.stderr
    assert engine.requests == []

"""playbooks/status.yml where hosts cannot be reached, and where --limit leaves out the control node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def status(tmp_path: Path):
    """Run it on two hosts that nobody answers for; return how it ended and the rows that it wrote."""
    away = "ansible_host=127.0.0.1 ansible_port=9 ansible_user=nobody"
    (tmp_path / "hosts").write_text(f"[vllm]\na {away}\n[ollama]\nb {away}\n", "utf-8")

    def run(*options: str) -> tuple[int, list[dict]]:
        rows = tmp_path / "rows.json"
        command = [
            Path(sys.executable).parent / "ansible-playbook",
            ROOT / "playbooks/status.yml",
            "-i",
            tmp_path / "hosts",
        ]
        told = ["-e", f"status_path={rows}", "-e", "fail_on_drift=true", *options]
        done = subprocess.run([*command, *told], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert rows.exists(), done.stdout + done.stderr
        return done.returncode, json.loads(rows.read_text("utf-8"))

    return run


@pytest.mark.parametrize(("options", "expected"), [((), ["a", "b"]), (("--limit", "b"), ["b"])])
def test_hosts_that_cannot_be_reached_are_told(status, options, expected) -> None:
    code, rows = status(*options)
    assert code == 2
    assert [row["host"] for row in rows] == expected
    for row in rows:
        (why,) = row["differences"]
        assert why.startswith("could not be looked at: ")
        assert "Connection refused" in why

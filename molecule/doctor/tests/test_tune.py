"""playbooks/tune.yml on the host with Ollama: tries, chooses, writes or leaves, and goes back when it fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from control import ENVIRONMENT, INVENTORY, ROOT

LOAD = {
    "benchmark_concurrency": [4],
    "benchmark_requests": 24,
    "benchmark_output_tokens": 8,
    "benchmark_input_tokens": 8,
    # The host's cards are not used: that is what the doctor's tests are about.
    "ollama_gpu_percent": 0,
}


def tune(folder: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook."""
    files = {"tune_dest": str(folder / "tuned.yml"), "tune_report": str(folder / "reports" / "tune.html")}
    extra = {"tune_host": "fallback", **files, **LOAD, **variables}
    words = ["ansible-playbook", "-i", INVENTORY, ROOT / "playbooks" / "tune.yml", "-e", json.dumps(extra)]
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def parallel(fallback: Any) -> str:
    """What the running server works with."""
    return str(fallback.check_output("grep PARALLEL /etc/ollama/ollama.env").partition("=")[2].strip('"'))


def test_a_run_without_a_promise_is_refused(tmp_path: Path) -> None:
    done = tune(tmp_path)
    assert done.returncode
    assert "benchmark_slo: expected the promise" in done.stdout


def test_what_was_chosen_is_served_and_written(tmp_path: Path, fallback: Any) -> None:
    # Of four at a time, one after the other waits for three: a promise that only parallel work keeps.
    done = tune(
        tmp_path,
        benchmark_slo={"e2e_seconds": 30, "share": 0.5},
        tune_candidates=[{"ollama_num_parallel": n} for n in (1, 4)],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requests/s as promised" in done.stdout
    assert "ollama_num_parallel 4" in (tmp_path / "reports" / "tune.html").read_text("utf-8")
    written = tmp_path / "tuned.yml"
    chosen = str(yaml.safe_load(written.read_text())["ollama_num_parallel"]) if written.exists() else "1"
    assert parallel(fallback) == chosen
    assert written.exists() or "The plan stays" in done.stdout


@pytest.mark.deep
@pytest.mark.parametrize("value", ["none"])
def test_settings_that_are_refused_are_a_result_and_no_more(tmp_path: Path, fallback: Any, value: str) -> None:
    done = tune(
        tmp_path,
        benchmark_slo={"e2e_seconds": 30},
        tune_candidates=[{"ollama_num_parallel": 1}, {"ollama_num_parallel": value}],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not measured" in done.stdout
    assert not (tmp_path / "tuned.yml").exists()
    assert parallel(fallback) == "1"

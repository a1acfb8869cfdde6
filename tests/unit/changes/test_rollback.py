"""playbooks/rollback.yml from the control node's side: which hosts go back together, and in which order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GENERATION = {"number": 1, "recorded": "2026-11-24T12:00:00Z", "engine": "0.33.0-cuda", "probes": []}
RESULTS = {
    "host_lock": {"changed": True},
    "generation": {"changed": True, "generation": GENERATION, "actions": {}},
}
SHARED = [{"name": "big", "members": ["a", "d"]}]


@pytest.fixture
def roll_back(tmp_path: Path):
    """Run it on hosts that are not there and whose modules succeed; `a` and `d` share a model."""
    hosts = {name: {"vllm_models": SHARED if name in "ad" else []} for name in "abcde"}
    reached = {
        "ansible_connection": "canned",
        "ansible_become": False,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": {"vllm": {"hosts": hosts, "vars": reached}}}}), "utf-8")
    results = tmp_path / "results.json"
    results.write_text(json.dumps(RESULTS), "utf-8")
    canned = {
        "CANNED_RESULTS": str(results),
        "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "bench/converge_lib/connection"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "-i", str(inventory), "playbooks/rollback.yml", *options]
        environment = {**os.environ, **canned}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)

    return run


def batches(output: str) -> list[str]:
    """Return the hosts of each batch in which something was put back."""
    tasks = re.findall(r"^TASK \[(.*?)\].*\n((?:(?!^TASK|^PLAY).*\n)*)", output, re.MULTILINE)
    put_back = [text for name, text in tasks if name.endswith("Put the host back to a generation")]
    return ["".join(sorted(re.findall(r"^changed: \[(\w)\]", text, re.MULTILINE))) for text in put_back]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["ad", "b", "c", "e"]),
        (("-e", "rolling_serial=100%"), ["abcde"]),
        (("--limit", "d,a,c"), ["ad", "c"]),
        (("--limit", "e,b"), ["b", "e"]),
    ],
)
def test_hosts_that_share_a_model_are_one_batch(roll_back, options, expected) -> None:
    done = roll_back(*options)
    assert done.returncode == 0, done.stdout
    assert batches(done.stdout) == expected


def test_one_of_them_alone_is_refused_before_anything_is_changed(roll_back) -> None:
    done = roll_back("--limit", "a,b")
    assert done.returncode != 0
    assert "a shares a model with d, which this run leaves out: widen --limit" in " ".join(done.stdout.split())
    assert batches(done.stdout) == []

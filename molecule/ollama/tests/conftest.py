"""Runs playbooks and modules again with other variables, as an operator would."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine


@dataclass(frozen=True)
class Run:
    """What a run of a playbook came to."""

    ok: bool
    output: str

    @property
    def is_unchanged(self) -> bool:
        """Whether no task of any host changed anything."""
        return "changed=0" in self.output and not any(f"changed={count}" in self.output for count in range(1, 40))


def play(playbook: str, limit: str, *options: str, **variables: Any) -> Run:
    """Run a playbook with these variables on top of the inventory's."""
    command = ["ansible-playbook", "-i", INVENTORY, "--limit", limit, "-e", json.dumps(variables), *options]
    target = [ROOT / "playbooks" / playbook]
    done = subprocess.run([*command, *target], capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT)
    return Run(done.returncode == 0, done.stdout + done.stderr)


def module(name: str, machine_name: str, /, *options: str, **arguments: Any) -> dict[str, Any]:
    """Run a module of the collection on a host and return what it returned."""
    command = [
        "ansible",
        "-i",
        INVENTORY,
        machine_name,
        "-m",
        f"llm.serving.{name}",
        "-a",
        json.dumps(arguments),
        *options,
    ]
    environment = {**ENVIRONMENT, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    _, separator, text = done.stdout.partition(" => ")
    assert separator, done.stdout + done.stderr
    result, _ = json.JSONDecoder().raw_decode(text)
    return dict(result)


def eventually(holds: Callable[[], bool], seconds: float) -> float:
    """Wait until something holds, and return how long it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, f"not within {seconds} seconds"
        time.sleep(0.2)
    return time.monotonic() - started


@pytest.fixture(scope="session")
def cpu() -> Any:
    return machine("cpu")


@pytest.fixture(scope="session")
def gpu() -> Any:
    return machine("gpu")


@pytest.fixture(scope="session")
def mirror() -> Any:
    return machine("mirror")

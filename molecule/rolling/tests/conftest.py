"""Runs playbooks again with other variables, and asks through the gateway all the while."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine
from pressure import Pressure

KEY = "app-rolling-0123456789abcdefghijklmnop"


@dataclass(frozen=True)
class Run:
    """What a run of a playbook came to."""

    ok: bool
    output: str

    @property
    def words(self) -> str:
        """Its output, however its lines were broken."""
        return " ".join(self.output.split())


@pytest.fixture
def play() -> Callable[..., Run]:
    """Run a playbook of the collection with these variables on top of the inventory's."""

    def run(playbook: str, *options: str, **variables: Any) -> Run:
        command = ["ansible-playbook", "-i", INVENTORY, "-e", json.dumps(variables), *options]
        target = [ROOT / "playbooks" / f"{playbook}.yml"]
        done = subprocess.run(
            [*command, *target], capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT
        )
        return Run(done.returncode == 0, done.stdout + done.stderr)

    return run


@pytest.fixture
def guest() -> Callable[[str], Any]:
    """Return a host by its name."""
    return machine


@pytest.fixture
def requests(guest: Callable[[str], Any]) -> Iterator[Callable[[], list[str]]]:
    """Ask without a pause during a test; return what became of each request."""
    stream = Pressure(guest("door"), KEY)
    stream.start()
    yield lambda: [item["outcome"] for item in stream.requests()]
    stream.stop()


@pytest.fixture
def versions() -> list[str]:
    """The releases that there are."""
    return list(json.loads(subprocess.check_output([ROOT / "tools" / "build_ollama"]))["versions"])

"""Runs playbooks as an operator would, with the variables that the adoption wrote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part of the inventory that the adoption writes."""
    folder = tmp_path_factory.mktemp("inventory")
    (folder / "hosts.yml").write_text("all: {hosts: {official: , byhand: }}\n")
    return folder


@pytest.fixture(scope="session")
def play(written: Path) -> Callable[..., str]:
    """Run a playbook and return what it said."""

    def run(playbook: str, *options: str, fails: bool = False) -> str:
        command = ["ansible-playbook", "-i", INVENTORY, "-i", written, ROOT / "playbooks" / playbook, *options]
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def official() -> Any:
    """The host with what Ollama's installer leaves, and vLLM in somebody's session."""
    return machine("official")


@pytest.fixture(scope="session")
def byhand() -> Any:
    """The host with units and scripts of somebody's own."""
    return machine("byhand")

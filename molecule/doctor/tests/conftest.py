"""Runs the doctor as its user would, and makes instances sick."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine

Doctor = Callable[..., "dict[str, list[dict[str, Any]]]"]


@pytest.fixture(scope="module")
def doctor(tmp_path_factory: pytest.TempPathFactory) -> Doctor:
    """Run playbooks/doctor.yml and return the findings of every host."""

    def run(*options: str) -> dict[str, list[dict[str, Any]]]:
        output = tmp_path_factory.mktemp("doctor") / "findings.json"
        words = ["ansible-playbook", "-i", INVENTORY, ROOT / "playbooks" / "doctor.yml", "-e", f"output={output}"]
        done = subprocess.run(
            [*words, *options], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(output.read_text()))

    return run


@pytest.fixture(scope="module")
def doctor_for() -> Callable[..., list[dict[str, Any]]]:
    """Run the module on a host for clients of it, and return its findings."""

    def run(host: str, *clients: str) -> list[dict[str, Any]]:
        words = [
            "ansible",
            host,
            "-i",
            INVENTORY,
            "-m",
            "llm.serving.llm_doctor",
            "-a",
            json.dumps({"clients": clients}),
        ]
        environment = {
            **ENVIRONMENT,
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"][host]["findings"])

    return run


@pytest.fixture(scope="module")
def clinic() -> Any:
    """The host with vLLM, where instances fall sick."""
    return machine("clinic")


@pytest.fixture(scope="module")
def fallback() -> Any:
    """The host with Ollama and cards that it does not use."""
    return machine("fallback")

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from control import INVENTORY, machine

SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[1]
TOKEN = "hf_molecule_not_to_be_seen"  # noqa: S105 - opens nothing but the test's server
PLAYBOOK = SCENARIO / "converge.yml"


@pytest.fixture(scope="session")
def gateway() -> str:
    return machine("alpha").ansible.get_variables()["testhost_gateway"]


def play(limit: str, *arguments: str, **variables: Any) -> subprocess.Popen[str]:
    """Start the playbook on a host, with variables beside the inventory's."""
    command = [
        "ansible-playbook", str(PLAYBOOK), f"--inventory={INVENTORY}", f"--limit={limit}",
        f"--extra-vars={json.dumps(variables)}", *arguments,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "MOLECULE_SCENARIO_NAME": SCENARIO.name,
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
    }
    environment.pop("CI", None)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@dataclass
class HubServer:
    """A Hub of a test's own, beside the scenario's."""

    endpoint: str
    commits: dict[str, str]
    state: Path
    model: Path

    def requests(self) -> list[dict[str, Any]]:
        lines = (self.state / "requests.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def large(self) -> list[dict[str, Any]]:
        return [r for r in self.requests() if r["path"].startswith("/cdn/") and r["method"] == "GET"]


@pytest.fixture
def hub(gateway: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HubServer]:
    model, state = tmp_path / "model", tmp_path / "hub"
    make = [ROOT / "tools/tiny_model.py", model, "--shards=4", "--pad-bytes=40000000", "--seed=7"]
    subprocess.run([*map(str, make)], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "tokens").write_text(TOKEN)
    command = [
        sys.executable, str(ROOT / "tools/hub_server.py"), "serve", "--listen", f"{gateway}:0", "--state", str(state),
        "--model", f"acme/large={model}", "--model", f"acme/gated={model}", "--gated", "acme/gated",
        "--token-file", str(tmp_path / "tokens"), *getattr(request, "param", []),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        told = json.loads(server.stdout.readline())
        yield HubServer(told["endpoint"], told["commits"], state, model)
        server.terminate()


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)

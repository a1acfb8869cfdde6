"""Runs the playbook again with other variables, and looks at what became of the instances."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
HOST_VARS = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]["vllm"]["vars"]


@dataclass(frozen=True)
class Run:
    """What a run of the playbook came to."""

    ok: bool
    output: str


def command(folder: Path, playbook: str, variables: dict[str, Any]) -> dict[str, Any]:
    """How to run a playbook with these variables on top of the inventory's, for subprocess."""
    extra = folder / "extra.json"
    extra.write_text(json.dumps(variables))
    words = ["ansible-playbook", "-i", INVENTORY, "-e", f"@{extra}", "--diff", ROOT / "playbooks" / f"{playbook}.yml"]
    return {"args": words, "cwd": ROOT, "env": {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}}


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Run]:
    """Run a playbook of the collection, playbooks/vllm.yml unless another is named, and wait for it."""

    def run(playbook: str = "vllm", **variables: Any) -> Run:
        how = command(tmp_path, playbook, variables)
        done = subprocess.run(**how, capture_output=True, text=True, check=False)
        return Run(done.returncode == 0, done.stdout + done.stderr)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    """Run playbooks/vllm.yml and do not wait for it."""

    def run(**variables: Any) -> Any:
        how = command(tmp_path, "vllm", variables)
        return subprocess.Popen(**how, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    return run


@pytest.fixture
def models() -> list[dict[str, Any]]:
    """The inventory's models, to be changed at will."""
    copy: list[dict[str, Any]] = json.loads(json.dumps(HOST_VARS["vllm_models"]))
    return copy


@pytest.fixture
def lives(host: Any) -> Callable[[], dict[str, str]]:
    """Tell which processes serve now: another process, another life."""

    def look() -> dict[str, str]:
        names = ("first", "second")
        show = "systemctl show -p ActiveState -p MainPID -p ActiveEnterTimestampMonotonic vllm@%s.service"
        return {name: host.check_output(show % name) for name in names}

    return look


@pytest.fixture
def ask(host: Any) -> Callable[..., Any]:
    """Ask an instance, from its own host, with the key or without."""

    def request(port: int, path: str, body: Any = None, key: str | None = HOST_VARS["vllm_api_key"]) -> tuple[int, Any]:
        script = (
            "import json, sys, urllib.request as u, urllib.error as e\n"
            "port, path, body, key = json.loads(sys.argv[1])\n"
            "r = u.Request(f'http://127.0.0.1:{port}{path}', data=json.dumps(body).encode() if body else None)\n"
            "r.add_header('Content-Type', 'application/json')\n"
            "key and r.add_header('Authorization', f'Bearer {key}')\n"
            "try:\n    a = u.urlopen(r, timeout=60); print(json.dumps([a.status, a.read().decode()]))\n"
            "except e.HTTPError as a:\n    print(json.dumps([a.code, a.read().decode()]))\n"
        )
        argument = json.dumps([port, path, body, key])
        status, text = json.loads(host.check_output("python3 -c %s %s", script, argument))
        return status, json.loads(text) if text.startswith(("{", "[")) else text

    return request

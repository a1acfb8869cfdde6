"""Runs playbooks again with other variables, and asks through the gateway all the while."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
}
# One request after the other, from the gateway's own host as a client would send them; each line is a status.
STREAM = """
import json, ssl, time, urllib.error, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
body = json.dumps({"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}).encode()
key = "app-rolling-0123456789abcdefghijklmnop"
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
while True:
    request = urllib.request.Request("https://127.0.0.1/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as reply:
            reply.read()
            status = reply.status
    except urllib.error.HTTPError as error:
        status = error.code
    except Exception as error:
        status = repr(error)
    print(status, flush=True)
    time.sleep(0.2)
"""


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
    return lambda name: testinfra.get_host(f"ansible://{name}", ansible_inventory=str(INVENTORY))


@pytest.fixture
def requests(guest: Callable[[str], Any]) -> Any:
    """Ask without a pause during a test; return what became of it."""
    door = guest("door")
    door.check_output("printf %%s %s > /root/stream.py", STREAM)
    door.check_output(
        "systemd-run --quiet --unit=stream --property=StandardOutput=truncate:/root/stream.log python3 /root/stream.py"
    )
    yield lambda: door.file("/root/stream.log").content_string.split("\n")[:-1]
    door.run("systemctl stop stream")


@pytest.fixture
def versions() -> list[str]:
    """The releases that there are."""
    return list(json.loads(subprocess.check_output([ROOT / "tools" / "build_ollama"]))["versions"])

"""Harms engines under a stream of requests, and waits until they have recovered by themselves."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pressure
import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine

UNIT = "vllm@tiny.service"
RECOVERY_SECONDS = 600  # of which most is loading the engine, on a busy machine


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what each fault did to the requests."""
    pressure.summarise(terminalreporter)


# Hosts have no curl.
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@dataclass(frozen=True)
class Engine:
    """An engine's host, and the gateway that looks at it."""

    name: str
    host: Any
    door: Any

    def life(self) -> str:
        """Another word for each start of the unit."""
        return str(self.host.check_output(f"systemctl show -P InvocationID {UNIT}"))

    def api(self) -> str:
        """The API server's process: what the guard, which is the unit's first process, started."""
        return str(self.host.check_output(f"pgrep -P $(systemctl show -P MainPID {UNIT})").split()[0])

    def core(self) -> str:
        """The process that computes."""
        return str(self.host.check_output("pgrep -o -f VLLM::EngineCore").split()[0])

    def is_in_service(self) -> bool:
        """Whether the gateway sends it requests."""
        lines = self.door.check_output("python3 -c %s http://127.0.0.1:8405/metrics", FETCH).splitlines()
        up = [line for line in lines if line.startswith("haproxy_server_status") and 'state="UP"' in line]
        return any(f'server="{self.name}"' in line and line.endswith(" 1") for line in up)

    def answers(self) -> bool:
        """Whether the engine itself says that it is well."""
        return bool(self.host.run("python3 -c %s http://127.0.0.1:8010/health", FETCH).rc == 0)

    def recovery_seconds(self, former_life: str, began: float) -> float:
        """Wait until another life of it serves, by itself."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            if self._has_recovered(former_life):
                return time.monotonic() - began
            time.sleep(1)
        raise AssertionError(self.host.run(f"systemctl status -n 50 {UNIT}").stdout)

    def _has_recovered(self, former_life: str) -> bool:
        try:
            found = self.host.run(f"systemctl show -P InvocationID {UNIT}").stdout.strip()
        except RuntimeError:  # a host that starts anew does not let anybody in for a while
            return False
        return found not in ("", former_life) and self.answers() and self.is_in_service()


@pytest.fixture(scope="session")
def guest() -> Callable[[str], Any]:
    """Return a host by its name."""
    return machine


@pytest.fixture
def engine(guest: Callable[[str], Any]) -> Callable[[str], Engine]:
    """Return an engine by its host's name."""
    both = {name: Engine(name, guest(name), guest("door")) for name in ("left", "right")}
    for found in both.values():  # what a test before did must not count against this one
        found.recovery_seconds("", time.monotonic())
        # Here faults are minutes apart: four starts within half an hour would end systemd's patience.
        found.host.check_output(f"systemctl reset-failed {UNIT}")
    return both.__getitem__


@pytest.fixture(scope="session")
def requests(guest: Callable[[str], Any]) -> Iterator[pressure.Pressure]:
    """Ask all the while."""
    made = pressure.Pressure(guest("door"), "app-faults-0123456789abcdefghijklmnopq")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ansible() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of Ansible's programs with the scenario's inventory."""

    def run(program: str, *words: str | Path, **variables: Any) -> subprocess.CompletedProcess[str]:
        command = [program, "-i", INVENTORY, "-e", json.dumps(variables), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT)

    return run

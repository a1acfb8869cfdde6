"""A site of booted hosts: a Hub on this machine, a mirror in one guest, and guests that all want the same model.

The line to the Hub is shaped where it leaves the Hub's machine, on the lab's bridge: what guests send to each other
does not pass there, as in a site the switch is faster than the uplink.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from .site import HOST, LEFT_THE_MIRROR, MIRROR, Measured

ROOT = Path(__file__).resolve().parents[2]
TESTHOST = ROOT / "tools/testhost"
PYTHON = "/opt/llm-serving/tools/bin/python"
SOURCE = "/usr/local/share/checkout"
DEPOT = "depot"
MIRROR_PORT = 8090
# Each guest writes to a file system of its own: they share this machine's disk, which the hosts of a site do not.
EMPTY = "umount --quiet /srv/models; mkdir -p /srv/models && mount -t tmpfs tmpfs /srv/models"
EMPTY_CACHE = "find /var/cache/llm-mirror -mindepth 1 -delete"
ANSWERS = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {MIRROR_PORT}))' 2>/dev/null"
# Its other workers need a while after the first listens.
EMPTY_MIRROR = (
    f"systemctl stop llm-mirror && {EMPTY_CACHE} && systemctl start llm-mirror"
    f" && timeout 120 sh -c {shlex.quote(f'until {ANSWERS}; do sleep 0.5; done')} && sleep 6"
)


@dataclass(frozen=True)
class Lab:
    """A running lab: the mirror's host and the others."""

    name: str
    inventory: Path
    hosts: tuple[str, ...]

    @property
    def variables(self) -> dict[str, object]:
        """The hosts' variables by the inventory of the lab."""
        found = yaml.safe_load(self.inventory.read_text(encoding="utf-8"))
        variables: dict[str, object] = {**found["all"].get("vars", {}), **found["all"]["hosts"][DEPOT]}
        return variables

    def start(self, host: str, line: str) -> subprocess.Popen[bytes]:
        """Start a line of shell on a host, over SSH."""
        return subprocess.Popen([str(TESTHOST), "exec", self.name, host, "--", line])

    def everywhere(self, hosts: Sequence[str], line: str, *, allowed: Collection[int] = (0,)) -> list[int]:
        """Run a line of shell on hosts at once; raises SystemExit unless each ends with a code that is allowed."""
        codes = [process.wait() for process in [self.start(host, line) for host in hosts]]
        if not set(codes) <= set(allowed):
            raise SystemExit(f"«{line}» ended with {codes}")
        return codes

    def play(self, playbook: Path, **variables: object) -> None:
        """Run a playbook; its output matters only when it fails."""
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            str(playbook),
            f"--inventory={self.inventory}",
        ]
        command += [f"--extra-vars={json.dumps(variables)}"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{playbook} failed:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def lab(name: str, count: int, base: str) -> Iterator[Lab]:
    """Boot a mirror's host and `count` others from a base; remove them in the end."""
    hosts = tuple(f"host{number}" for number in range(1, count + 1))
    cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache/uv")
    cache.mkdir(parents=True, exist_ok=True)
    shown = [f"--bind={cache}:/var/cache/uv", "--env=UV_CACHE_DIR=/var/cache/uv", "--env=UV_LINK_MODE=copy"]
    shown += [f"--bind={ROOT}:{SOURCE}:ro"]
    up = [str(TESTHOST), "up", "--lab", name, f"--owner={os.getpid()}", *shown, DEPOT]
    up += [f"{host}={base}" for host in hosts]
    try:
        done = subprocess.run(up, stdout=subprocess.PIPE, text=True, check=True)
        yield Lab(name, Path(done.stdout.strip()), hosts)
    finally:
        subprocess.run([str(TESTHOST), "down", "--lab", name], check=True)


@contextlib.contextmanager
def shaped(gateway: str, line_mbit: int | None) -> Iterator[None]:
    """Let what this machine sends to the lab come at a line's rate, in megabits a second; None leaves it as it is."""
    if line_mbit is None:
        yield
        return
    shown = subprocess.run(["ip", "-o", "addr", "show", "to", gateway], capture_output=True, text=True, check=True)
    bridge = shown.stdout.split()[1]
    rate = ["rate", f"{line_mbit}mbit", "burst", "256kb", "latency", "100ms"]
    subprocess.run(["tc", "qdisc", "replace", "dev", bridge, "root", "tbf", *rate], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", bridge, "root"], check=True)


@dataclass(frozen=True)
class Fetched:
    """What one fetch took, how many of this machine's cores were busy, and how many hosts left the mirror."""

    measured: Measured
    cores_busy: float
    left: int


@dataclass(frozen=True)
class GuestSite:
    """The lab, and the Hub that it fetches from."""

    lab: Lab
    hub_state: Path
    endpoint: str
    commit: str
    size_bytes: int

    def measure(self, way: str, hosts: int) -> Fetched:
        """Let that many guests fetch at once, with nothing there yet."""
        chosen = self.lab.hosts[:hosts]
        self.lab.everywhere(chosen, EMPTY)
        mirrors = []
        if way == MIRROR:
            self.lab.everywhere([DEPOT], EMPTY_MIRROR)
            mirrors = [f"http://{self.lab.variables['ansible_host']}:{MIRROR_PORT}"]
        words = [f"PYTHONPATH={SOURCE}/.collections", PYTHON, "-c", shlex.quote(HOST), self.endpoint, self.commit]
        before_bytes, before_busy, started = self._sent_bytes(), busy_seconds(), time.perf_counter()
        line = " ".join([*words, "/srv/models", *mirrors])
        codes = self.lab.everywhere(chosen, line, allowed=(0, LEFT_THE_MIRROR))
        seconds = time.perf_counter() - started
        cores = (busy_seconds() - before_busy) / seconds
        copies = (self._sent_bytes() - before_bytes) / self.size_bytes
        return Fetched(Measured(way, hosts, seconds, copies), cores, codes.count(LEFT_THE_MIRROR))

    def _sent_bytes(self) -> int:
        time.sleep(0.5)
        lines = (self.hub_state / "requests.jsonl").read_text().splitlines()
        return sum(entry["bytes"] for entry in map(json.loads, lines))


def busy_seconds() -> float:
    """How long this machine's cores have worked since it booted."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")

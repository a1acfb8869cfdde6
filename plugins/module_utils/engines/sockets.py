"""Listening sockets and open connections, as `ss` lists them, and the processes and memory of units."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]

OWNER = re.compile(r'\("([^"]*)",pid=(\d+)')
LISTENING = ("ss", "--no-header", "--tcp", "--listening", "--numeric", "--processes")
ESTABLISHED = ("ss", "--no-header", "--tcp", "--numeric", "state", "established")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not to listen
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SERVICE = re.compile(r"/([^/]+\.service)(?=/|$)", re.MULTILINE)


@dataclass(frozen=True)
class Socket:
    """A listening socket. process and pid are empty where the kernel does not tell."""

    address: str
    port: int
    process: str = ""
    pid: int = 0

    @property
    def is_open_to_others(self) -> bool:
        """Whether other machines can reach it, firewalls aside."""
        return not (self.address.startswith("127.") or self.address == "::1")

    @property
    def url(self) -> str:
        """Where this host reaches it."""
        host = WILDCARDS.get(self.address, self.address)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def describe(self) -> str:
        """Say who listens where."""
        owner = f" by {self.process} (pid {self.pid})" if self.pid else ""
        reach = "from other machines as well" if self.is_open_to_others else "from this host only"
        return f"{self.address}:{self.port}{owner}, reachable {reach}"


def listening(run: Run) -> list[Socket]:
    """Every listening TCP socket."""
    _code, out, _err = run(list(LISTENING))
    return [socket for socket in map(parse_listening, out.splitlines()) if socket]


def parse_listening(row: str) -> Socket | None:
    """Read a row of `ss -Htlnp`; None for what is none."""
    fields = row.split(None, 5)
    if len(fields) < 5 or fields[0] != "LISTEN":
        return None
    address, _separator, port = fields[3].rpartition(":")
    owner = OWNER.search(fields[5]) if len(fields) > 5 else None
    plain = address.strip("[]").partition("%")[0]
    return Socket(plain, int(port), owner[1] if owner else "", int(owner[2]) if owner else 0)


def connections(run: Run, ports: Iterable[int]) -> int:
    """How many connections to these ports are open."""
    wanted = {str(port) for port in ports}
    _code, out, _err = run(list(ESTABLISHED))
    rows = (row.split() for row in out.splitlines())
    return sum(1 for fields in rows if len(fields) >= 4 and fields[2].rpartition(":")[2] in wanted)


def unit_of(pid: int, proc: Path = Path("/proc")) -> str:
    """The service that a process belongs to; empty when none, or when it has ended."""
    try:
        units = SERVICE.findall((proc / str(pid) / "cgroup").read_text())
    except OSError:
        return ""
    return units[-1] if units else ""


def memory_by_unit(units: Iterable[str], proc: Path = Path("/proc")) -> dict[str, int]:
    """Resident memory of every unit's processes in bytes; what they share counts once for each."""
    totals = dict.fromkeys(units, 0)
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        unit = unit_of(int(entry.name), proc)
        if unit in totals:
            totals[unit] += _resident_bytes(entry)
    return totals


def _resident_bytes(entry: Path) -> int:
    try:
        return int((entry / "statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0

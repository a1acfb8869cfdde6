"""Who listens on a TCP port of this machine, from /proc alone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

LISTEN = "0A"
SOCKET = re.compile(r"^socket:\[(\d+)\]$")
UNIT = re.compile(r"/([^/]+\.service)(?=/|$)")


@dataclass(frozen=True)
class Listener:
    """A process that listens; empty where /proc does not tell (a process of another namespace)."""

    port: int
    unit: str = ""
    process: str = ""
    pid: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def listeners(ports: Collection[int], proc: Path = Path("/proc")) -> list[Listener]:
    """Return who listens on these ports, whatever the address."""
    inodes = _listening_inodes(ports, proc)
    if not inodes:
        return []
    owners = _owners(set(inodes), proc)
    found = {(port, owners.get(inode, 0)) for inode, port in inodes.items()}
    return [_describe(port, pid, proc) for port, pid in sorted(found)]


def _listening_inodes(ports: Collection[int], proc: Path) -> dict[str, int]:
    inodes: dict[str, int] = {}
    for table in ("net/tcp", "net/tcp6"):
        try:
            rows = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            port = int(fields[1].rsplit(":", 1)[1], 16)
            if fields[3] == LISTEN and port in ports:
                inodes[fields[9]] = port
    return inodes


def _owners(inodes: Collection[str], proc: Path) -> dict[str, int]:
    """Return the process of each socket. Several may share one; the eldest counts."""
    owners: dict[str, int] = {}
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()):
        for target in _targets(proc / str(pid) / "fd"):
            match = SOCKET.match(target)
            if match and match[1] in inodes:
                owners.setdefault(match[1], pid)
    return owners


def _targets(folder: Path) -> list[str]:
    """Return what a process has open; some of it, or all, may be gone or closed to us by now."""
    found = []
    with contextlib.suppress(OSError):
        for link in folder.iterdir():
            with contextlib.suppress(OSError):
                found.append(str(link.readlink()))
    return found


def _describe(port: int, pid: int, proc: Path) -> Listener:
    if not pid:
        return Listener(port)
    units = UNIT.findall(_read(proc / str(pid) / "cgroup"))
    return Listener(port, units[-1] if units else "", _read(proc / str(pid) / "comm").strip(), pid)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

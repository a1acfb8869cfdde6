"""Talk to a running HAProxy through its master's socket: what its servers do, and taking them out and in.

After a reload the former workers live on until their streams end. Only the master's socket reaches them too, and a host
is free of requests when none of the workers has one for it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .errors import GatewayError

MASTER_SOCKET = "/run/llm-gateway/master.sock"
# Bits of srv_admin_state in «show servers state».
MAINTENANCE_BITS = 0x01
DRAIN_BITS = 0x08
POLL_SECONDS = 0.25

Ask = Callable[[str], str]


@dataclass(frozen=True)
class ServerStatus:
    """One server of one backend, over all workers."""

    backend: str
    server: str
    state: str
    """What was asked for: ready, drain or maint."""
    status: str
    """What health checks say in HAProxy's words: UP, DOWN, UP 1/2 …"""
    sessions: int
    """Requests under way, those in former workers included."""

    @property
    def is_up(self) -> bool:
        """Whether the server takes requests."""
        return self.state == "ready" and self.status.startswith("UP")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def connect(path: str, timeout_seconds: float = 10) -> Ask:
    """Return a function that sends one command to a UNIX socket and returns the answer."""

    def ask(command: str) -> str:
        chunks: list[bytes] = []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_seconds)
                connection.connect(path)
                connection.sendall(f"{command}\n".encode())
                # The master keeps the connection open for more commands otherwise.
                connection.shutdown(socket.SHUT_WR)
                while True:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return b"".join(chunks).decode("utf-8", "replace")
                    chunks.append(chunk)
        except OSError as error:
            raise GatewayError(
                f"the gateway does not answer on {path}: {error}. Is haproxy.service running on this host, and has the "
                "gateway role configured it?"
            ) from error

    return ask


def former_workers(processes: str) -> list[int]:
    """Read the process ids of former workers out of «show proc»."""
    found: list[int] = []
    old = False
    for line in processes.splitlines():
        if line.startswith("#"):
            old = "old workers" in line
        elif old and line.split()[:1]:
            found.append(int(line.split()[0]))
    return found


def sessions(statistics: str) -> dict[tuple[str, str], tuple[str, int]]:
    """Read «show stat» (CSV): (backend, server) → (status, requests under way)."""
    lines = [line for line in statistics.splitlines() if line.strip()]
    if not lines:
        return {}
    names = lines[0].lstrip("# ").split(",")
    columns = {name: number for number, name in enumerate(names)}
    found = {}
    for line in lines[1:]:
        fields = line.split(",")
        key = (fields[columns["pxname"]], fields[columns["svname"]])
        found[key] = (fields[columns["status"]], int(fields[columns["scur"]] or 0))
    return found


def admin_states(states: str) -> dict[tuple[str, str], str]:
    """Read «show servers state»: (backend, server) → ready, drain or maint."""
    columns: dict[str, int] = {}
    found = {}
    for line in states.splitlines():
        if line.startswith("#"):
            columns = {name: number for number, name in enumerate(line.lstrip("# ").split())}
            continue
        fields = line.split()
        if len(fields) < len(columns) or not columns:
            continue
        bits = int(fields[columns["srv_admin_state"]])
        state = "maint" if bits & MAINTENANCE_BITS else "drain" if bits & DRAIN_BITS else "ready"
        found[fields[columns["be_name"]], fields[columns["srv_name"]]] = state
    return found


def servers(ask: Ask, host: str | None = None) -> list[ServerStatus]:
    """Return every server, or those named after a host."""
    states = admin_states(ask("@1 show servers state"))
    current = sessions(ask("@1 show stat -1 4 -1"))
    former = [sessions(ask(f"@!{process} show stat -1 4 -1")) for process in former_workers(ask("show proc"))]
    found = []
    for (backend, server), state in sorted(states.items()):
        if host is not None and server != host:
            continue
        status, count = current.get((backend, server), ("unknown", 0))
        count += sum(worker.get((backend, server), ("", 0))[1] for worker in former)
        found.append(ServerStatus(backend, server, state, status, count))
    return found


def set_state(ask: Ask, server: ServerStatus, state: str) -> None:
    """Take a server out or in. Raises GatewayError with HAProxy's own words."""
    answer = ask(f"@1 set server {server.backend}/{server.server} state {state}").strip()
    if answer:
        raise GatewayError(f"the gateway refused to set {server.backend}/{server.server} to {state}: {answer}")


def wait(
    ask: Ask,
    host: str,
    done: Callable[[list[ServerStatus]], bool],
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[ServerStatus]:
    """Return the servers of a host once they are done, or as they are when the seconds are over."""
    end = clock() + seconds
    while True:
        now = servers(ask, host)
        if done(now) or clock() >= end:
            return now
        sleep(POLL_SECONDS)

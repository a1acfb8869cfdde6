"""One run at a time changes a host: a file says who does, and is taken over when that run is over.

A run leaves no process on the host between its tasks that would hold a lock by itself. So the file names the run, and
the session that it came by: as long as that lives, or the lock was renewed not long ago, the run counts as alive.
A control node knows better about its own runs, see the action plugin.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PLACE = Path("/run/llm-serving/lock")
LEASE_SECONDS = 600.0
ANCHORS = ("sshd", "ansible-playboo", "ansible-runner")  # as /proc/*/comm has them, 15 characters


class LockedError(Exception):
    """Somebody else changes this host."""


@dataclass(frozen=True)
class Holder:
    """A run that changes the host: who started it where, its process there, and its session here."""

    user: str
    node: str
    pid: int
    since: float
    renewed: float
    session_pid: int
    session_started: str

    def is_same_run(self, other: Holder) -> bool:
        """Tell whether both are one run of ansible-playbook."""
        return (self.user, self.node, self.pid) == (other.user, other.node, other.pid)

    def describe(self) -> str:
        """Say who it is."""
        since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(self.since))
        return f"{self.user}@{self.node}, process {self.pid}, since {since}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def current_holder(place: Path = PLACE) -> Holder | None:
    """Return who holds the lock; None when nobody does, or what is there says nothing."""
    try:
        return Holder(**json.loads(place.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_alive(holder: Holder, now: float, proc: Path = Path("/proc")) -> bool:
    """Tell whether a holder may still be at work."""
    same = _started(proc, holder.session_pid) == holder.session_started
    return same or 0 <= now - holder.renewed < LEASE_SECONDS


def hold(
    user: str,
    node: str,
    pid: int,
    *,
    over: int | None = None,
    place: Path = PLACE,
    proc: Path = Path("/proc"),
    clock: Callable[[], float] = time.time,
) -> Holder | None:
    """Take the lock or renew it; return whose it was when it was taken over.

    `over` is the process of a run on the same control node that is known to be over. Raises LockedError.
    """
    now = clock()
    session = session_of(os.getpid(), proc)
    mine = Holder(user, node, pid, now, now, session, _started(proc, session))
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _create(place, mine):
        return None
    found = current_holder(place)
    is_over = found is not None and found.node == node and found.pid == over
    if found and not found.is_same_run(mine) and not is_over and is_alive(found, now, proc):
        raise LockedError(
            f"this host is being changed by {found.describe()}: wait until that run is over. If you know that it is,"
            f" remove {place} on the host."
        )
    renewed = Holder(**{**mine.as_dict(), "since": found.since}) if found and found.is_same_run(mine) else mine
    _replace(place, renewed)
    return None if found is None or found.is_same_run(mine) else found


def release(user: str, node: str, pid: int, place: Path = PLACE) -> bool:
    """Give the lock back; return whether it was this run's."""
    found = current_holder(place)
    if found is None or (found.user, found.node, found.pid) != (user, node, pid):
        return False
    place.unlink()
    return True


def session_of(pid: int, proc: Path) -> int:
    """Return the process that a run's commands here come from: its connection, or the run itself."""
    last = pid
    while pid > 1:
        last = pid
        if _text(proc / str(pid) / "comm").startswith(ANCHORS):
            return pid
        fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return last


def _started(proc: Path, pid: int) -> str:
    """Return when a process started, in ticks since the boot; empty when there is none."""
    fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _create(place: Path, holder: Holder) -> bool:
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as stream:
        json.dump(holder.as_dict(), stream)
    return True


def _replace(place: Path, holder: Holder) -> None:
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    temporary.write_text(json.dumps(holder.as_dict()), "utf-8")
    temporary.replace(place)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""

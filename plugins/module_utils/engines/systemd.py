"""What systemd knows about an engine's unit, and what the unit wrote into the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NRestarts",
    "InvocationID",
    "NeedDaemonReload",
    "MainPID",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "FragmentPath",
    "DropInPaths",
)
JOURNALCTL = ("journalctl", "--no-pager", "--output=cat", "--quiet")
MAX_JOURNAL_LINES = 4000
STARTUP_LINES = 2000


@dataclass(frozen=True)
class UnitState:
    """A unit's properties, as `systemctl show` has them."""

    unit: str
    load: str = ""
    active: str = ""
    sub: str = ""
    result: str = ""
    enabled: str = ""
    restarts: int = 0
    invocation: str = ""
    needs_reload: bool = False
    main_pid: int = 0
    active_since: str = ""
    active_since_us: int = 0
    """The same on the monotonic clock, in microseconds; 0 where it never was."""
    files: tuple[str, ...] = ()
    """Its own file and its drop-ins."""

    @property
    def is_active(self) -> bool:
        """Whether it runs."""
        return self.active == "active"

    @property
    def has_died(self) -> bool:
        """Whether it has ended with a failure, be it for good or to be started again."""
        return self.active == "failed" or self.sub.startswith("auto-restart")

    def describe(self) -> str:
        """Return one line for a message."""
        return f"{self.unit} is {self.active} ({self.sub}, result {self.result}, restarted {self.restarts} times)"


def unit_states(run: Run, units: Sequence[str]) -> dict[str, UnitState]:
    """Ask for several units at once. Raises OSError when systemd does not answer."""
    if not units:
        return {}
    code, out, err = run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *units])
    if code:
        raise OSError(f"systemctl show ended with {code}: {err.strip() or out.strip()}")
    blocks = [block for block in out.strip().split("\n\n") if block]
    return {unit: _state(unit, block) for unit, block in zip(units, blocks)}


def recent_journal(run: Run, unit: str) -> list[str]:
    """Return the last lines that a unit wrote and that systemd wrote about it, oldest first."""
    return run([*JOURNALCTL, f"--lines={MAX_JOURNAL_LINES}", f"--unit={unit}"])[1].splitlines()


def startup_journal(run: Run, invocation: str) -> list[str]:
    """Return the first lines that one life of a unit wrote.

    A busy engine logs every request, so what follows its start is not read: it may be millions of lines.
    """
    command = f'"$@" | head -n {STARTUP_LINES}'
    return run(["sh", "-c", command, "sh", *JOURNALCTL, f"_SYSTEMD_INVOCATION_ID={invocation}"])[1].splitlines()


def _state(unit: str, block: str) -> UnitState:
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return UnitState(
        unit=unit,
        load=values.get("LoadState", ""),
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        result=values.get("Result", ""),
        enabled=values.get("UnitFileState", ""),
        restarts=int(values.get("NRestarts") or 0),
        invocation=values.get("InvocationID", ""),
        needs_reload=values.get("NeedDaemonReload") == "yes",
        main_pid=int(values.get("MainPID") or 0),
        active_since=values.get("ActiveEnterTimestamp", ""),
        active_since_us=int(values.get("ActiveEnterTimestampMonotonic") or 0),
        files=tuple(f"{values.get('FragmentPath', '')} {values.get('DropInPaths', '')}".split()),
    )

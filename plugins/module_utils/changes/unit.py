# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for a unit of systemd to run with what its files say now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..engines.systemd import Run

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ActiveEnterTimestampMonotonic",
)
# Of these `systemctl enable` makes nothing else.
ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")


@dataclass(frozen=True)
class Unit:
    """A unit as systemd has it. since_seconds: since the epoch, when it became active; 0 where it never was."""

    name: str
    is_known: bool
    is_active: bool
    is_enabled: bool
    needs_reload: bool
    since_seconds: float
    own_files: tuple[Path, ...]

    def wanted(self, files: Sequence[Path], now: float) -> list[str]:
        """Return the commands of systemctl that are due, in their order.

        A unit is started anew when one of its own or of these files was written after it became active. That also holds
        for what an earlier run wrote that ended before the restart.
        """
        written = max((path.stat().st_mtime for path in (*self.own_files, *files) if path.exists()), default=0.0)
        is_behind = self.is_active and self.since_seconds < written <= now
        due = ["daemon-reload"] if self.needs_reload or is_behind else []
        due += [] if self.is_enabled else ["enable"]
        return due + (["restart"] if is_behind else [] if self.is_active else ["start"])


def look(run: Run, name: str) -> Unit:
    """Ask systemd for a unit. Raises OSError when it does not answer."""
    code, out, err = run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", name])
    if code:
        raise OSError(f"systemctl show {name} ended with {code}: {err.strip() or out.strip()}")
    values = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    paths = [values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()]
    entered_us = int(values.get("ActiveEnterTimestampMonotonic") or 0)
    return Unit(
        name=name,
        is_known=values.get("LoadState") == "loaded",
        is_active=values.get("ActiveState") == "active",
        is_enabled=values.get("UnitFileState") in ENABLED,
        needs_reload=values.get("NeedDaemonReload") == "yes",
        since_seconds=time.time() - time.monotonic() + entered_us / 1e6 if entered_us else 0.0,
        own_files=tuple(Path(path) for path in paths if path),
    )

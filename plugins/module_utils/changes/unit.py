# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for a unit of systemd to run with what its files say now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ..engines.systemd import UnitState

# Of these `systemctl enable` makes nothing else.
ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")


def started_seconds(state: UnitState) -> float:
    """Return when a unit became active, in seconds since the epoch by the clock of now; 0 where it never did."""
    return time.time() - time.monotonic() + state.active_since_us / 1e6 if state.active_since_us else 0.0


def due_actions(state: UnitState, files: Sequence[Path], started: float, now: float) -> list[str]:
    """Return the commands of systemctl that are due, in their order.

    A unit is started anew when one of its own or of these files was written after it became active. That also holds
    for what an earlier run wrote that ended before the restart.
    """
    read = (*map(Path, state.files), *files)
    written = max((path.stat().st_mtime for path in read if path.exists()), default=0.0)
    is_behind = state.is_active and started < written <= now
    due = ["daemon-reload"] if state.needs_reload or is_behind else []
    due += [] if state.enabled in ENABLED else ["enable"]
    return due + (["restart"] if is_behind else [] if state.is_active else ["start"])

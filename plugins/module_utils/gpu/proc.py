"""The loaded NVIDIA kernel module, from /proc/driver/nvidia/version."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NVRM = re.compile(r"NVRM version:\s*NVIDIA UNIX\b(?P<kind>.*?)\s(?P<version>\d+(?:\.\d+)+)\s", re.IGNORECASE)


@dataclass(frozen=True)
class KernelModule:
    """The loaded module: its version, and whether it is the open flavour."""

    version: str
    is_open: bool


def parse_version(text: str) -> KernelModule | None:
    """Return the module that /proc/driver/nvidia/version describes, None when it describes none."""
    match = _NVRM.search(f"{text}\n")
    return KernelModule(match["version"], "open" in match["kind"].lower()) if match else None


def read_version(root: Path) -> KernelModule | None:
    """Return the loaded NVIDIA kernel module, None when there is none."""
    try:
        return parse_version((root / "proc/driver/nvidia/version").read_text(errors="replace"))
    except OSError:
        return None

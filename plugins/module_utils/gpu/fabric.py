"""NVIDIA's Fabric Manager, without which the GPUs of an NVSwitch host do not compute."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import problems
from .command import find, run
from .model import Problem

_PROGRAM = "nv-fabricmanager"
# The kernel keeps the first 15 characters of a program's name.
_COMM = _PROGRAM[:15]
_VERSION = re.compile(r"Fabric Manager version is\s*:\s*(\d+(?:\.\d+)+)")


@dataclass(frozen=True)
class FabricManager:
    """Whether it runs, and its version; None when it is not installed or does not say."""

    running: bool
    version: str | None


_MISMATCH = re.compile(
    r"fabric manager.*version (?P<own>\d[\d.]*\d) don.t match with driver version (?P<driver>\d[\d.]*\d)", re.IGNORECASE
)
_INCOMPATIBLE = re.compile(r"fabric manager version is incompatible with NVSwitch driver", re.IGNORECASE)


def parse_version(text: str) -> str | None:
    """Return the version that `nv-fabricmanager --version` prints."""
    match = _VERSION.search(text)
    return match[1] if match else None


def _runs(root: Path) -> bool:
    for process in (root / "proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == _COMM:
                return True
        except OSError:  # it ended meanwhile
            continue
    return False


def read(root: Path, timeout_seconds: float) -> FabricManager:
    """Return Fabric Manager's state on this host."""
    program = find(_PROGRAM)
    text = run((program, "--version"), timeout_seconds) if program else None
    return FabricManager(_runs(root), parse_version(text.stdout + text.stderr) if text else None)


def explain_log(text: str) -> Problem | None:
    """Return what Fabric Manager's log says about why it does not run, None when it says nothing known."""
    mismatch = _MISMATCH.search(text)
    if mismatch:
        return problems.make("fabric_manager_mismatch", driver=mismatch["driver"], detail=mismatch["own"])
    if _INCOMPATIBLE.search(text):
        return problems.make("fabric_manager_mismatch", driver="the driver's version", detail="another version")
    return problems.make("fabric_manager_unneeded") if "NV_WARN_NOTHING_TO_DO" in text else None


def read_log(timeout_seconds: float) -> str:
    """Return the last lines of Fabric Manager's journal, empty where there are none."""
    return run(("journalctl", "-u", "nvidia-fabricmanager", "-n", "30", "-o", "cat"), timeout_seconds).stdout


def explain(manager: FabricManager, switches: int, driver_version: str | None, log: str = "") -> Problem | None:
    """Return what keeps Fabric Manager from doing its work on a host with NVSwitches, or None."""
    driver = driver_version or "the driver's version"
    if manager.version and driver_version and manager.version != driver_version:
        return problems.make("fabric_manager_mismatch", driver=driver, detail=manager.version)
    if not manager.running:
        told = explain_log(log)
        if told:
            return told
        detail = f"version {manager.version} installed but stopped" if manager.version else "none installed"
        return problems.make("fabric_manager_not_running", switches=switches, driver=driver, detail=detail)
    return None

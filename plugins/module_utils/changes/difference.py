"""Tells in one look what of a service is not as it should be, so that hosts with nothing to do are left alone."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 2.0  # the kernel states when it booted in whole seconds


@dataclass(frozen=True)
class Setup:
    """How a service should be set up. files: their texts; modes: theirs; links: their targets."""

    user: str
    groups: Sequence[str]
    folders: Sequence[Path]
    files: Mapping[Path, str]
    modes: Mapping[Path, int]
    links: Mapping[Path, str]

    def differences(self) -> list[str]:
        """Return what differs, as sentences for people."""
        found = [f"the folder {path} is missing" for path in self.folders if not path.is_dir()]
        found += [f"the link {path} is another" for path, target in self.links.items() if _target(path) != target]
        for path, text in self.files.items():
            if _text(path) != text or (path.stat().st_mode & 0o7777) != self.modes[path]:
                found.append(f"the file {path} is another")
        return found + self._user_differences()

    def _user_differences(self) -> list[str]:
        try:
            pwd.getpwnam(self.user)
        except KeyError:
            return [f"the user {self.user} is missing"]
        outside = [name for name in self.groups if self.user not in grp.getgrnam(name).gr_mem]
        return [f"the user {self.user} is not in {', '.join(outside)}"] if outside else []


def is_stale(pid: int, paths: Sequence[Path], proc: Path = Path("/proc")) -> bool:
    """Tell whether a process was started before what it was started with was last written.

    That is what a run leaves that is ended between writing and restarting.
    """
    started = _started_seconds(pid, proc)
    written = max((path.lstat().st_mtime for path in paths if path.is_symlink() or path.exists()), default=0.0)
    return started is not None and started + GRACE_SECONDS < written <= time.time()


def _started_seconds(pid: int, proc: Path) -> float | None:
    """Return when a process started, in seconds since the epoch."""
    try:
        fields = (proc / str(pid) / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        booted = next(line for line in (proc / "stat").read_text("utf-8").splitlines() if line.startswith("btime "))
        return float(booted.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, StopIteration, IndexError):
        return None


def _target(path: Path) -> str | None:
    return str(path.readlink()) if path.is_symlink() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None

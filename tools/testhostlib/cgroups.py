"""One cgroup per lab and one per host in it: the means to end all of a lab's processes, however they began."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .errors import LabError
from .system import wait_for

TOP = "llm-serving-labs"


def hierarchy() -> Path:
    """Mount point of the unified hierarchy; hybrid machines have it beside the old ones."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise LabError("no cgroup2 hierarchy is mounted, systemd hosts cannot run: boot with a cgroup v2 kernel")


def lab_cgroup(lab: str) -> Path:
    """Path of a lab's cgroup."""
    return hierarchy() / TOP / lab


def create(path: Path) -> None:
    """Make a cgroup."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            f"cannot make the cgroup {path}: {error.strerror}. "
            "In a container? Test hosts need a machine, or a privileged one with a writable cgroup2."
        ) from error
    if not (path / "cgroup.kill").exists():
        raise LabError(f"kernel {os.uname().release} cannot kill a cgroup as a whole: test hosts need Linux 5.14")


def populated(path: Path) -> bool:
    """Whether any process lives in a cgroup or below."""
    try:
        return "populated 1" in (path / "cgroup.events").read_text()
    except (FileNotFoundError, OSError):
        return False


def destroy(path: Path, timeout_seconds: float = 30) -> None:
    """Kill every process in a cgroup and below, and remove it."""
    if path.exists():
        (path / "cgroup.kill").write_text("1")
        if not wait_for(lambda: not populated(path), timeout_seconds):
            raise LabError(f"processes in {path} do not die; see {path}/cgroup.procs")
        _remove(path)
    top = path.parent
    if top.name == TOP:
        try:
            top.rmdir()
        except OSError:
            return  # other labs are running, or it is gone


def _remove(path: Path) -> None:
    """Remove a cgroup and those below: a cgroup is busy for a moment after its last process."""
    for attempt in range(100):
        below = sorted((p for p in path.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True)
        try:
            for directory in [*below, path]:
                directory.rmdir()
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return

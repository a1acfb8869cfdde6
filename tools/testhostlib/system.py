"""The few things that every part asks of the machine: programs, processes, locks, places."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .errors import LabError


def state_dir() -> Path:
    """Where running labs live. Machine-wide, since bridges and subnets are."""
    return Path(os.environ.get("TESTHOST_STATE", "/var/lib/llm-serving-labs"))


def cache_dir() -> Path:
    """Where base images are kept between labs."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-serving"
    return Path(os.environ.get("LLM_SERVING_CACHE", default)) / "testhost"


def run(argv: Sequence[str | Path], stdin: str | None = None, check: bool = True) -> str:
    """Run a program and return its stdout; what it said on stderr goes into the error."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"{words[0]} is not installed: see `testhost requirements`") from None
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-2000:]
        raise LabError(f"`{' '.join(words)}` failed with status {done.returncode}: {said}")
    return done.stdout


def start_time(pid: int) -> int | None:
    """Clock tick at which a process started, which tells it from a later one of the same pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def wait_for(condition: Callable[[], bool], timeout_seconds: float, pause_seconds: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, making it first. Leaves nothing behind but the directory.

    Whoever holds the lock may delete the directory: those who wait then start over with a new one.
    """
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                current = directory.stat().st_ino == os.fstat(descriptor).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield
                return
        finally:
            os.close(descriptor)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.chmod(mode)
    partial.rename(path)


def mounts_below(directory: Path) -> list[str]:
    """Mount points in this mount namespace at or below a directory, deepest first."""
    top = str(directory.resolve())
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((p for p in points if p == top or p.startswith(top + "/")), reverse=True)


def remove_tree(directory: Path) -> None:
    """Delete a tree, never following a mount out of it."""
    if not directory.exists():
        return
    mounted = mounts_below(directory)
    if mounted:
        raise LabError(f"{directory} has something mounted at {mounted[0]}; unmount that first")
    shutil.rmtree(directory)

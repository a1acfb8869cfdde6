# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fetch is, for whoever watches: counted here, and written to a file that others may read."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .manifest import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITE_SECONDS = 1.0


class Progress:
    """Counts of one fetch; every method may be called from any thread."""

    def __init__(self, repo: str = "") -> None:
        self._repo = repo
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.phase = "waiting"
        self.files_total = 0
        self.files_done = 0
        self.bytes_total = 0
        self.bytes_done = 0
        self.fetched_bytes = 0

    def begin(self, phase: str, files_total: int, bytes_total: int) -> None:
        """Start a phase: `checking` files that are there, or `fetching` those that are not."""
        with self._lock:
            self.phase = phase
            self.files_total, self.files_done = files_total, 0
            self.bytes_total, self.bytes_done = bytes_total, 0
            self._started = time.monotonic()

    def add_checked(self, count: int) -> None:
        """Count bytes that were there already."""
        with self._lock:
            self.bytes_done += count

    def add_fetched(self, count: int) -> None:
        """Count bytes that came over the network; negative when they have to come once more."""
        with self._lock:
            self.bytes_done += count
            self.fetched_bytes += max(count, 0)

    def file_done(self) -> None:
        """Count a file that is proved."""
        with self._lock:
            self.files_done += 1

    @contextlib.contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Show what somebody else writes below a folder while the block runs; whoever calls counts it afterwards."""
        ended = threading.Event()
        shown_bytes = 0

        def show(now_bytes: int) -> None:
            nonlocal shown_bytes
            self.add_checked(now_bytes - shown_bytes)
            shown_bytes = now_bytes

        def watch() -> None:
            while not ended.wait(WRITE_SECONDS):
                show(allocated_bytes(folder))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            show(0)

    def as_dict(self) -> dict[str, object]:
        """What the file says: bytes, and the seconds since the phase began."""
        with self._lock:
            return {
                "repo": self._repo,
                "phase": self.phase,
                "files_total": self.files_total,
                "files_done": self.files_done,
                "bytes_total": self.bytes_total,
                "bytes_done": self.bytes_done,
                "seconds": round(time.monotonic() - self._started, 3),
            }

    @contextlib.contextmanager
    def written_to(self, path: Path | None) -> Iterator[None]:
        """Keep a file up to date while the block runs; it is gone afterwards."""
        if path is None:
            yield
            return
        ended = threading.Event()
        writer = threading.Thread(target=self._write_until, args=(ended, path), daemon=True)
        writer.start()
        try:
            yield
        finally:
            ended.set()
            writer.join()
            with contextlib.suppress(OSError):
                path.unlink()

    def _write_until(self, ended: threading.Event, path: Path) -> None:
        while not ended.wait(WRITE_SECONDS):
            # A full disk is the fetch's error to report, not this thread's.
            with contextlib.suppress(OSError):
                write_json(path, self.as_dict())


def allocated_bytes(folder: Path) -> int:
    """Count what the files below a folder take on the disk; they come and go meanwhile."""
    count = 0
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                count += path.lstat().st_blocks * 512
    return count

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the models of a host lie, and who uses them.

`<root>/<organisation>/<name>/` is a repository's home. In it, `<commit>/` is a whole snapshot and `.<commit>.part/`
one that is still being fetched; `.refs.json` says which commit a branch or tag meant when the Hub was last asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BusyError
from .manifest import write_json
from .names import is_commit, split_repo

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LOCK_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Home:
    """A repository's place below the models' root."""

    root: Path
    repo: str

    @property
    def path(self) -> Path:
        """The directory of all its snapshots."""
        return self.root.joinpath(*split_repo(self.repo))

    def snapshot(self, commit: str) -> Path:
        """Where a whole snapshot is."""
        return self.path / commit

    def staging(self, commit: str) -> Path:
        """Where a snapshot is while it is being fetched."""
        return self.path / f".{commit}.part"

    def progress_file(self) -> Path:
        """Where a running fetch says how far it is."""
        return self.path / ".progress.json"

    def commits(self) -> list[str]:
        """The snapshots that are there."""
        return sorted(path.name for path in self._children() if is_commit(path.name) and path.is_dir())

    def unfinished(self) -> list[str]:
        """The commits of which a part is there."""
        names = (path.name[1:-5] for path in self._children() if path.name.endswith(".part"))
        return sorted(name for name in names if is_commit(name))

    def _children(self) -> list[Path]:
        return list(self.path.iterdir()) if self.path.is_dir() else []

    def known_commit(self, revision: str) -> str | None:
        """What a branch or tag meant when the Hub was last asked."""
        return self._refs().get(revision)

    def note_commit(self, revision: str, commit: str) -> None:
        """Remember what a branch or tag means. Raises OSError."""
        refs = self._refs()
        if not is_commit(revision) and refs.get(revision) != commit:
            write_json(self.path / ".refs.json", {**refs, revision: commit})

    def _refs(self) -> dict[str, str]:
        try:
            refs = json.loads((self.path / ".refs.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in refs.items()} if isinstance(refs, dict) else {}

    @contextlib.contextmanager
    def locked(self, wait_seconds: float) -> Iterator[None]:
        """Hold the repository for changes; raises BusyError when another process keeps it for too long.

        The kernel lets go of the lock when its holder ends, however that happens.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / ".lock"
        with lock.open("a+", encoding="utf-8") as file:
            deadline = time.monotonic() + wait_seconds
            while not _try_lock(file.fileno()):
                if time.monotonic() >= deadline:
                    holder = lock.read_text(encoding="utf-8").strip() or "unknown"
                    raise BusyError(
                        f"Process {holder} has been fetching or removing {self.repo} below {self.root} for the"
                        f" {wait_seconds:.0f} s that this run waited. Let it end, or end it, and run again."
                    )
                time.sleep(LOCK_POLL_SECONDS)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def superfluous(self, wanted: Collection[str], keep: int) -> list[str]:
        """Name the commits that may go: not wanted, not in use, and not of the `keep` newest of those."""
        others = [commit for commit in self.commits() if commit not in wanted]
        others.sort(key=lambda commit: self.snapshot(commit).stat().st_mtime_ns, reverse=True)
        unfinished = [commit for commit in self.unfinished() if commit not in wanted and commit not in others]
        return [commit for commit in others[keep:] if not users_of(self.snapshot(commit))] + unfinished

    def remove(self, commit: str) -> None:
        """Remove a snapshot and what is there of an unfinished one: from its name at once, then from the disk.

        Raises BusyError when a process has a file of it open.
        """
        final = self.snapshot(commit)
        users = users_of(final)
        if users:
            raise BusyError(
                f"{final} is in use by {', '.join(users)}: stop the service, or let it serve another revision, first."
            )
        gone = self.path / f".{commit}.gone"
        if final.exists():
            final.rename(gone)
        for path in (gone, self.staging(commit)):
            if path.exists():
                shutil.rmtree(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def users_of(folder: Path, proc: Path = Path("/proc")) -> list[str]:
    """Name the processes that have a file below a folder open or mapped, as `name (pid)`."""
    prefix = f"{folder}/"
    users = []
    for process in proc.iterdir():
        if process.name.isdigit() and _uses(process, prefix):
            with contextlib.suppress(OSError):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                users.append(f"{name} ({process.name})")
    return sorted(users)


def _uses(process: Path, prefix: str) -> bool:
    # A process may end, or be another user's, while it is looked at.
    with contextlib.suppress(OSError):
        if f" {prefix}" in (process / "maps").read_text(encoding="utf-8", errors="replace"):
            return True
    with contextlib.suppress(OSError):
        for link in [*(process / "fd").iterdir(), process / "cwd"]:
            with contextlib.suppress(OSError):
                if f"{link.readlink()}/".startswith(prefix):
                    return True
    return False

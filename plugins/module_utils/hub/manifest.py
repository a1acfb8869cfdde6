# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a snapshot: what the Hub stated, and how the files looked when that was last proved.

While a file's size and modification time are those of the proof, its content is taken for proved: a check of any
number of gigabytes is as many calls of stat as there are files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .digests import Digest
from .errors import CorruptError
from .names import MANIFEST_NAME, Selection, check_file

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """A file of a snapshot. `mtime_ns` is that of the proof, and None as long as there is none."""

    path: str
    size_bytes: int
    digest: Digest
    mtime_ns: int | None = None

    def unchanged_in(self, folder: Path) -> bool:
        """Whether the file looks as it did when its content was proved."""
        try:
            status = (folder / self.path).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns)

    def right_size_in(self, folder: Path) -> bool:
        """Whether the file is there and has the size that the Hub states."""
        try:
            return (folder / self.path).stat().st_size == self.size_bytes
        except OSError:
            return False

    def proved_in(self, folder: Path) -> FileEntry:
        """Note how the file looks now that its content is proved. Raises OSError."""
        return replace(self, mtime_ns=(folder / self.path).stat().st_mtime_ns)

    def unproved(self) -> FileEntry:
        """Forget the proof: the next check hashes the file."""
        return replace(self, mtime_ns=None)


@dataclass(frozen=True)
class Manifest:
    """A snapshot of a repository at a commit."""

    repo: str
    commit: str
    endpoint: str
    selection: Selection
    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        """What the files take."""
        return sum(entry.size_bytes for entry in self.files)

    def with_entries(self, entries: Iterable[FileEntry]) -> Manifest:
        """Replace the entries of the same paths."""
        newer = {entry.path: entry for entry in entries}
        return replace(self, files=tuple(newer.get(entry.path, entry) for entry in self.files))

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder: wholly or not at all. Raises OSError."""
        write_json(folder / MANIFEST_NAME, {"format": FORMAT, **asdict(self)})


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest; None when it has none. Raises CorruptError when it has one that cannot be read."""
    path = folder / MANIFEST_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} cannot be read ({error}). Remove it to have the files checked anew.") from error
    try:
        return _manifest(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(
            f"{path} is no manifest of format {FORMAT} ({error!r}). Remove it to have the files checked anew."
        ) from error


def _manifest(raw: dict[str, Any]) -> Manifest:
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']}")
    chosen = raw["selection"]
    files = tuple(
        FileEntry(
            path=check_file(entry["path"]),
            size_bytes=int(entry["size_bytes"]),
            digest=Digest(entry["digest"]["algorithm"], entry["digest"]["hex"]),
            mtime_ns=entry["mtime_ns"],
        )
        for entry in raw["files"]
    )
    selection = Selection(tuple(chosen["allow"]), tuple(chosen["ignore"]), bool(chosen["allow_pickle"]))
    return Manifest(raw["repo"], raw["commit"], raw["endpoint"], selection, files)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, readable by everybody: wholly or not at all. Raises OSError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise

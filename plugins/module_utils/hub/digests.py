# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two hashes by which the Hub states a file's content.

Large files are in LFS and stated by their SHA-256. Small ones are git blobs, stated by git's SHA-1: that of
`blob <size>\\0` and the content (gitformat-pack).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from hashlib import _Hash

SHA256 = "sha256"
GIT_SHA1 = "git-sha1"
CHUNK_BYTES = 1 << 20
MAX_HASHERS = 8


@dataclass(frozen=True)
class Digest:
    """A file's hash as the Hub states it."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def hasher(algorithm: str, size_bytes: int) -> _Hash:
    """Start a hash; git's depends on the size beforehand. Raises ValueError for an unknown algorithm."""
    if algorithm == SHA256:
        return hashlib.sha256()
    if algorithm == GIT_SHA1:
        return hashlib.sha1(b"blob %d\0" % size_bytes)  # noqa: S324 - what git uses; not for security
    raise ValueError(f"unknown hash algorithm {algorithm!r}")


def feed(state: _Hash, path: Path, on_bytes: Callable[[int], None] | None = None) -> int:
    """Feed a file to a hash; returns its size in bytes. hashlib lets other threads run meanwhile."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    total_bytes = 0
    with path.open("rb", buffering=0) as file:
        count = file.readinto(buffer)
        while count:
            state.update(buffer[:count])
            total_bytes += count
            if on_bytes:
                on_bytes(count)
            count = file.readinto(buffer)
    return total_bytes


def digest_file(path: Path, algorithm: str, on_bytes: Callable[[int], None] | None = None) -> Digest:
    """Hash a file."""
    state = hasher(algorithm, path.stat().st_size)
    feed(state, path, on_bytes)
    return Digest(algorithm, state.hexdigest())


def find_corrupt(files: Iterable[tuple[Path, Digest]], on_bytes: Callable[[int], None] | None = None) -> list[Path]:
    """Hash files in parallel, the largest first; return those whose content is another. Raises OSError."""
    ordered = sorted(files, key=lambda item: item[0].stat().st_size, reverse=True)
    if not ordered:
        return []
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - a check without hashing must not wait for it

    workers = min(MAX_HASHERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda item: digest_file(item[0], item[1].algorithm, on_bytes), ordered))
    return [path for (path, expected), actual in zip(ordered, found) if actual != expected]

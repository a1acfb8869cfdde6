# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching files, hashed while they come, continued where an earlier attempt or an earlier run ended.

huggingface_hub speaks to the Hub everywhere else in this package. It does not fetch the bytes, since its 2.x
releases throw a partial file away when a run ends and leave the hashing to a second pass over the disk.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
import time
import urllib.error
from typing import TYPE_CHECKING, BinaryIO

from ..support.certificates import certificate_remedy
from .digests import Digest, feed, hasher
from .errors import (
    AccessDeniedError,
    CorruptError,
    DiskFullError,
    HubUnavailableError,
    HubUnreachableError,
    ModelError,
    StoppedError,
)
from .patience import RETRIED_STATUS, Patience, retry_after_seconds
from .space import DISK_FULL, human

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from hashlib import _Hash
    from pathlib import Path

    from .manifest import FileEntry
    from .progress import Progress
    from .routes import Route

READ_BYTES = 1 << 20
# What the way is to blame for: the next way may do better.
WAY_ERRORS = (AccessDeniedError, CorruptError, HubUnavailableError, HubUnreachableError)
DETOUR_ATTEMPTS = 3  # on a way that is not the last


class _StalledError(OSError):
    """The connection is open and hardly anything comes."""


class Fetcher:
    """Fetches files of one repository by the first of its routes that works; its methods run in several threads."""

    def __init__(self, routes: Sequence[Route], progress: Progress, patience: Patience | None = None) -> None:
        self._routes = routes
        self._progress = progress
        self._patience = patience or Patience()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._left: dict[str, str] = {}
        self.fetched_from: dict[str, int] = {}

    def stop(self) -> None:
        """Let every fetch end soon, by StoppedError."""
        self._stop.set()

    def warnings(self) -> list[str]:
        """Say which routes were left, and why."""
        last = self._routes[-1].name
        return [f"{name} was left, and the rest came from {last}: {why}" for name, why in self._left.items()]

    def fetch(self, entry: FileEntry, part: Path) -> None:
        """Fetch a file's content to `part` and prove it.

        Raises CorruptError when the last route's content is not what the Hub states, HubUnavailableError and
        HubUnreachableError when patience ends, AccessDeniedError, DiskFullError.
        """
        part.parent.mkdir(parents=True, exist_ok=True)
        for route in self._open_routes():
            try:
                self._prove(route, entry, part)
            except WAY_ERRORS as error:
                if route is self._routes[-1]:
                    raise
                with self._lock:
                    self._left.setdefault(route.name, str(error))
            else:
                return

    def _open_routes(self) -> Iterator[Route]:
        """Name the routes that no other file has found to lead nowhere by then."""
        for route in self._routes:
            if route.name not in self._left:
                yield route

    def _prove(self, route: Route, entry: FileEntry, part: Path) -> None:
        continued = part.exists()
        found = self._complete(route, entry, part)
        if found != entry.digest and continued:
            self._progress.add_fetched(-entry.size_bytes)
            part.unlink()
            found = self._complete(route, entry, part)
        if found != entry.digest:
            part.unlink()
            self._progress.add_fetched(-entry.size_bytes)
            raise CorruptError(
                f"{entry.path}: {route.name} delivered {entry.size_bytes} bytes with the hash {found}, and"
                f" {entry.digest} is stated. Something on the way alters files: check the option endpoint, or source."
            )

    def _complete(self, route: Route, entry: FileEntry, part: Path) -> Digest:
        """Fetch what is missing of a part; return the hash of the whole."""
        sink = _Sink(part, entry, self._progress)
        try:
            failures = 0
            while sink.size_bytes < entry.size_bytes:
                before_bytes = sink.size_bytes
                try:
                    self._stream(route, entry, sink)
                except (OSError, http.client.HTTPException) as error:
                    failures = 1 if sink.size_bytes > before_bytes else failures + 1
                    is_last = route is self._routes[-1]
                    attempts = self._patience.attempts
                    self._pause(entry, error, failures, attempts if is_last else min(DETOUR_ATTEMPTS, attempts))
            return sink.finish()
        finally:
            sink.close()

    def _pause(self, entry: FileEntry, error: Exception, failures: int, attempts: int) -> None:
        """Wait before the next attempt; raises what the error means when there is to be none."""
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise HubUnreachableError(
                f"{entry.path}: the server's certificate is not trusted ({reason.verify_message})."
                f" {certificate_remedy(reason.verify_message)}"
            ) from error
        asked_seconds = None
        if isinstance(error, urllib.error.HTTPError):
            if error.code in (401, 403):
                raise AccessDeniedError(
                    f"{entry.path}: the server answers {error.code}"
                    f" ({error.headers.get('X-Error-Message') or error.reason}). The option token needs read access"
                    " to this repository."
                ) from error
            if error.code not in RETRIED_STATUS:
                raise HubUnavailableError(f"{entry.path}: the server answers {error.code} {error.reason}.") from error
            asked_seconds = retry_after_seconds(error.headers.get("Retry-After"))
        if failures >= attempts:
            raise HubUnavailableError(
                f"{entry.path}: gave up after {failures} failures without a byte in between; the last was: {reason}."
                " What came is kept: the next run continues there."
            ) from error
        if self._stop.wait(self._patience.wait_seconds(failures, asked_seconds)):
            raise StoppedError from error

    def _stream(self, route: Route, entry: FileEntry, sink: _Sink) -> None:
        """Append what comes to the sink, until all is there or the connection ends."""
        start_bytes = sink.fetched_bytes
        try:
            with route.open(entry.path, sink.size_bytes, self._patience.stall_seconds) as body:
                if not body.continued:
                    sink.restart()
                watch_start, watch_bytes = time.monotonic(), 0
                while chunk := body.read(READ_BYTES):
                    if self._stop.is_set():
                        raise StoppedError
                    sink.write(chunk)
                    watch_bytes += len(chunk)
                    watched_seconds = time.monotonic() - watch_start
                    if watched_seconds > self._patience.stall_seconds:
                        if watch_bytes < self._patience.slowest_bytes_per_second * watched_seconds:
                            raise _StalledError(f"{watch_bytes} bytes in {watched_seconds:.0f} s")
                        watch_start, watch_bytes = time.monotonic(), 0
        finally:
            with self._lock:
                came_bytes = sink.fetched_bytes - start_bytes
                self.fetched_from[route.name] = self.fetched_from.get(route.name, 0) + came_bytes
        if sink.size_bytes < entry.size_bytes:
            raise ConnectionError(f"the connection ended after {sink.size_bytes} of {entry.size_bytes} bytes")


class _Sink:
    """A partial file and the hash of what is in it."""

    def __init__(self, path: Path, entry: FileEntry, progress: Progress) -> None:
        self._entry = entry
        self._progress = progress
        if path.exists() and path.stat().st_size > entry.size_bytes:
            path.unlink()
        self._file: BinaryIO = path.open("ab", buffering=0)  # closed by close()
        self._hash: _Hash = hasher(entry.digest.algorithm, entry.size_bytes)
        self.size_bytes = feed(self._hash, path, progress.add_checked)
        self.fetched_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append; raises DiskFullError, and CorruptError when more comes than the Hub states."""
        if self.size_bytes + len(chunk) > self._entry.size_bytes:
            raise CorruptError(
                f"{self._entry.path}: the server sends more than the {self._entry.size_bytes} bytes stated."
            )
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise disk_error(error, self._entry) from error
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        self.fetched_bytes += len(chunk)
        self._progress.add_fetched(len(chunk))

    def restart(self) -> None:
        """Forget what is there: the server sends the file from its beginning."""
        self._progress.add_fetched(-self.size_bytes)
        self._file.truncate(0)
        self._hash = hasher(self._entry.digest.algorithm, self._entry.size_bytes)
        self.size_bytes = 0

    def finish(self) -> Digest:
        """Bring the content to the disk; return its hash. A rename must never outlive the content it names."""
        try:
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise disk_error(error, self._entry) from error
        return Digest(self._entry.digest.algorithm, self._hash.hexdigest())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


def disk_error(error: OSError, entry: FileEntry) -> ModelError:
    """Say what a failed write means."""
    if error.errno in DISK_FULL:
        return DiskFullError(
            f"{entry.path}: the file system filled up while its {human(entry.size_bytes)} were being written"
            f" ({error.strerror}); something else writes to it. What came is kept: free room and run again."
        )
    return ModelError(f"{entry.path} cannot be written: {error}.")

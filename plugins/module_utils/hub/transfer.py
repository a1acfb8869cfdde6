# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching one file over HTTP, hashed while it comes, continued where an earlier attempt or an earlier run ended.

huggingface_hub speaks to the Hub everywhere else in this package. It does not fetch the bytes, since its 2.x
releases throw a partial file away when a run ends and leave the hashing to a second pass over the disk.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import random
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from .digests import Digest, feed, hasher
from .errors import AccessDeniedError, CorruptError, DiskFullError, HubUnavailableError, HubUnreachableError, ModelError
from .space import human

if TYPE_CHECKING:
    from collections.abc import Mapping
    from hashlib import _Hash
    from pathlib import Path

    from .manifest import FileEntry
    from .progress import Progress

READ_BYTES = 1 << 20
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoppedError(ModelError):
    """Another file's error ended the fetch."""


class _StalledError(OSError):
    """The connection is open and hardly anything comes."""


@dataclass(frozen=True)
class Patience:
    """How long to try. A failure counts only until bytes come again."""

    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    longest_asked_wait_seconds: float = 600.0  # of a Retry-After header
    stall_seconds: float = 30.0
    slowest_bytes_per_second: float = 1024.0  # less, over stall_seconds, is a stall

    def wait_seconds(self, failures: int, asked_seconds: float | None) -> float:
        """How long to wait after so many failures in a row; never less than the server asks for."""
        if asked_seconds is not None:
            return min(asked_seconds, self.longest_asked_wait_seconds)
        wait = min(self.first_wait_seconds * 2.0 ** (failures - 1), self.longest_wait_seconds)
        return wait * random.uniform(0.8, 1.2)  # noqa: S311 - many hosts must not come back at once


class Fetcher:
    """Fetches files of one repository; its methods run in several threads."""

    def __init__(self, headers: Mapping[str, str], progress: Progress, patience: Patience | None = None) -> None:
        self._headers = headers
        self._progress = progress
        self._patience = patience or Patience()
        self._stop = threading.Event()
        context = ssl.create_default_context()
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def stop(self) -> None:
        """Let every fetch end soon, by StoppedError."""
        self._stop.set()

    def fetch(self, url: str, entry: FileEntry, part: Path) -> None:
        """Fetch a file's content to `part` and prove it.

        Raises CorruptError when the server's content is not what the Hub states, HubUnavailableError and
        HubUnreachableError when patience ends, AccessDeniedError, DiskFullError.
        """
        part.parent.mkdir(parents=True, exist_ok=True)
        continued = part.exists()
        found = self._complete(url, entry, part)
        if found != entry.digest and continued:
            self._progress.add_fetched(-entry.size_bytes)
            part.unlink()
            found = self._complete(url, entry, part)
        if found != entry.digest:
            part.unlink()
            raise CorruptError(
                f"{entry.path}: the server delivered {entry.size_bytes} bytes with the hash {found}, and the Hub"
                f" states {entry.digest}. A proxy or mirror on the way alters files: check the option endpoint."
            )

    def _complete(self, url: str, entry: FileEntry, part: Path) -> Digest:
        """Fetch what is missing of a part; return the hash of the whole."""
        sink = _Sink(part, entry, self._progress)
        try:
            failures = 0
            while sink.size_bytes < entry.size_bytes:
                before_bytes = sink.size_bytes
                try:
                    self._stream(url, entry, sink)
                except (OSError, http.client.HTTPException) as error:
                    failures = 1 if sink.size_bytes > before_bytes else failures + 1
                    self._pause(entry, error, failures)
            return sink.finish()
        finally:
            sink.close()

    def _pause(self, entry: FileEntry, error: Exception, failures: int) -> None:
        """Wait before the next attempt; raises what the error means when there is to be none."""
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise HubUnreachableError(
                f"{entry.path}: the server's certificate is not trusted ({reason.verify_message}). Add its authority"
                " to the host's trust store."
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
        if failures >= self._patience.attempts:
            raise HubUnavailableError(
                f"{entry.path}: gave up after {failures} failures without a byte in between; the last was: {reason}."
                " What came is kept: the next run continues there."
            ) from error
        if self._stop.wait(self._patience.wait_seconds(failures, asked_seconds)):
            raise StoppedError from error

    def _stream(self, url: str, entry: FileEntry, sink: _Sink) -> None:
        """Append what comes to the sink, until all is there or the connection ends."""
        request = urllib.request.Request(url)
        for name, value in self._headers.items():
            # Not repeated after a redirect: the token is the Hub's business, not its CDN's.
            request.add_unredirected_header(name, value)
        if sink.size_bytes:
            request.add_header("Range", f"bytes={sink.size_bytes}-")
        with self._opener.open(request, timeout=self._patience.stall_seconds) as response:
            if response.status != 206:
                sink.restart()
            watch_start, watch_bytes = time.monotonic(), 0
            while chunk := response.read1(READ_BYTES):
                if self._stop.is_set():
                    raise StoppedError
                sink.write(chunk)
                watch_bytes += len(chunk)
                watched_seconds = time.monotonic() - watch_start
                if watched_seconds > self._patience.stall_seconds:
                    if watch_bytes < self._patience.slowest_bytes_per_second * watched_seconds:
                        raise _StalledError(f"{watch_bytes} bytes in {watched_seconds:.0f} s")
                    watch_start, watch_bytes = time.monotonic(), 0
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


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header's seconds; None when there is none, or a date."""
    return float(value) if value and value.isdigit() else None

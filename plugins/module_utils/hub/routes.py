# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bytes of a repository's files come from: a server that speaks HTTP, or a directory."""

from __future__ import annotations

import contextlib
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol

PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Body:
    """A file's content that is about to come. `continued`: from the offset asked for, not from the beginning."""

    read: Callable[[int], bytes]
    continued: bool


class Route(Protocol):
    """One way to a repository's files."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open(self, path: str, offset_bytes: int, timeout_seconds: float) -> contextlib.AbstractContextManager[Body]:
        """Open a file's content from an offset on. Raises OSError's and http.client.HTTPException's kinds."""


class HttpRoute:
    """A Hub or a mirror of one; `url` says where a file is."""

    def __init__(self, name: str, url: Callable[[str], str], headers: Mapping[str, str]) -> None:
        self.name = name
        self._url = url
        self._headers = headers
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=ssl.create_default_context()))

    @contextlib.contextmanager
    def open(self, path: str, offset_bytes: int, timeout_seconds: float) -> Iterator[Body]:
        """Ask for the rest of a file. A server without ranges answers with all of it."""
        request = urllib.request.Request(self._url(path))
        for name, value in self._headers.items():
            # Not repeated after a redirect: the token is the Hub's business, not its CDN's.
            request.add_unredirected_header(name, value)
        if offset_bytes:
            request.add_header("Range", f"bytes={offset_bytes}-")
        with self._opener.open(request, timeout=timeout_seconds) as response:
            yield Body(response.read1, response.status == 206)


class FolderRoute:
    """A directory with the repository's files."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    @contextlib.contextmanager
    def open(self, path: str, offset_bytes: int, timeout_seconds: float) -> Iterator[Body]:
        """Open a file."""
        with (self._folder / path).open("rb", buffering=0) as file:
            file.seek(offset_bytes)
            yield Body(lambda size: file.read(size) or b"", continued=True)


def is_listening(url: str) -> bool:
    """Whether a server accepts connections at a URL's host and port. Raises ValueError when it is no such URL."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False

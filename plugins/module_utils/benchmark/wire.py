"""Just enough of HTTP/1.1 to hold thousands of streamed answers at once, on the standard library's asyncio.

Runs on managed hosts, where no HTTP library is to be had, and takes each piece of an answer in one callback without
waking a task. HTTP/1.1: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast
from urllib.parse import urlsplit

from .errors import BenchmarkError

# A smaller buffer would cut long streams into many reads; one serves every connection, since each read is
# taken in before the next one begins.
READ_BUFFER_BYTES = 1 << 20
# Servers close connections that are idle for some seconds (uvicorn: 5). One that is about to be closed must
# not be used again: the request would fail, and the server would be blamed for it.
REUSE_WITHIN_SECONDS = 2.0
MAX_HEAD_BYTES = 1 << 16


class WireError(Exception):
    """An exchange that came to no proper end. `kind` is connect, closed or protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Sink(Protocol):
    """Takes an answer's body as it comes."""

    def take(self, status: int, piece: bytes, at_seconds: float) -> None:
        """Take a piece that arrived at this time of the event loop's clock."""


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and what every one of them carries."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    validate_certs: bool = True
    ca_path: str | None = None

    def request(self, body: bytes) -> bytes:
        """Return a whole POST request. Raises BenchmarkError when a header would break out of its line."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
            **self.headers,
            "Content-Length": str(len(body)),
        }
        for name, value in headers.items():
            if not value.isprintable() or not value.isascii():
                raise BenchmarkError(f"header {name}: expected printable ASCII characters only")
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("ascii") + body


class ResponseParser:
    """Reads one response out of pieces that may end anywhere."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self._rest = b""
        self._chunked = False
        self._left: int | None = None
        self._trailer = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another exchange."""
        return self.complete and (self._chunked or self._left == 0) and self.headers.get("connection") != "close"

    def feed(self, data: bytes) -> bytes:
        """Take a piece and return what it held of the body. Raises WireError on what is no HTTP/1.1 response."""
        data = self._rest + data
        self._rest = b""
        if not self.status:
            data = self._head(data)
            if not self.status:
                return b""
        return self._body(data)

    def end(self) -> None:
        """Take the end of the connection. Raises WireError unless it ends the response."""
        if not self.complete and not (self.status and not self._chunked and self._left is None):
            raise WireError("closed", "expected the rest of the answer, found the connection closed")
        self.complete = True

    def _head(self, data: bytes) -> bytes:
        head, blank, body = data.partition(b"\r\n\r\n")
        if not blank:
            if len(data) > MAX_HEAD_BYTES:
                raise WireError("protocol", f"expected headers of at most {MAX_HEAD_BYTES} bytes, found more")
            self._rest = data
            return b""
        first, *lines = head.decode("latin-1").split("\r\n")
        version, space, status = first.partition(" ")
        code = status[:3]
        if not version.startswith("HTTP/1.") or not space or not code.isdigit():
            raise WireError("protocol", f"expected an HTTP/1.1 response, found {first[:80]!r}")
        if code.startswith("1"):  # an interim response, such as 100 Continue
            return self._head(body)
        self.status = int(code)
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        if self._chunked or self.status in {204, 304}:
            self._left = 0
        elif "content-length" in self.headers:
            self._left = _number(self.headers["content-length"], 10)
        if version == "HTTP/1.0":
            self.headers.setdefault("connection", "close")
        self.headers["connection"] = self.headers.get("connection", "").lower()
        return body

    def _body(self, data: bytes) -> bytes:
        if self._chunked:
            return self._chunks(data)
        if self._left is None:
            return data
        piece = data[: self._left]
        self._left -= len(piece)
        self.complete = self._left == 0
        return piece

    def _chunks(self, data: bytes) -> bytes:
        """Cut the body out of its chunks; `_left` counts what the present one lacks, its line end included."""
        pieces = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                # The last two bytes of a chunk are its line end.
                pieces.append(piece[: max(0, self._left - 2)])
                self._left -= len(piece)
                continue
            line, end = self._line(data, at)
            if end < 0:
                self._rest = data[at:]
                break
            at = end
            if self._trailer:
                self.complete = not line
                continue
            size = _number(line.partition(b";")[0].decode("latin-1"), 16)
            self._trailer = size == 0
            self._left = size + 2 if size else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @staticmethod
    def _line(data: bytes, at: int) -> tuple[bytes, int]:
        end = data.find(b"\r\n", at)
        return (b"", -1) if end < 0 else (data[at:end], end + 2)


def _number(text: str, base: int) -> int:
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise WireError("protocol", f"expected a length, found {text[:40]!r}")
    return value


class Connection(asyncio.BufferedProtocol):
    """One connection, which carries one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        self._loop = loop
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._sink: Sink | None = None
        self._done: asyncio.Future[int] | None = None
        self.idle_since = 0.0
        self.usable = True

    def exchange(self, request: bytes, sink: Sink) -> asyncio.Future[int]:
        """Send a request; the future's result is the status, once the whole answer went to the sink."""
        self._parser = ResponseParser()
        self._sink = sink
        self._done = self._loop.create_future()
        cast("asyncio.Transport", self._transport).write(request)
        return self._done

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be read: between exchanges, that is its end, or what nobody asked for."""
        waiting = select.poll()
        waiting.register(cast("asyncio.Transport", self._transport).get_extra_info("socket"), select.POLLIN)
        return not waiting.poll(0)

    def close(self) -> None:
        """Drop the connection, whatever it carries."""
        self.usable = False
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio before each read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio after each read."""
        at_seconds = self._loop.time()
        if self._done is None or self._done.done() or self._sink is None:
            self.close()  # bytes that nobody asked for
            return
        try:
            piece = self._parser.feed(bytes(self._buffer[:nbytes]))
            if piece:
                self._sink.take(self._parser.status, piece, at_seconds)
        except WireError as error:
            self._fail(error)
            return
        if self._parser.complete:
            self._finish(at_seconds)

    def eof_received(self) -> bool:
        """Called by asyncio when the server closes its side."""
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection is gone."""
        self._ended(exc)

    def _ended(self, error: Exception | None) -> None:
        self.usable = False
        if self._done is None or self._done.done():
            return
        if error:
            self._fail(WireError("closed", str(error) or type(error).__name__))
            return
        try:
            self._parser.end()
        except WireError as cut:
            self._fail(cut)
        else:
            self._finish(self._loop.time())

    def _finish(self, at_seconds: float) -> None:
        self.usable = self.usable and self._parser.keep_alive
        self.idle_since = at_seconds
        done = cast("asyncio.Future[int]", self._done)
        done.set_result(self._parser.status)

    def _fail(self, error: WireError) -> None:
        self.usable = False
        done = cast("asyncio.Future[int]", self._done)
        done.set_exception(error)
        if self._transport:
            self._transport.abort()


class Client:
    """As many connections to one server as there are requests under way; idle ones are used again."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._idle: list[Connection] = []
        self._addresses: list[str] = []
        parts = urlsplit(endpoint.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BenchmarkError(f"url: expected one such as http://127.0.0.1:8000, found {endpoint.url!r}")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _tls(endpoint) if parts.scheme == "https" else None

    async def post(self, request: bytes, sink: Sink) -> int:
        """Send a request and return the answer's status. Raises WireError when there was no whole answer."""
        connection = self._reusable() or await self._connect()
        try:
            status = await connection.exchange(request, sink)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        return status

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _reusable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            young = self._loop.time() - connection.idle_since < REUSE_WITHIN_SECONDS
            if connection.usable and young and connection.quiet:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        """Connect to the first address that answers, and keep to it: the name is looked up once."""
        if not self._addresses:
            self._addresses = await self._resolve()
        errors = []
        for address in self._addresses:
            try:
                _transport, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop, self._buffer),
                    address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except OSError as error:
                errors.append(f"{address}: {_reason(error)}")
                continue
            self._addresses = [address]
            return connection
        raise WireError("connect", f"no connection to port {self._port} of {'; '.join(errors)}")

    async def _resolve(self) -> list[str]:
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise WireError("connect", f"no address for {self._host}: {error.strerror or error}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _reason(error: OSError) -> str:
    """Return the system's own words: asyncio puts others in their place. The numbers of TLS errors are none of its."""
    return str(error) if isinstance(error, ssl.SSLError) or not error.errno else os.strerror(error.errno)


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_path)
    except OSError as error:
        raise BenchmarkError(f"ca_path: expected certificates, found {endpoint.ca_path}: {error}") from error
    if not endpoint.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

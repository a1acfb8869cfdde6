"""How much this client can take on this machine, measured against a server that does next to nothing.

Counted per second of the client's own processor time: that is what one processor of its own would give, whatever
else is running here, and the trivial server need not be faster than the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from .lengths import Lengths
from .load import Generator
from .settings import Settings, Stage

USERS = 64
EVENTS = 32
PACE_SECONDS = 0.005
MOST_REQUESTS = 100_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
# As long as vLLM's own.
EVENT = (
    b'data: {"id":"chatcmpl-00000000000000000000000000000000","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"trivial","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null,'
    b'"token_ids":null}]}\n\n'
)
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'


@dataclass(frozen=True)
class Ceiling:
    """What one event loop takes with a processor of its own."""

    events_per_second: float
    """Pieces of streamed text, each parsed and timed."""
    requests_per_second: float
    """Answers of one piece each."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class TrivialServer(asyncio.Protocol):
    """Answers any request with as many equal events as its max_tokens says, one at a time for each connection."""

    def __init__(self, first_seconds: float, pace_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._first_seconds = first_seconds
        self._pace_seconds = pace_seconds
        self._received = b""
        self._left = 0
        self._asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _field(head.lower(), b"content-length:"):
            return
        self._received = b""
        self._asked = self._left = _field(body, b'"max_tokens":')
        self._transport.write(HEAD)
        if self._first_seconds:
            self._loop.call_later(self._first_seconds, self._next)
        else:
            self._next()

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        if self._left:
            self._left -= 1
            self._transport.write(_chunk(EVENT))
            # Paced, so that the client reads each on its own, as it does from an engine: taking in many by one
            # read is much cheaper, and would flatter it.
            self._loop.call_later(self._pace_seconds, self._next)
            return
        self._transport.write(_chunk(USAGE % (64, self._asked)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _field(text: bytes, name: bytes) -> int:
    value = text.partition(name)[2].lstrip()
    digits = len(value) - len(value.lstrip(b"0123456789"))
    return int(value[:digits] or b"0")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextlib.contextmanager
def trivial_server(first_seconds: float = 0.0, pace_seconds: float = PACE_SECONDS) -> Iterator[str]:
    """Run the trivial server in a process of its own on a free port of the loopback; yields its URL.

    Its answers begin after `first_seconds`, and their pieces are `pace_seconds` apart.
    """
    # With the protocol named, asyncio recognizes TCP and turns Nagle's algorithm off, which would hold pieces back.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(_serve(listener, first_seconds, pace_seconds))
        finally:
            os._exit(0)
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


async def _serve(listener: socket.socket, first_seconds: float, pace_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TrivialServer(first_seconds, pace_seconds), sock=listener)
    await server.serve_forever()


def measure_ceiling(seconds: float, users: int = USERS, events: int = EVENTS) -> Ceiling:
    """Measure for about this many seconds, half of them each with long and with short answers."""
    with trivial_server() as url:
        long = asyncio.run(_measure(url, seconds / 2, users, events))
        short = asyncio.run(_measure(url, seconds / 2, users, 1))
    return Ceiling(round(long * events), round(short))


async def _measure(url: str, seconds: float, users: int, events: int) -> float:
    """Return how many answers came for each second of the processor."""
    length = Lengths("fixed", events, 0, events, events)
    stage = Stage(0, "closed", users, MOST_REQUESTS)
    settings = Settings(
        url, "trivial", (stage,), Lengths("fixed", 64, 0, 64, 64), length, stage_seconds=seconds, warmup_requests=0
    )
    generator = Generator(settings)
    try:
        await generator.prepare()
        found = await generator.run(stage)
    finally:
        generator.close()
    cpu_seconds = found.work.busy_share * found.seconds
    return sum(record.ok for record in found.records) / max(cpu_seconds, 1e-9)

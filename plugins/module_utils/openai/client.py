"""Requests to an OpenAI-compatible server, plain and streamed, by the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .sse import EventStream

PIECE_BYTES = 65536
SHOWN_BODY_CHARS = 500
END_OF_STREAM = "[DONE]"


class ApiError(Exception):
    """A server that could not be reached, or did not answer as it should."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Server:
    """Where to ask and how. The URL is that of the server, without /v1."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    validate_certs: bool = True
    ca_path: str | None = None


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    body: str
    latency_seconds: float

    def json(self) -> Any:
        """Return the body as data. Raises ApiError when it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ApiError(f"expected JSON, found {shown(self.body)!r}", status=self.status) from error


@dataclass(frozen=True)
class Chunk:
    """One event of a stream, and when it came, counted from the request."""

    data: Any
    at_seconds: float


def request(server: Server, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
    """Send a request and return the answer, whatever its status. Raises ApiError when there is none."""
    started = time.monotonic()
    connection = _connect(server)
    try:
        response = _send(connection, server, method, path, body)
        text = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(f"{method} {server.url}{path}: {_reason(error)}") from error
    finally:
        connection.close()
    return Answer(response.status, text, time.monotonic() - started)


def get(server: Server, path: str) -> Answer:
    """GET a path. Raises ApiError unless the status is 200."""
    return _expect_ok(f"GET {path}", request(server, "GET", path))


def post(server: Server, path: str, body: Mapping[str, Any]) -> Answer:
    """POST JSON to a path. Raises ApiError unless the status is 200."""
    return _expect_ok(f"POST {path}", request(server, "POST", path, body))


def stream(server: Server, path: str, body: Mapping[str, Any]) -> Iterator[Chunk]:
    """POST JSON and yield the events of the answer as they come, without the final [DONE].

    Raises ApiError on any other status than 200, on an event that is no JSON, and on a stream without its end.
    """
    started = time.monotonic()
    connection = _connect(server)
    try:
        response = _send(connection, server, "POST", path, body)
        if response.status != http.client.OK:
            _expect_ok(f"POST {path}", Answer(response.status, response.read().decode("utf-8", "replace"), 0.0))
        for data in _events(response):
            if data == END_OF_STREAM:
                return
            yield Chunk(_event_json(data), time.monotonic() - started)
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(f"POST {server.url}{path}: {_reason(error)}") from error
    finally:
        connection.close()
    raise ApiError(f"POST {path}: expected the stream to end with {END_OF_STREAM}, found the connection closed before")


def shown(text: str) -> str:
    """Return as much of a body as an error message bears."""
    return text if len(text) <= SHOWN_BODY_CHARS else text[: SHOWN_BODY_CHARS - 1] + "…"


def _connect(server: Server) -> http.client.HTTPConnection:
    scheme, host, port = _endpoint(server.url)
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=server.timeout_seconds)
    try:
        context = ssl.create_default_context(cafile=server.ca_path)
    except OSError as error:
        raise ApiError(f"expected the certificates of CAs in {server.ca_path!r}, found: {error}") from error
    if not server.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=server.timeout_seconds, context=context)


def _endpoint(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL. Raises ApiError when it is none."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in {"http", "https"} or not host:
        raise ApiError(f"expected a URL such as http://127.0.0.1:8000, found {url!r}")
    return scheme, host, port


def _send(
    connection: http.client.HTTPConnection, server: Server, method: str, path: str, body: Mapping[str, Any] | None
) -> http.client.HTTPResponse:
    headers = {"Accept": "application/json, text/event-stream"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if server.api_key:
        headers["Authorization"] = f"Bearer {server.api_key}"
    prefix = urlsplit(server.url).path.rstrip("/")
    connection.request(method, prefix + path, json.dumps(body) if body is not None else None, headers)
    return connection.getresponse()


def _events(response: http.client.HTTPResponse) -> Iterator[str]:
    events = EventStream()
    while True:
        # read1 returns what has arrived; read would wait for a full buffer and spoil the times.
        piece = response.read1(PIECE_BYTES)
        if not piece:
            return
        yield from events.feed(piece)


def _event_json(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ApiError(f"expected an event of JSON, found {shown(data)!r}") from error


def _expect_ok(what: str, answer: Answer) -> Answer:
    if answer.status == http.client.OK:
        return answer
    raise ApiError(
        f"{what}: expected status 200, found {answer.status}: {shown(error_message(answer.body))}",
        status=answer.status,
    )


def error_message(body: str) -> str:
    """Return the sentence in an OpenAI error object, or the body as it is."""
    try:
        data = json.loads(body)
        found = data.get("error", data)
        return str(found.get("message", body) if isinstance(found, dict) else found)
    except (ValueError, AttributeError):
        return body


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__

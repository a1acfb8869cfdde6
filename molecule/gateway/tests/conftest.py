"""The door as its clients see it: HTTPS to the gateway's address, checked against the private CA."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import control
import pytest

SCENARIO = Path(__file__).resolve().parents[1]
NAME = "llm.test"
APP = "app-current-0123456789abcdefghijklmnop"
APP_NEXT = "app-next-0123456789abcdefghijklmnopqrs"
APP_EXPIRED = "app-expired-0123456789abcdefghijklmnop"
GREEDY = "greedy-0123456789abcdefghijklmnopqrstuv"
NARROW = "narrow-0123456789abcdefghijklmnopqrstuv"
ENGINE_KEY = "engine-0123456789abcdefghijklmnopqrstuv"
KEYS = (APP, APP_NEXT, APP_EXPIRED, GREEDY, NARROW)
CHAT = "/v1/chat/completions"
# How sending or reading ends when the gateway has given a request up.
ENDED = (ConnectionError, ssl.SSLEOFError)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error, which must have OpenAI's shape."""
        assert self.headers["content-type"] == "application/json", self
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert error["type"]
        return error["code"]


@dataclass(frozen=True)
class Door:
    address: str
    ca: str
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", ssl.create_default_context(cafile=self.ca))

    def socket(self, timeout: float = 60, window_bytes: int = 0) -> ssl.SSLSocket:
        """Connect; a small window holds up what is not read at once."""
        plain = socket.socket()
        if window_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        plain.settimeout(timeout)
        plain.connect((self.address, 443))
        return self.context.wrap_socket(plain, server_hostname=NAME)

    def connect(self, window_bytes: int = 0) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(NAME, timeout=60)
        connection.sock = self.socket(window_bytes=window_bytes)
        return connection

    def ask(
        self, path: str, body: Any = None, key: str | None = APP, method: str | None = None, **headers: str
    ) -> Reply:
        """One request on a connection of its own. Underscores in the names of headers are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection = self.connect()
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def chat(self, model: str = "tiny", key: str | None = APP, tokens: int = 8, **options: Any) -> Reply:
        return self.ask(CHAT, question(model, tokens, **options), key)

    def stream(
        self, model: str = "tiny", key: str = APP, tokens: int = 8, window_bytes: int = 0
    ) -> http.client.HTTPResponse:
        """Begin a streamed chat and return the open response."""
        connection = self.connect(window_bytes)
        body = json.dumps(question(model, tokens, stream=True))
        connection.request("POST", CHAT, body, {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response

    def raw(self, data: bytes, timeout: float = 20) -> bytes:
        """Send bytes as they are and return all that comes back until the connection ends."""
        connection = self.socket(timeout)
        with contextlib.suppress(*ENDED):
            connection.sendall(data)
        return rest(connection)


def rest(connection: ssl.SSLSocket) -> bytes:
    """Return all that comes until the connection ends, however it does."""
    received = b""
    with connection:
        while True:
            try:
                chunk = connection.recv(65536)
            except ENDED:
                return received
            if not chunk:
                return received
            received += chunk


def question(model: str, tokens: int, **options: Any) -> dict[str, Any]:
    """A chat of exactly so many tokens. A piece may hold several of them, so engines are asked for their number."""
    if options.get("stream"):
        options["stream_options"] = {"include_usage": True}
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens}
    return {**body, "ignore_eos": True, **options}


def chunks(response: http.client.HTTPResponse) -> Iterator[Any]:
    """The chunks of a streamed reply, up to [DONE]."""
    for line in response:
        if line.startswith(b"data: "):
            data = line[6:].strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)
    raise AssertionError("the stream ended without [DONE]")


def tokens_of(response: http.client.HTTPResponse) -> int:
    """Read a streamed reply to its end and return how many tokens it had."""
    *_, last = chunks(response)
    return last["usage"]["completion_tokens"]


@pytest.fixture(scope="session")
def addresses() -> dict[str, str]:
    """Address of every host of the lab."""
    return control.addresses()


@pytest.fixture(scope="session")
def guest() -> Callable[[str], Any]:
    """Return a host of the lab by its name."""
    return control.machine


@pytest.fixture(scope="session")
def gate(guest: Callable[[str], Any]) -> Any:
    return guest("gate")


@pytest.fixture(scope="session")
def door(addresses: dict[str, str]) -> Door:
    folder = os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY") or "/tmp"
    return Door(addresses["gate"], f"{folder}/llm-serving-gateway-ca.pem")

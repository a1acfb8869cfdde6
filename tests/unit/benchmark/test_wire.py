"""Responses in pieces of any size, and connections over a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.benchmark.errors import BenchmarkError
from ansible_collections.llm.serving.plugins.module_utils.benchmark.wire import (
    READ_BUFFER_BYTES,
    Client,
    Endpoint,
    ResponseParser,
    WireError,
)
from hypothesis import given
from hypothesis import strategies as st

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = HEAD + b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer: 1\r\n\r\n"
SIZED = b"HTTP/1.1 429 Too Many\r\ncontent-length: 12\r\n\r\nhello, world"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=30), st.sampled_from([CHUNKED, SIZED, INTERIM + CHUNKED]))
def test_pieces_may_end_anywhere(cuts: list[int], response: bytes) -> None:
    parser = ResponseParser()
    places = [0, *sorted(cuts), len(response)]
    body = b"".join(parser.feed(response[a:b]) for a, b in zip(places, places[1:], strict=False) if a != b)
    assert body == b"hello, world"
    assert parser.complete
    assert parser.keep_alive
    assert parser.status == (429 if response is SIZED else 200)


def test_body_without_length_ends_with_the_connection() -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nsome") == b"some"
    assert not parser.complete
    parser.end()
    assert parser.complete
    assert not parser.keep_alive


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b"CONNECTION: Close\r\n"])
def test_server_may_end_the_connection(head: bytes) -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n")
    assert parser.complete
    assert not parser.keep_alive


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"5\r\nhel", HEAD + b"5\r\nhello\r\n", SIZED[:-1]]
)
def test_cut_response_is_no_answer(sent: bytes) -> None:
    parser = ResponseParser()
    if sent:
        parser.feed(sent)
    with pytest.raises(WireError, match="connection closed") as caught:
        parser.end()
    assert caught.value.kind == "closed"


@pytest.mark.parametrize(
    "sent",
    [b"SSH-2.0-OpenSSH\r\n\r\n", HEAD + b"zz\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"x" * 70000],
)
def test_no_http_is_refused(sent: bytes) -> None:
    with pytest.raises(WireError) as caught:
        ResponseParser().feed(sent)
    assert caught.value.kind == "protocol"


def test_header_cannot_break_out_of_its_line() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", {"Authorization": "Bearer secret\r\nX-Evil: 1"})
    with pytest.raises(BenchmarkError) as caught:
        endpoint.request(b"{}")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(endpoint)


def test_request_names_host_and_length() -> None:
    request = Endpoint("http://user@[::1]:8010/v1/x?y=1", {"Authorization": "Bearer k"}).request(b'{"a":"\xc3\xa9"}')
    head, body = request.split(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /v1/x?y=1 HTTP/1.1"
    assert b"Host: [::1]:8010" in head
    assert b"Authorization: Bearer k" in head
    assert f"Content-Length: {len(body)}".encode() in head


class Collected:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.body = b""
        self.pieces = 0

    def take(self, status: int, piece: bytes, at_seconds: float) -> None:
        assert status == 200
        assert at_seconds > 0
        self.body += piece
        self.pieces += 1


@contextmanager
def replying(*connections: list[bytes]) -> Iterator[tuple[str, list[int]]]:
    """A server that gives each connection its answers, one a request, and then closes it; counts the connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[int] = []

    def serve() -> None:
        for answers in connections:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            accepted.append(len(answers))
            with peer:
                for answer in answers:
                    while not peer.recv(65536).endswith(b"{}"):
                        pass
                    peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def ask(url: str, times: int) -> list[bytes | str]:
    """Post several times over one client; a failure is given by its kind."""

    async def run() -> list[bytes | str]:
        endpoint = Endpoint(url)
        client = Client(endpoint)
        found: list[bytes | str] = []
        for _ in range(times):
            sink = Collected()
            try:
                await asyncio.wait_for(client.post(endpoint.request(b"{}"), sink), 5)
                found.append(sink.body)
            except WireError as error:
                found.append(error.kind)
        client.close()
        return found

    return asyncio.run(run())


def test_connection_is_used_again() -> None:
    with replying([CHUNKED, CHUNKED, SIZED.replace(b"429 Too Many", b"200 OK")]) as (url, accepted):
        assert ask(url, 3) == [b"hello, world"] * 3
        assert accepted == [3]


def test_closed_connection_is_replaced() -> None:
    closing = CHUNKED.replace(b"Transfer", b"Connection: close\r\nTransfer")
    with replying([closing], [CHUNKED]) as (url, accepted):
        assert ask(url, 2) == [b"hello, world"] * 2
        assert accepted == [1, 1]


def test_connection_that_ended_unannounced_is_not_used_again() -> None:
    """Also where its end has come, and the event loop did not get to see it."""

    async def run() -> list[int]:
        endpoint = Endpoint(url)
        client = Client(endpoint)
        found = []
        for _ in range(3):
            found.append(await client.post(endpoint.request(b"{}"), Collected()))
            time.sleep(0.05)
        client.close()
        return found

    with replying([CHUNKED], [CHUNKED], [CHUNKED]) as (url, accepted):
        assert asyncio.run(run()) == [200, 200, 200]
        assert accepted == [1, 1, 1]


def test_request_that_is_reset_is_a_failure_and_not_sent_again() -> None:
    """Also over a connection that served before: the server took it, and broke it."""
    with replying([CHUNKED, b""], [CHUNKED]) as (url, accepted):
        assert ask(url, 3) == [b"hello, world", "closed", b"hello, world"]
        assert accepted == [2, 1]


def test_cut_answer_fails_and_the_next_one_has_a_new_connection() -> None:
    with replying([CHUNKED[:-9]], [CHUNKED]) as (url, _):
        assert ask(url, 2) == ["closed", b"hello, world"]


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask(f"http://127.0.0.1:{port}/", 1) == ["connect"]


def test_answer_larger_than_the_buffer_comes_whole() -> None:
    size = 8 * READ_BUFFER_BYTES
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    async def run() -> Collected:
        endpoint = Endpoint(url)
        client = Client(endpoint)
        sink = Collected()
        await asyncio.wait_for(client.post(endpoint.request(b"{}"), sink), 30)
        client.close()
        return sink

    with replying([sent]) as (url, _):
        sink = asyncio.run(run())
    assert sink.body == b"x" * size


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/", "http:///v1"])
def test_url_must_be_one(url: str) -> None:
    async def run() -> None:
        Client(Endpoint(url))

    with pytest.raises(BenchmarkError, match="url: expected"):
        asyncio.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for 127.0.0.1, and its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.mark.parametrize(
    ("trusting", "expected"), [("ca", b"hello, world"), ("anything", b"hello, world"), ("system", "connect")]
)
def test_certificates_are_checked(certificate: Path, trusting: str, expected: bytes | str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        for at in range(0, len(CHUNKED), 7):
            writer.write(CHUNKED[at : at + 7])
            await writer.drain()

    async def run() -> bytes | str:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        ca_path = str(certificate) if trusting == "ca" else None
        endpoint = Endpoint(f"https://127.0.0.1:{port}/", validate_certs=trusting != "anything", ca_path=ca_path)
        client, sink = Client(endpoint), Collected()
        try:
            await asyncio.wait_for(client.post(endpoint.request(b"{}"), sink), 10)
        except WireError as error:
            assert "certificate verify failed" in str(error)
            return error.kind
        finally:
            client.close()
            server.close()
        return sink.body

    assert asyncio.run(run()) == expected


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    async def run() -> None:
        Client(Endpoint("https://127.0.0.1:1/", ca_path=str(tmp_path / "missing.pem")))

    with pytest.raises(BenchmarkError, match="ca_path: expected certificates"):
        asyncio.run(run())

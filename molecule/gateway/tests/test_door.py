"""What comes in by the door, what does not, and what is said about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import httpx
import openai
import pytest
from conftest import (
    APP,
    APP_EXPIRED,
    APP_NEXT,
    CHAT,
    ENDED,
    GREEDY,
    NAME,
    NARROW,
    SCENARIO,
    Door,
    chunks,
    question,
    tokens_of,
)

# ---------------------------------------------------------------- what comes in


def test_a_chat(door: Door) -> None:
    reply = door.chat()
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"]
    assert reply.json["model"] == "tiny"
    assert "server" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "Hello", "max_tokens": 4}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 4}),
    ],
)
def test_other_endpoints_reach_the_engine(door: Door, path: str, body: dict[str, Any]) -> None:
    assert door.ask(path, {"model": "tiny", **body}).status == 200


def test_both_engines_answer_by_one_name(door: Door) -> None:
    """Two at a time: the gateway gives each engine one."""
    under_way = [door.stream(tokens=300) for _ in range(2)]
    pieces = [list(chunks(response)) for response in under_way]
    assert [piece[-1]["usage"]["completion_tokens"] for piece in pieces] == [300, 300]
    assert sorted(piece[0].get("system_fingerprint") == "fp_ollama" for piece in pieces) == [False, True]


def test_a_stream_is_passed_on_as_it_comes(door: Door) -> None:
    begun = time.monotonic()
    arrivals = [time.monotonic() - begun for _ in chunks(door.stream("lonely", tokens=4000))]
    assert len(arrivals) > 4000
    # Buffered, everything would come at the end at once.
    assert arrivals[0] < arrivals[-1] / 2
    pauses = [later - earlier for earlier, later in zip(arrivals, arrivals[1:])]
    assert sum(pause > 0.001 for pause in pauses) > 10


def test_the_openai_client_works(door: Door) -> None:
    class Resolved(httpx.HTTPTransport):
        """Reaches the name without a DNS that knows it."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["sni_hostname"] = NAME
            request.url = request.url.copy_with(host=door.address)
            return super().handle_request(request)

    http_client = httpx.Client(transport=Resolved(verify=door.context))
    with openai.OpenAI(base_url=f"https://{NAME}/v1", api_key=APP, http_client=http_client, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["local/beside", "lonely", "tiny"]
        assert client.models.retrieve("tiny").id == "tiny"
        messages = [{"role": "user", "content": "Hello"}]
        reply = client.chat.completions.create(model="tiny", messages=messages, max_tokens=8)
        assert reply.usage.completion_tokens == 8
        stream = client.chat.completions.create(model="lonely", messages=messages, max_tokens=8, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        with pytest.raises(openai.NotFoundError, match="no such model"):
            client.chat.completions.create(model="gpt-none", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").models.list()
        with pytest.raises(openai.PermissionDeniedError):
            client.with_options(api_key=NARROW).chat.completions.create(model="lonely", messages=messages)


def test_every_key_of_a_client_is_good(door: Door) -> None:
    assert [door.chat(key=key).status for key in (APP, APP_NEXT)] == [200, 200]


def test_an_ollama_beside_the_gateway_answers_on_its_loopback(door: Door) -> None:
    """There it refuses requests for names that are none of its own."""
    assert door.chat("local/beside").status == 200


@pytest.mark.parametrize(("key", "models"), [(APP, ["local/beside", "lonely", "tiny"]), (NARROW, ["tiny"])])
def test_models_are_those_that_the_client_may_use(door: Door, key: str, models: list[str]) -> None:
    reply = door.ask("/v1/models", key=key)
    assert reply.json["object"] == "list"
    assert [model["id"] for model in reply.json["data"]] == models
    assert door.ask("/v1/models/tiny", key=key).json["id"] == "tiny"
    assert (door.ask("/v1/models/lonely", key=key).status == 200) is ("lonely" in models)


def test_a_slash_written_with_a_backslash_is_a_slash(door: Door) -> None:
    assert door.ask(CHAT, '{"model":"no\\/such"}').code == "model_not_found"


def test_the_name_of_a_model_may_stand_anywhere(door: Door) -> None:
    body = json.dumps({**question("x", 4), "metadata": None, "stop": ['"model":"a"', "{", "]"]})
    body = body.replace('"model": "x", ', "")[:-1] + ', "model" : "tiny" }'
    assert door.ask(CHAT, body).status == 200


def test_a_body_in_chunks(door: Door) -> None:
    connection = door.connect()
    parts = [part.encode() for part in json.dumps(question("tiny", 4)).partition('"messages"')]
    connection.request("POST", CHAT, iter(parts), {"Authorization": f"Bearer {APP}"}, encode_chunked=True)
    assert connection.getresponse().status == 200


def test_a_long_prompt(door: Door) -> None:
    reply = door.ask(CHAT, question("tiny", 4, user="x" * 190_000))
    assert reply.status == 200


def test_a_thousand_at_once(door: Door) -> None:
    """All are answered: the gateway queues what the engines cannot take at once."""
    body = json.dumps(question("tiny", 1)).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {APP}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(door.address, 443, ssl=door.context, server_hostname=NAME)
        await everybody.wait()
        writer.write(head.encode() + body)
        status = await reader.readline()
        await reader.read()
        writer.close()
        return status.split()[1]

    async def all_of_them() -> list[bytes]:
        tasks = [asyncio.create_task(one()) for _ in range(1000)]
        await asyncio.sleep(3)
        everybody.set()
        return await asyncio.wait_for(asyncio.gather(*tasks), 90)

    everybody = asyncio.Event()
    statuses = asyncio.run(all_of_them())
    assert {status: statuses.count(status) for status in set(statuses)} == {b"200": 1000}


# ---------------------------------------------------------------- what does not


@pytest.mark.parametrize("key", [None, "", "wrong", APP[:-1], APP + "x", APP.upper(), APP_EXPIRED])
def test_a_wrong_key(door: Door, key: str | None) -> None:
    for path in ("/v1/models", "/nowhere", CHAT):
        reply = door.ask(path, key=key)
        assert (reply.status, reply.code) == (401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_a_good_key_in_a_wrong_wrapping(door: Door, scheme: str) -> None:
    assert door.ask("/v1/models", key=None, Authorization=f"{scheme} {APP}".strip()).status == 401


def test_a_model_that_the_client_may_not_use(door: Door) -> None:
    reply = door.chat("lonely", NARROW)
    assert (reply.status, reply.code) == (403, "model_not_allowed")


def test_a_model_that_is_not_there(door: Door) -> None:
    for model in ("gpt-none", "tiny:latest", "TINY", "", "../tiny", "tiny\u0000x"):
        reply = door.chat(model)
        assert (reply.status, reply.code) in ((404, "model_not_found"), (400, "invalid_body")), model


TRIED = [line.split(" ", 1) for line in (SCENARIO / "tests" / "paths.txt").read_text().splitlines()[1:]]


@pytest.mark.parametrize(("method", "path"), TRIED, ids=" ".join)
def test_what_is_not_on_the_list(door: Door, method: str, path: str) -> None:
    """With a good key and the name of a model that there is. The gateway says no by itself: engines see nothing."""
    body = question("tiny", 1) if method == "POST" else None
    for key in (APP, None):
        reply = door.ask(path, body, key, method)
        assert reply.status in ((400, 404, 405) if key else (400, 401)), reply
        assert method == "HEAD" or reply.code


def test_no_engine_saw_any_of_it(gate) -> None:
    lines = gate.check_output("journalctl -u haproxy -o cat --no-pager | grep '^{'").splitlines()
    served = {entry["path"] for entry in map(json.loads, lines) if entry.get("server", "<NOSRV>") != "<NOSRV>"}
    assert served <= {CHAT, "/v1/completions", "/v1/responses"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_a_wrong_method(door: Door, method: str) -> None:
    assert door.ask(CHAT, method=method).status == 405
    assert door.ask("/v1/models", method="POST", body="{}").status == 405


def test_what_comes_after_the_path_does_not_reach_the_engine(door: Door) -> None:
    assert door.ask(f"{CHAT}?x=/metrics", question("tiny", 1)).status == 200


SMUGGLED = [
    '{"model":"tiny","model":"lonely"}',
    '{"model":"tiny","Model":"lonely"}',
    '{"\\u006dodel":"lonely","model":"tiny"}',
    '{"model":"tiny","m\\u006fdel":"lonely"}',
    '{"model":["lonely"],"model":"tiny"}',
    '[{"model":"tiny"}]',
    '"tiny"',
    '{"model":5}',
    '{"model":"tiny"',
    '{"model":"tiny"}{"model":"lonely"}',
    '{"x":{"model":"tiny"}}',
    "",
    "model=tiny",
    '\ufeff{"model":"tiny"}',
]


@pytest.mark.parametrize("body", SMUGGLED)
def test_a_body_that_could_mean_another_model(door: Door, body: str) -> None:
    reply = door.ask(CHAT, body.encode(), NARROW)
    assert (reply.status, reply.code) == (400, "invalid_body")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_body_in_another_encoding(door: Door, encoding: str) -> None:
    assert door.ask(CHAT, json.dumps(question("tiny", 1)).encode(encoding)).code == "invalid_body"


def test_bad_utf8_does_not_hurt(door: Door) -> None:
    body = json.dumps(question("tiny", 1)).replace("Hello", "\udcff").encode("utf-8", "surrogateescape")
    assert door.ask(CHAT, body).status in (200, 400)
    assert door.ask(CHAT, b'{"model":"ti\xff\xfeny"}').code == "model_not_found"


def test_a_compressed_body(door: Door) -> None:
    assert door.ask(CHAT, question("tiny", 1), Content_Encoding="gzip").code == "unsupported_encoding"


def test_a_body_that_is_too_large(door: Door) -> None:
    for chunked in (False, True):
        connection = door.connect()
        body = json.dumps(question("tiny", 1, user="x" * 210_000)).encode()
        headers = {"Authorization": f"Bearer {APP}"}
        if not chunked:
            headers["Content-Length"] = str(len(body))
        with contextlib.suppress(*ENDED):
            connection.request("POST", CHAT, iter([body]), headers, encode_chunked=chunked)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "request_too_large")


def test_headers_that_are_too_large(door: Door) -> None:
    assert door.ask("/v1/models", X_Filler="x" * 40_000).code == "headers_too_large"
    # Given up while more is on its way: the reset of the connection may overtake the answer.
    reply = door.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 400_000 + b"\r\n\r\n")
    assert reply == b"" or reply.split()[1] == b"400"


REQUESTS = {
    "two lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "length and chunks": (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
    "disguised chunks": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "header without a name": b"POST %s HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n",
    "blank in a name": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
    "folded header": b"POST %s HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "negative length": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "no method": b" %s HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad chunk": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "bad version": b"POST %s HTTP/9.9\r\nHost: x\r\n\r\n",
    "other host": b"GET http://evil.example/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_is_none(door: Door, name: str) -> None:
    request = REQUESTS[name]
    request = request % CHAT.encode() if b"%s" in request else request
    request = request.replace(
        b"Host: x\r\n", f"Host: x\r\nAuthorization: Bearer {APP}\r\nConnection: close\r\n".encode()
    )
    reply = door.raw(request)
    assert reply.count(b"HTTP/1.") <= 1
    assert reply == b"" or int(reply.split()[1]) in (400, 404, 405, 408, 411, 422, 501, 505), reply[:200]


def test_a_slow_request_is_given_up(door: Door) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {APP}\r\nContent-Length: 900\r\n\r\n"
    begun = time.monotonic()
    reply = door.raw(head.encode() + b'{"mo')
    assert (reply.split()[1], reply.count(b"request_timeout")) == (b"408", 1)
    assert time.monotonic() - begun < 15


def test_slow_headers_are_given_up(door: Door) -> None:
    begun = time.monotonic()
    assert b" 408 " in door.raw(b"POST /v1/cha")
    assert time.monotonic() - begun < 25


# ---------------------------------------------------------------- limits


def test_a_greedy_client_is_held_back_and_another_is_not(door: Door) -> None:
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)
    replies = [door.chat(key=GREEDY, tokens=1) for _ in range(8)]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 3
    refused = replies[-1]
    assert refused.code == "rate_limit_exceeded"
    assert abs(int(refused.headers["retry-after"]) - (60 - time.time() % 60)) < 3
    assert refused.headers["x-ratelimit-limit-requests"] == "5"
    assert door.chat(key=APP).status == 200


def test_requests_at_a_time(door: Door) -> None:
    # Not read on, they cannot end before they are looked at.
    under_way = [door.stream(key=NARROW, tokens=2000, window_bytes=4096) for _ in range(2)]
    refused = door.chat(key=NARROW)
    assert (refused.status, refused.code) == (429, "too_many_concurrent_requests")
    assert refused.headers["retry-after"] == "1"
    assert door.chat(key=APP).status == 200
    for response in under_way:
        assert tokens_of(response) == 2000
    assert door.chat(key=NARROW).status == 200

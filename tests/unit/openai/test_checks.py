"""Checks against a real socket: what passes, and what a failure says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.openai.checks import (
    CHECKS,
    Question,
    run_checks,
    wait_until_ready,
)
from ansible_collections.llm.serving.plugins.module_utils.openai.client import Server

from .server import Script, event, serving

QUESTION = Question("tiny", "hello", 8)
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USAGE = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
DONE = b"data: [DONE]\n\n"


def chat_chunks(*texts: str) -> list[bytes]:
    chunks = [event({"choices": [{"delta": {"content": text}, "finish_reason": None}]}) for text in texts]
    return [
        *chunks,
        event({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        event({"choices": [], **USAGE}),
        DONE,
    ]


def good() -> Script:
    chat = {"choices": [{"message": {"content": "hi there"}, "finish_reason": "stop"}], **USAGE}
    text = {"choices": [{"text": " there", "finish_reason": "length"}], **USAGE}
    return Script(
        answers={
            "/health": (200, ""),
            "/v1/models": (200, json.dumps({"data": [{"id": "tiny"}]})),
            CHAT: (200, json.dumps(chat)),
            TEXT: (200, json.dumps(text)),
        },
        streams={
            CHAT: chat_chunks("hi", " there"),
            TEXT: [
                event({"choices": [{"text": " there", "finish_reason": None}]}),
                event({"choices": [{"text": "", "finish_reason": "length"}]}),
                event({"choices": [], **USAGE}),
                DONE,
            ],
        },
    )


def outcome(script: Script, name: str, **server: Any) -> Any:
    with serving(script) as url:
        return run_checks(Server(url, **server), QUESTION, [name])[name]


def test_a_good_server_passes_everything() -> None:
    with serving(good()) as url:
        outcomes = run_checks(Server(url), QUESTION, CHECKS)
    assert {name: found.message for name, found in outcomes.items() if not found.ok} == {}
    assert outcomes["chat"].text == outcomes["chat_stream"].text == "hi there"
    assert outcomes["completions_stream"].text == " there"
    assert outcomes["chat_stream"].completion_tokens == 2
    assert outcomes["models"].models == ("tiny",)


def test_time_to_first_token_is_that_of_the_first_text() -> None:
    script = good()
    script.pause_seconds = 0.15
    script.streams[CHAT] = [event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}), *chat_chunks("hi")]
    found = outcome(script, "chat_stream")
    assert 0.15 <= found.ttft_seconds < found.latency_seconds


@pytest.mark.parametrize(
    ("path", "answer", "name", "part"),
    [
        ("/health", (503, "loading"), "health", "expected status 200, found 503: loading"),
        ("/v1/models", (200, '{"data": [{"id": "other"}]}'), "models", "expected the model 'tiny', found ['other']"),
        ("/v1/models", (200, "<html>"), "models", "expected JSON, found '<html>'"),
        ("/v1/models", (200, "[]"), "models", "expected a list named data"),
        (CHAT, (404, '{"error": {"message": "no such model"}}'), "chat", "found 404: no such model"),
        (CHAT, (200, '{"choices": []}'), "chat", "expected a choice, found none"),
        (CHAT, (200, '{"choices": [{"message": {"content": "x"}}]}'), "chat", "expected a finish_reason"),
        (
            CHAT,
            (200, '{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}'),
            "chat",
            "expected at least one token",
        ),
    ],
)
def test_failures_say_what_was_expected_and_found(path: str, answer: tuple[int, str], name: str, part: str) -> None:
    script = good()
    script.answers[path] = answer
    found = outcome(script, name)
    assert not found.ok
    assert part in found.message


@pytest.mark.parametrize(
    ("pieces", "part"),
    [
        (chat_chunks("hi")[:-1], "expected the stream to end with [DONE]"),
        ([b"data: {nonsense\n\n", DONE], "expected an event of JSON"),
        ([event({"error": {"message": "the engine died"}}), DONE], "the engine died"),
        ([DONE], "expected a choice, found none"),
        ([event({"choices": [{"delta": {"content": "x"}}]}), DONE], "expected a finish_reason"),
    ],
)
def test_streams_that_are_not_whole_fail(pieces: list[bytes], part: str) -> None:
    script = good()
    script.streams[CHAT] = pieces
    found = outcome(script, "chat_stream")
    assert not found.ok
    assert part in found.message


def test_what_a_reasoning_model_thinks_is_text() -> None:
    script = good()
    script.streams[CHAT] = [
        event({"choices": [{"delta": {"reasoning_content": "hm"}}]}),
        event({"choices": [{"delta": {"content": " hi"}, "finish_reason": "stop"}]}),
        DONE,
    ]
    assert outcome(script, "chat_stream").text == "hm hi"


def test_the_key_is_sent_as_a_bearer_token() -> None:
    script = good()
    outcome(script, "models", api_key="sk-1")
    assert script.requests[0][2]["Authorization"] == "Bearer sk-1"
    assert "sk-1" not in repr(Server("http://x", "sk-1"))


def test_nobody_there() -> None:
    with serving(good()) as url:
        pass
    found = run_checks(Server(url), QUESTION, ["health"])["health"]
    assert not found.ok
    assert "refused" in found.message


def test_waiting_ends_when_the_server_is_ready() -> None:
    with serving(good()) as url:
        assert (wait_until_ready(Server(url), QUESTION, 5) or 9) < 2


def test_waiting_ends_when_there_is_no_hope() -> None:
    script = good()
    script.answers["/health"] = (503, "")
    with serving(script) as url:
        assert wait_until_ready(Server(url), QUESTION, 60, lambda: len(script.requests) >= 2) is None
    assert len(script.requests) == 2


def test_waiting_ends_when_the_time_is_over() -> None:
    script = good()
    script.answers["/health"] = (503, "")
    with serving(script) as url:
        assert wait_until_ready(Server(url), QUESTION, 0) is None

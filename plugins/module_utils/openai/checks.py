"""Whether a server really serves a model: it is healthy, lists it, and answers with tokens, plain and streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from . import client
from .client import ApiError, Server

POLL_SECONDS = 1.0
HEALTH_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Question:
    """What to ask, and of whom."""

    model: str
    prompt: str = "Say hello."
    max_tokens: int = 16
    health_path: str = "/health"


@dataclass(frozen=True)
class Outcome:
    """What one check came to. Seconds are counted from the request; None is what does not apply."""

    ok: bool
    latency_seconds: float | None = None
    ttft_seconds: float | None = None
    text: str | None = None
    completion_tokens: int | None = None
    models: tuple[str, ...] | None = None
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data without what does not apply."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


@dataclass
class _Reply:
    """A reply as it grows."""

    text: str = ""
    tokens: int | None = None
    finished: bool = False
    first_at_seconds: float | None = None
    pieces: int = field(default=0)


def run_checks(server: Server, question: Question, names: Iterable[str]) -> dict[str, Outcome]:
    """Run the named checks; a check that fails does not keep the others from running."""
    return {name: _run(CHECKS[name], server, question) for name in names}


def wait_until_ready(
    server: Server, question: Question, wait_seconds: float, hopeless: Callable[[], bool] = lambda: False
) -> float | None:
    """Wait for the health check to pass; return after how many seconds it did, or None when it did not.

    `hopeless` is asked after every failed attempt and ends the wait at once.
    """
    started = time.monotonic()
    impatient = Server(server.url, server.api_key, HEALTH_TIMEOUT_SECONDS, server.validate_certs, server.ca_path)
    while True:
        if _run(check_health, impatient, question).ok:
            return time.monotonic() - started
        if hopeless() or time.monotonic() - started + POLL_SECONDS > wait_seconds:
            return None
        time.sleep(POLL_SECONDS)


def check_health(server: Server, question: Question) -> Outcome:
    """The server says that it is well."""
    answer = client.get(server, question.health_path)
    return Outcome(True, answer.latency_seconds)


def check_models(server: Server, question: Question) -> Outcome:
    """The server lists the model by the name that clients will use."""
    answer = client.get(server, "/v1/models")
    found = answer.json()
    entries = found.get("data") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ApiError(f"GET /v1/models: expected a list named data, found {client.shown(answer.body)!r}")
    models = tuple(str(entry.get("id")) for entry in entries if isinstance(entry, dict))
    message = "" if question.model in models else f"expected the model {question.model!r}, found {list(models)}"
    return Outcome(not message, answer.latency_seconds, models=models, message=message)


def check_chat(server: Server, question: Question) -> Outcome:
    """A chat is answered."""
    return _plain(server, "/v1/chat/completions", _chat_body(question))


def check_chat_stream(server: Server, question: Question) -> Outcome:
    """A chat is answered token by token."""
    return _streamed(server, "/v1/chat/completions", _chat_body(question))


def check_completions(server: Server, question: Question) -> Outcome:
    """A text is continued."""
    return _plain(server, "/v1/completions", _completion_body(question))


def check_completions_stream(server: Server, question: Question) -> Outcome:
    """A text is continued token by token."""
    return _streamed(server, "/v1/completions", _completion_body(question))


CHECKS: Mapping[str, Callable[[Server, Question], Outcome]] = {
    "health": check_health,
    "models": check_models,
    "chat": check_chat,
    "chat_stream": check_chat_stream,
    "completions": check_completions,
    "completions_stream": check_completions_stream,
}


def _run(check: Callable[[Server, Question], Outcome], server: Server, question: Question) -> Outcome:
    try:
        return check(server, question)
    except ApiError as error:
        return Outcome(False, message=str(error))


def _chat_body(question: Question) -> dict[str, Any]:
    return {**_common_body(question), "messages": [{"role": "user", "content": question.prompt}]}


def _completion_body(question: Question) -> dict[str, Any]:
    return {**_common_body(question), "prompt": question.prompt}


def _common_body(question: Question) -> dict[str, Any]:
    return {"model": question.model, "max_tokens": question.max_tokens, "temperature": 0}


def _plain(server: Server, path: str, body: Mapping[str, Any]) -> Outcome:
    answer = client.post(server, path, body)
    reply = _Reply()
    _take(reply, answer.json(), answer.latency_seconds)
    return _judge(path, reply, answer.latency_seconds, ttft_seconds=None)


def _streamed(server: Server, path: str, body: Mapping[str, Any]) -> Outcome:
    reply, last_seconds = _Reply(), 0.0
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    for chunk in client.stream(server, path, asked):
        _take(reply, chunk.data, chunk.at_seconds)
        last_seconds = chunk.at_seconds
    return _judge(f"{path} (stream)", reply, last_seconds, ttft_seconds=reply.first_at_seconds)


def _take(reply: _Reply, data: Any, at_seconds: float) -> None:
    """Add what a body or a chunk holds. Raises ApiError when the server reports an error inside of it."""
    if not isinstance(data, dict):
        raise ApiError(f"expected an object, found {client.shown(str(data))!r}")
    if data.get("error"):
        raise ApiError(f"the server reports: {client.error_message(json.dumps(data))}")
    usage = data.get("usage")
    if isinstance(usage, dict):
        reply.tokens = usage.get("completion_tokens")
    for choice in data.get("choices") or []:
        piece = _text_of(choice)
        if piece and reply.first_at_seconds is None:
            reply.first_at_seconds = at_seconds
        reply.text += piece
        reply.pieces += 1
        reply.finished = reply.finished or bool(choice.get("finish_reason"))


def _text_of(choice: Mapping[str, Any]) -> str:
    """Return the text of a choice: reasoning models think in a field of its own."""
    message = choice.get("message") or choice.get("delta") or choice
    thought = message.get("reasoning") or message.get("reasoning_content") or ""
    return str(thought) + str(message.get("content") or message.get("text") or "")


def _judge(path: str, reply: _Reply, latency_seconds: float, ttft_seconds: float | None) -> Outcome:
    message = ""
    if not reply.pieces:
        message = f"{path}: expected a choice, found none"
    elif not reply.finished:
        message = f"{path}: expected a finish_reason, found none: the reply was cut off"
    elif not reply.text and not reply.tokens:
        message = f"{path}: expected at least one token, found an empty reply"
    return Outcome(not message, latency_seconds, ttft_seconds, reply.text, reply.tokens, message=message)

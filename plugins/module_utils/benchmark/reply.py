"""A streamed answer, understood as it comes."""

from __future__ import annotations

import json
import re
from typing import Any

from ..openai.client import END_OF_STREAM, error_message, shown
from ..openai.sse import EventStream

MAX_ERROR_BYTES = 1 << 14
# What a stream begins with that was cut before the end of its first event.
EVENT_FIELD = re.compile(rb"\s*(?:data|event|id|retry)?:")


class Reply:
    """Times of the pieces of an answer, and what the server says about tokens. A Sink of `wire`."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.times: list[float] = []
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finish_reason: str | None = None
        self.error = ""
        self.done = False
        self._events = EventStream()
        self._beginning = b""
        self._streams = False

    def take(self, status: int, piece: bytes, at_seconds: float) -> None:
        """Take a piece of the body."""
        self.status = status
        if not self._streams:
            self._beginning += piece[: MAX_ERROR_BYTES - len(self._beginning)]
        if status != 200:
            return
        for data in self._events.feed(piece):
            self._streams = True
            self._event(data, at_seconds)

    def refusal(self) -> str:
        """Return what a server said that answered with another status than 200, or with no stream of events."""
        if self._streams or (self.status == 200 and EVENT_FIELD.match(self._beginning)):
            return ""
        return shown(error_message(self._beginning.decode("utf-8", "replace")))

    def _event(self, data: str, at_seconds: float) -> None:
        if data == END_OF_STREAM:
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            self.error = self.error or f"expected an event of JSON, found {shown(data)!r}"
            return
        if not isinstance(event, dict):
            self.error = self.error or f"expected an object, found {shown(data)!r}"
            return
        if event.get("error") or event.get("object") == "error":
            self.error = self.error or shown(error_message(data))
            return
        try:
            self._read(event, at_seconds)
        except (AttributeError, TypeError):
            self.error = self.error or f"expected a piece of an answer, found {shown(data)!r}"

    def _read(self, event: dict[str, Any], at_seconds: float) -> None:
        usage = event.get("usage")
        if usage:
            self.input_tokens = usage.get("prompt_tokens")
            self.output_tokens = usage.get("completion_tokens")
        for choice in event.get("choices") or ():
            if _is_piece(choice):
                self.times.append(at_seconds)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason


def _is_piece(choice: dict[str, Any]) -> bool:
    """Whether a choice stands for one or more tokens.

    A token without visible text does too, such as half a character. What only announces the role, or only ends the
    answer, does not.
    """
    delta = choice.get("delta")
    if delta is None:
        return bool(choice.get("text") or not choice.get("finish_reason"))
    # Names of the text before the answer differ: reasoning_content in vLLM and others, reasoning in Ollama.
    if any(delta.get(name) for name in ("content", "reasoning_content", "reasoning", "tool_calls")):
        return True
    return "role" not in delta and not choice.get("finish_reason")

"""Events out of pieces that end anywhere."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.openai.sse import EventStream
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    '\ufeff: a comment\r\ndata: {"text": "Grüße 🦙"}\r\n\r\nevent: x\ndata: two\ndata:lines\n\nid: 7\rdata: [DONE]\r\r'
).encode()
EVENTS = ['{"text": "Grüße 🦙"}', "two\nlines", "[DONE]"]


def read(pieces: list[bytes]) -> list[str]:
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_borders_do_not_matter(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[start:end] for start, end in zip(borders, borders[1:])]) == EVENTS


def test_every_byte_by_itself() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == EVENTS


def test_an_event_counts_only_when_it_is_complete() -> None:
    assert read([b"data: half"]) == []
    assert read([b"data: half\n"]) == []
    assert read([b"data: whole\n\n"]) == ["whole"]


@pytest.mark.parametrize("line", [b"data:x", b"data: x", b"data:x\r"])
def test_one_leading_space_is_not_part_of_the_data(line: bytes) -> None:
    assert read([line.rstrip(b"\r") + b"\n\n"]) == ["x"]
    assert read([b"data:  x\n\n"]) == [" x"]

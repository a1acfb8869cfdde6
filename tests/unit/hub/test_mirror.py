"""A mirror between the hosts and the Hub: its bytes, the Hub's hashes, and the Hub again when it fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub import errors

from .conftest import TOKEN, Faults, FaultyHandler, Hub, Keep, hub_server
from .test_module import run
from .test_snapshot import content

NOBODY = "http://127.0.0.1:9"


class MirrorHandler(FaultyHandler):
    """A second door to the same files, with faults and a log of its own."""

    faults = Faults()
    tokens: ClassVar[list[str | None]] = []

    def answer(self) -> None:
        self.tokens.append(self.headers.get("Authorization"))
        super().answer()


@pytest.fixture
def mirror(hub: Hub) -> Iterator[Hub]:
    MirrorHandler.faults, MirrorHandler.tokens = Faults(), []
    origin = hub.front
    with hub_server.Front(("127.0.0.1", 0), origin.state, origin.olah_port, origin.rules, MirrorHandler) as front:
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield Hub(front, hub.model, hub.commit, MirrorHandler.faults)
        front.shutdown()
        front.log.close()


def test_the_mirror_sends_the_bytes_and_the_hub_the_hashes(keep: Keep, hub: Hub, mirror: Hub) -> None:
    with hub.counted() as seen:
        outcome = keep(mirrors=(mirror.endpoint,))
    assert content(outcome.path) == content(hub.model)
    assert outcome.fetched_from == {mirror.endpoint: outcome.downloaded_bytes}
    assert outcome.manifest.endpoint == hub.endpoint
    assert outcome.warnings == ()
    assert [r for r in seen if "/tree/" in r["path"]]


def test_what_is_there_asks_no_mirror(keep: Keep, hub: Hub, mirror: Hub) -> None:
    keep()
    outcome = keep(mirrors=(mirror.endpoint, NOBODY))
    assert (outcome.changed, outcome.warnings, MirrorHandler.tokens) == (False, (), [])


def test_a_dead_mirror_is_told_and_the_hub_serves(keep: Keep, hub: Hub) -> None:
    outcome = keep(mirrors=(NOBODY,))
    assert content(outcome.path) == content(hub.model)
    assert list(outcome.fetched_from) == [hub.endpoint]
    assert outcome.warnings == (f"No connection to {NOBODY}: the mirror is down, or a firewall is between.",)


def test_the_first_mirror_that_can_be_reached_serves(keep: Keep, mirror: Hub) -> None:
    assert list(keep(mirrors=(NOBODY, mirror.endpoint)).fetched_from) == [mirror.endpoint]


@pytest.mark.parametrize("fault", ["dies", "is busy", "has another file", "is slow to a halt"])
def test_a_mirror_that_fails_in_the_middle_is_left_for_the_hub(keep: Keep, hub: Hub, mirror: Hub, fault: str) -> None:
    patience: dict[str, Any] = {}
    if fault == "dies":
        mirror.faults.cut_after_bytes += [500_000, *[0] * 100]
    elif fault == "is busy":
        mirror.faults.statuses += [(503, {})] * 100
    elif fault == "has another file":
        mirror.faults.flip_byte_at = 1000
    else:
        mirror.faults.stall_seconds += [3.0] * 100
        patience = {"attempts": 30, "stall_seconds": 1.0}
    outcome = keep(mirrors=(mirror.endpoint,), max_workers=1, **patience)
    assert content(outcome.path) == content(hub.model)
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith(f"{mirror.endpoint} was left, and the rest came from {hub.endpoint}: ")
    if fault == "dies":
        # What came from the mirror stays.
        assert outcome.fetched_from[mirror.endpoint] == 500_000
        assert sum(outcome.fetched_from.values()) == outcome.downloaded_bytes == outcome.download_bytes


def test_without_the_hub_the_mirror_states_the_hashes_and_that_is_told(keep: Keep, hub: Hub, mirror: Hub) -> None:
    outcome = keep(endpoint=NOBODY, mirrors=(mirror.endpoint,), revision="main")
    assert content(outcome.path) == content(hub.model)
    assert outcome.manifest.endpoint == mirror.endpoint
    assert "states the files' hashes instead of the Hub" in outcome.warnings[0]


def test_without_hub_and_mirror_the_hubs_error_stands(keep: Keep) -> None:
    with pytest.raises(errors.HubUnreachableError, match=NOBODY):
        keep(endpoint=NOBODY, mirrors=(NOBODY,))


def test_a_refusal_of_the_hub_is_final(keep: Keep, mirror: Hub) -> None:
    with pytest.raises(errors.AccessDeniedError, match="is gated"):
        keep(repo="acme/gated", mirrors=(mirror.endpoint,))
    assert MirrorHandler.tokens == []


def test_the_token_is_not_sent_in_the_clear_to_a_mirror(hub: Hub, mirror: Hub, tmp_path: Path) -> None:
    base = {"repo": "acme/gated", "root": str(tmp_path), "endpoint": hub.endpoint, "mirrors": [f"{mirror.endpoint}/"]}
    answer = run(**base, token=TOKEN)
    assert answer["fetched_from"][hub.endpoint] == answer["downloaded_bytes"]
    assert set(MirrorHandler.tokens) == {None}

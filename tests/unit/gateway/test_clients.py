"""From clients and keys to the gateway's maps."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gateway.clients import Maps, maps
from ansible_collections.llm.serving.plugins.module_utils.gateway.errors import GatewayError

KEY = "k" * 31 + "1"
OTHER_KEY = "k" * 31 + "2"
BACKENDS = {"qwen32b": "model-qwen32b", "tiny": "model-tiny"}


def client(name: str = "team-a", **options: Any) -> dict[str, Any]:
    return {"name": name, "keys": [{"name": "first", "key": KEY}], **options}


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_only_digests_are_written() -> None:
    written = maps([client()], BACKENDS)
    assert written.digests == f"{digest(KEY)} team-a/first/0/0/0\n"
    assert KEY not in str(written)


def test_a_digest_in_place_of_a_key_is_the_same() -> None:
    by_digest = client(keys=[{"name": "first", "sha256": digest(KEY).upper()}])
    assert maps([by_digest], BACKENDS) == maps([client()], BACKENDS)


def test_limits_and_expiry_stand_with_every_key() -> None:
    keys = [{"name": "old", "key": KEY, "expires": "2027-01-01"}, {"name": "new", "key": OTHER_KEY}]
    written = maps([client(keys=keys, requests_per_minute=60, concurrent_requests=4)], BACKENDS)
    assert sorted(line.split()[1] for line in written.digests.splitlines()) == [
        "team-a/new/0/60/4",
        "team-a/old/1798761600/60/4",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-01", 1798761600),
        ("2027-01-01T00:00:00Z", 1798761600),
        ("2027-01-01T01:00:00+01:00", 1798761600),
        ("2027-01-01 00:00:01", 1798761601),
    ],
)
def test_expiry_is_utc_unless_it_says_otherwise(text: str, seconds: int) -> None:
    written = maps([client(keys=[{"name": "first", "key": KEY, "expires": text}])], BACKENDS)
    assert f"/{seconds}/" in written.digests


@pytest.mark.parametrize("text", ["1970-01-01", "1969-12-31T23:59:59Z", "0001-01-02"])
def test_an_end_before_all_clocks_is_an_end(text: str) -> None:
    written = maps([client(keys=[{"name": "first", "key": KEY, "expires": text}])], BACKENDS)
    assert "/1/0/0" in written.digests


def test_no_text_is_no_end_and_a_number_is_none() -> None:
    assert "/0/0/0" in maps([client(keys=[{"name": "first", "key": KEY, "expires": ""}])], BACKENDS).digests
    with pytest.raises(GatewayError, match="expires of team-a/first is '0'"):
        maps([client(keys=[{"name": "first", "key": KEY, "expires": 0}])], BACKENDS)


def test_names_fit_the_tables_that_count_requests() -> None:
    assert maps([client("a" * 48)], BACKENDS).digests
    with pytest.raises(GatewayError, match="has 49 characters; expected at most 48"):
        maps([client("a" * 49)], BACKENDS)


def test_routes_are_those_that_a_client_may_use() -> None:
    written = maps([client(models=["tiny"]), client("all", keys=[]), client("star", keys=[], models=["*"])], BACKENDS)
    assert written.routes.splitlines() == [
        "|qwen32b model-qwen32b",
        "|tiny model-tiny",
        "team-a|tiny model-tiny",
        "all|qwen32b model-qwen32b",
        "all|tiny model-tiny",
        "star|qwen32b model-qwen32b",
        "star|tiny model-tiny",
    ]


def test_a_client_without_models_may_use_none() -> None:
    assert "team-a|" not in maps([client(models=[])], BACKENDS).routes


def test_nobody_and_nothing() -> None:
    assert maps([], {}) == Maps("", "")


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ([client("a b")], "the client name 'a b'"),
        ([client("a/b")], "the client name 'a/b'"),
        ([client("a|b")], "the client name"),
        ([client(), client(keys=[])], "'team-a' stands there twice"),
        ([client(), client("team-b")], "team-b/first is the same key as team-a/first"),
        ([client(keys=[{"name": "x y", "key": KEY}])], "the name of a key of team-a"),
        ([client(keys=[{"name": "x"}])], "team-a/x needs either key or sha256"),
        ([client(keys=[{"name": "x", "key": KEY, "sha256": digest(KEY)}])], "and not both"),
        ([client(keys=[{"name": "x", "sha256": "abc"}])], "is not 64 hexadecimal digits"),
        ([client(keys=[{"name": "x", "key": "short"}])], "has 5 characters"),
        ([client(keys=[{"name": "x", "key": KEY + "\nevil"}])], "some that a bearer token may not have"),
        ([client(keys=[{"name": "x", "key": KEY, "expires": "soon"}])], "expected 2027-01-31"),
        ([client(keys=[{"name": "x", "key": KEY}, {"name": "x", "key": OTHER_KEY}])], "two keys named 'x'"),
        ([client(models=["nope"])], "may use nope, which no host serves; served are: qwen32b, tiny"),
        ([client(requests_per_minute=-1)], "requests_per_minute of team-a is -1"),
        ([client(concurrent_requests=-2)], "concurrent_requests of team-a is -2"),
    ],
)
def test_what_would_let_in_somebody_else_is_refused(clients: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(GatewayError, match=message):
        maps(clients, BACKENDS)


def test_a_refused_key_is_not_repeated() -> None:
    with pytest.raises(GatewayError) as error:
        maps([client(keys=[{"name": "x", "key": "hunter2"}])], BACKENDS)
    assert "hunter2" not in str(error.value)

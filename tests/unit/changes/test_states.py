"""What status.yml says of hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.filter.changes import (
    change_batches,
    changed_together,
    failed_hosts,
    failure_text,
    fleet_states,
    hosts_to_change,
)
from ansible_collections.llm.serving.plugins.module_utils.changes.states import (
    Seen,
    ollama_states,
    render,
    short_model,
    vllm_states,
)

COMMIT = "5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd"
MODEL = f"/srv/models/Qwen/Qwen2.5-7B/{COMMIT}"


def seen(**changes: Any) -> Seen:
    instance = {"name": "a", "active": "active", "since": "Mon 2026-11-23 08:00:01 UTC", "model": MODEL}
    values: dict[str, Any] = {
        "facts": {
            "current": "1.0-cuda",
            "instances": [{**instance, **changes.pop("instance", {})}],
            "generation": {"number": 3, "recorded": "2026-11-23T08:00:00Z"},
        },
        "engine": "1.0-cuda",
        "plan": {"actions": {"a": "unchanged"}},
        "answers": {"a": True},
        "wanted": [{"name": "a", "model": MODEL}],
    }
    return Seen(**{**values, **changes})


def test_what_is_as_wanted_does_not_differ() -> None:
    (state,) = vllm_states("gpu1", seen())
    assert (state.engine, state.model, state.generation, state.healthy) == ("1.0-cuda", MODEL, 3, True)
    assert state.differences == ()
    assert "Nothing differs." in render([state.as_dict()])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"engine": "2.0-cuda"}, "runs 1.0-cuda, the inventory asks for 2.0-cuda"),
        (
            {"wanted": [{"name": "a", "model": "/srv/x"}]},
            "serves Qwen/Qwen2.5-7B@5ede1c97bbab, the inventory asks for x",
        ),
        ({"plan": {"actions": {"a": "restarted"}}}, "runs with another configuration than the next run would write"),
        ({"plan": {"failed": False, "msg": "does not fit"}}, "there is no plan: does not fit"),
        ({"answers": {}}, "does not answer"),
        ({"instance": {"active": "failed"}}, "does not answer"),
        ({"wanted": []}, "is not in the inventory: the next run removes it"),
    ],
)
def test_each_difference_is_a_sentence(change: dict[str, Any], sentence: str) -> None:
    (state,) = vllm_states("gpu1", seen(**change))
    assert state.differences == (sentence,)
    assert f"gpu1 a: {sentence}" in render([state.as_dict()])


def test_an_instance_that_is_not_there_yet_is_named() -> None:
    wanted = [{"name": "a", "model": MODEL}, {"name": "b", "model": MODEL}]
    states = vllm_states("gpu1", seen(wanted=wanted))
    assert [state.differences for state in states] == [(), ("is not set up yet",)]


def test_ollama_is_one_row() -> None:
    facts = {"current": "0.32.15", "since": "Mon", "generation": None}
    settled = Seen(facts, "0.32.15", {"differences": []}, {"ollama": True})
    assert ollama_states("edge", settled)[0].differences == ()
    other = Seen(facts, "0.33.0", {"differences": ["the file x is another"]}, {"ollama": False}, models_differ=True)
    assert len(ollama_states("edge", other)[0].differences) == 4


def test_an_ollama_that_is_not_wanted_is_a_row_until_it_is_removed() -> None:
    there = Seen({"current": "0.32.15"}, "", {}, {"ollama": True})
    assert ollama_states("edge", there)[0].differences == ("is not in the inventory: the next run removes it",)
    assert ollama_states("edge", Seen({"current": None}, "", {}, {"ollama": False})) == []


def test_hosts_that_could_not_be_reached_are_rows_unless_only_some_were_asked_for() -> None:
    groups, hostvars = {"vllm": ["a", "b"]}, {"a": {"__vllm_states": [{"host": "a"}]}, "b": {}}
    assert [row["host"] for row in fleet_states(groups, hostvars)] == ["a", "b"]
    assert fleet_states(groups, hostvars)[1]["differences"] == ["could not be reached"]
    assert [row["host"] for row in fleet_states(groups, hostvars, "a")] == ["a"]


def test_models_are_named_shortly() -> None:
    assert short_model(MODEL) == "Qwen/Qwen2.5-7B@5ede1c97bbab"
    assert short_model("/srv/models/local/first") == "first"
    assert short_model(None) == "–"


def test_only_hosts_with_something_pending_are_changed() -> None:
    hostvars = {
        "a": {"plan": {"pending": True}},
        "b": {"plan": {"pending": False}},
        "c": {},
        "d": {"plan": {"skipped": True}},
    }
    assert hosts_to_change(["a", "b", "c", "d", "e"], hostvars, "plan") == ["a"]


def shared(*members: str, pending: bool = False) -> dict[str, Any]:
    return {"vllm_models": [{"name": "big", "members": list(members)}], "plan": {"pending": pending}}


def test_hosts_that_share_a_model_are_changed_together() -> None:
    hosts = ["a", "b", "c", "d"]
    hostvars = {host: {"plan": {"pending": host == "b"}} for host in hosts}
    hostvars["a"] = hostvars["d"] = shared("d", "a")
    assert hosts_to_change(hosts, hostvars, "plan") == ["b"]
    hostvars["d"] = shared("d", "a", pending=True)
    assert hosts_to_change(hosts, hostvars, "plan") == ["a", "d", "b"]


def test_hosts_without_a_good_result_have_failed() -> None:
    hostvars = {
        "a": {"probe": {"results": []}},
        "b": {"probe": {"failed": True}},
        "c": {},
        "d": {"probe": {"failed": False}},
    }
    assert failed_hosts(["a", "b", "c", "d", "e"], hostvars, "probe") == ["b", "c", "e"]


@pytest.mark.parametrize(
    ("serial", "expected"),
    [([1, "25%"], [2, 1, 1, 1]), (["50%"], [2, 2, 1]), ("100%", [5]), (3, [3, 2]), ([1, 9], [2, 3])],
)
def test_batches_part_nobody(serial: Any, expected: list[int]) -> None:
    hostvars = {host: shared("a", "b") if host in "ab" else {} for host in "abcde"}
    assert change_batches(list("abcde"), hostvars, serial) == expected


def test_hosts_that_share_a_model_go_back_side_by_side() -> None:
    hostvars = {host: shared("a", "d") if host in "ad" else {} for host in "abcd"}
    assert changed_together(list("abcd"), hostvars) == ["a", "d", "b", "c"]
    assert changed_together(["a", "c"], hostvars) == ["a", "c"]


def test_batches_are_as_asked_for_where_nothing_is_shared() -> None:
    assert change_batches(["a", "b", "c"], {}, [1, "25%"]) == [1, "25%"]
    assert change_batches([], {}, "100%") == ["100%"]


def test_a_failed_loop_says_what_failed_in_it() -> None:
    loop = {
        "msg": "One or more items failed",
        "results": [{"msg": "fine"}, {"failed": True, "msg": "dead", "journal": ["x"]}],
    }
    assert failure_text(loop) == "dead\nx"
    assert failure_text({"failed": True, "msg": "no"}) == "no"

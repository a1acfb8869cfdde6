"""Models that several hosts share."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines import entries, members
from ansible_collections.llm.serving.plugins.module_utils.gateway.discover import routes

ENTRY = {"name": "big", "model": "/srv/big", "members": ["a", "b"], "port": 8010}
HOSTS: dict[str, dict[str, Any]] = {"a": {"ansible_host": "10.0.0.1", "vllm_member_address": "10.9.0.1"}, "b": {}}


def wish(host: str, **more: Any) -> dict[str, Any]:
    found = entries.wishes([{**ENTRY, **more}], {}, {}, "127.0.0.1", here=host, variables=lambda name: HOSTS[name])
    return found.models[0]


def test_the_first_member_answers_and_the_others_are_headless() -> None:
    joined = {"distributed-executor-backend": "mp", "nnodes": 2, "master-addr": "10.9.0.1", "master-port": 18010}
    assert wish("a")["extra_args"] == {**joined, "node-rank": 0}
    assert wish("b")["extra_args"] == {**joined, "node-rank": 1, "headless": True}
    assert "members" not in wish("a")


@pytest.mark.parametrize(
    ("more", "stages"), [({}, 2), ({"tensor_parallel_size": 2}, None), ({"pipeline_parallel_size": 4}, 4)]
)
def test_each_host_is_a_stage_unless_it_is_said_otherwise(more: dict[str, int], stages: int | None) -> None:
    found = wish("a", **more)
    assert (found["nodes"], found.get("pipeline_parallel_size")) == (2, stages)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"members": ["a"]}, "two or more different members"),
        ({"members": ["a", "a"]}, "two or more different members"),
        ({"members": ["a", "c"]}, "found c"),
        ({"members": ["b", "c"]}, "expected a to be one of its members"),
        ({"port": 50000}, "a port up to 45535"),
    ],
)
def test_members_that_cannot_be_are_refused(changes: dict[str, Any], problem: str) -> None:
    assert members.problems(ENTRY, "a", ["a", "b"]) == []
    assert any(problem in found for found in members.problems({**ENTRY, **changes}, "a", ["a", "b"]))


def test_clients_are_sent_to_the_first_member_alone() -> None:
    variables = {"vllm_models": [ENTRY, {"name": "own", "port": 8011}], "vllm_host": "0.0.0.0"}  # noqa: S104
    found = routes("door", {"vllm": ["a", "b"]}, lambda _host: variables)
    assert [(route["model"], route["host"]) for route in found] == [("big", "a"), ("own", "a"), ("own", "b")]


def test_only_the_first_member_is_asked_for_replies() -> None:
    plans = [{"name": "big", "engine_args": {**wish(host)["extra_args"]}, **SIZES} for host in ("a", "b")]
    assert [len(entries.endpoints([plan], 0, ["health"], "/etc/vllm")) for plan in plans] == [1, 0]


SIZES = {"tensor_parallel_size": 1, "pipeline_parallel_size": 2}

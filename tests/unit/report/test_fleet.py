"""Plans for many hosts."""

from __future__ import annotations

import random
import time

import pytest
from ansible_collections.llm.serving.plugins.module_utils.report.bars import bars
from ansible_collections.llm.serving.plugins.module_utils.report.fleet import Group, plan_fleet
from ansible_collections.llm.serving.plugins.module_utils.report.page import render
from ansible_collections.llm.serving.plugins.module_utils.report.text import report

from .fleets import GIB, H100_BYTES, QWEN_7B, QWEN_32B, fleet, gpu, host, known

FIVE = [QWEN_32B, QWEN_7B, "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-14B"]


def by_host(groups: list[Group]) -> dict[str, Group]:
    return {group.hosts[0]: group for group in groups}


def test_alike_hosts_are_one_group() -> None:
    groups = fleet()
    assert [len(group.hosts) for group in groups] == [12, 1, 1, 1, 1, 1]


def test_refused_model_does_not_hide_the_others() -> None:
    small = by_host(fleet())["small"]
    refused, planned = small.outcomes
    assert refused.plan is None and "does not fit" in refused.refusal["message"] and refused.refusal["remedy"]
    assert planned.plan is not None
    assert any("refused" in warning for warning in planned.warnings)


def test_model_that_nobody_has_is_refused_with_the_reason() -> None:
    (outcome,) = by_host(fleet())["unknown"].outcomes
    assert outcome.refusal["message"].startswith("no model")


def test_unreadable_model_of_a_host_is_not_looked_for_elsewhere() -> None:
    wish = {"name": "q", "model": QWEN_7B}
    (group,) = plan_fleet([host("h", gpu(1), wish, problems={"q": "shard 2 is truncated"})], known)
    assert group.outcomes[0].refusal == {"message": "shard 2 is truncated"}


def test_broken_driver_is_told() -> None:
    facts = {"devices": [], "problem": {"code": "x", "message": "no driver", "remedy": "install one"}}
    (group,) = plan_fleet([host("h", facts, {"name": "q", "model": QWEN_7B})], known)
    assert "no driver" in group.refusal["message"]
    assert "install one" in render([group], [], "now")


def test_memory_that_somebody_holds_tells_a_host_from_its_twins() -> None:
    busy = gpu(1, memory_free_bytes=10 * GIB)
    almost = gpu(1, memory_free_bytes=H100_BYTES - 5 * GIB)
    wish = {"name": "q", "model": QWEN_7B, "max_model_len": 4096}
    groups = plan_fleet([host("a", gpu(1), wish), host("b", busy, wish), host("c", almost, wish)], known)
    assert [group.hosts for group in groups] == [("a", "c"), ("b",)]
    assert "holds" in groups[1].outcomes[0].refusal["message"]


@pytest.mark.parametrize("group", fleet(), ids=lambda group: group.hosts[0])
def test_bars_add_up(group: Group) -> None:
    for bar in bars(group):
        assert sum(segment.size_bytes for segment in bar.segments) == bar.total_bytes
        assert all(segment.size_bytes > 0 for segment in bar.segments)


def test_bar_of_a_plan_holds_its_account() -> None:
    group = fleet()[0]
    plan = group.outcomes[0].plan
    assert plan is not None
    sizes = {segment.kind: segment.size_bytes for segment in bars(group)[0].segments}
    account = plan.estimate.account
    assert sizes["weights"] == account.weights_bytes
    assert sizes["kv"] + sizes["margin"] == account.kv_expected_bytes
    assert sizes["reserve"] + sizes["free"] == account.free_bytes


def test_card_that_two_models_share_shows_both() -> None:
    (bar,) = bars(by_host(fleet())["shared"])
    assert {segment.owner for segment in bar.segments} == {"a", "b", ""}


def test_many_cards_alike_are_one_bar() -> None:
    (group,) = plan_fleet([host("h", gpu(16), {"name": "q", "model": QWEN_7B, "gpus": 16 // 4})], known)
    assert [bar.title for bar in bars(group)] == ["GPU 0 to GPU 3: 4, each", "GPU 4 to GPU 15: 12, each"]


def test_table_tells_every_host_and_reason() -> None:
    told = report(fleet(), ["lost"])
    for word in ("gpu00", "12 hosts alike", "qwen32b", "REFUSED", "remedy:", "engine:", "Ollama", "edge", "lost"):
        assert word in told
    for reason in fleet()[0].outcomes[0].plan.reasons:  # type: ignore[union-attr]
        assert reason in told


def test_thousand_hosts_take_seconds() -> None:
    rng = random.Random(1)
    wishes = [{"name": model.split("/")[1], "model": model} for model in FIVE]
    hosts = [host(f"gpu{number}", gpu(8), *wishes) for number in range(1000)]
    for entry in hosts:
        for device in entry["gpu"]["devices"]:
            device["memory_free_bytes"] -= 6 * GIB + rng.randrange(GIB)
    started = time.process_time()
    groups = plan_fleet(hosts, known)
    page = render(groups, [], "now")
    assert time.process_time() - started < 10
    assert len(groups) == 1 and len(page) < 300_000


def test_parts_of_a_split_card_have_bars_of_their_own() -> None:
    part = {
        "profile": "3g.40gb",
        "memory_total_bytes": 40 * GIB,
        "memory_free_bytes": 40 * GIB,
        "compute_capability": "9.0",
    }
    facts = gpu(1, mig_enabled=True, mig_devices=[{**part, "name": f"part {n}", "uuid": f"MIG-{n}"} for n in (1, 2)])
    wishes = [{"name": name, "model": QWEN_7B, "max_model_len": 4096} for name in ("a", "b")]
    (group,) = plan_fleet([host("h", facts, *wishes)], known)
    drawn = bars(group)
    assert [bar.title for bar in drawn] == ["MIG part 1", "MIG part 2"]
    assert [{segment.owner for segment in bar.segments} - {""} for bar in drawn] == [{"a"}, {"b"}]
    assert all(sum(segment.size_bytes for segment in bar.segments) == bar.total_bytes for bar in drawn)

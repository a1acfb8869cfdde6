"""The rule table that chooses an engine, and the page that explains it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.choice import (
    GIB,
    RULES,
    Host,
    Wish,
    choose,
    host_from_facts,
    wish_from,
)

ROOT = Path(__file__).resolve().parents[3]
H100 = Host("nvidia", 1, 80 * GIB, (9, 0))
FOUR_L4 = Host("nvidia", 4, 96 * GIB, (8, 9))
CPU = Host()
QWEN_32B = 32_763_876_352


@pytest.mark.parametrize(
    ("host", "wish", "engine", "rule"),
    [
        (H100, Wish("m", format="gguf", concurrency=100), "ollama", "not vllm: the model is a GGUF"),
        (Host("nvidia", 1, 16 * GIB, (7, 0)), Wish("m", concurrency=100), "ollama", "not vllm: a card has compute"),
        (CPU, Wish("m", concurrency=8), "ollama", "the host has no GPU"),
        (Host("nvidia", 1, 16 * GIB, (8, 7), is_edge=True), Wish("m", latency_sensitive=True), "ollama", "edge device"),
        (H100, Wish("m", concurrency=16), "vllm", "16 requests at once: continuous"),
        (H100, Wish("m", concurrency=5), "vllm", "more than a small team"),
        (H100, Wish("m", concurrency=4), "ollama", "a small team"),
        (H100, Wish("m", parameters=QWEN_32B), "vllm", "a large model"),
        (H100, Wish("m", parameters=7_000_000_000), "ollama", "a small model"),
        (FOUR_L4, Wish("m", parameters=14_000_000_000), "vllm", "tensor parallelism"),
        (H100, Wish("m", parameters=70_000_000_000, effort="low"), "ollama", "only a quantized model"),
        (H100, Wish("m", latency_sensitive=True), "vllm", "latency matters"),
        (H100, Wish("m", goal="batch"), "vllm", "batch: throughput"),
        (H100, Wish("m", goal="prototype"), "ollama", "prototype use"),
        (H100, Wish("m", effort="low"), "ollama", "operating effort"),
        (H100, Wish("m", switches_models=True), "ollama", "take turns"),
        (H100, Wish("m"), "ollama", "nothing speaks against"),
    ],
)
def test_each_rule_decides_where_it_alone_counts(host: Host, wish: Wish, engine: str, rule: str) -> None:
    choice = choose(host, wish)
    assert choice.engine == engine
    assert any(rule in reason for reason in choice.reasons)


def test_a_seed_service_of_32b_for_many_users_is_vllm_with_every_reason() -> None:
    choice = choose(Host("nvidia", 2, 160 * GIB, (9, 0)), Wish("qwen32b", QWEN_32B, concurrency=24, goal="service"))
    assert choice.engine == "vllm"
    assert choice.weights == {"ollama": 0, "vllm": 7}
    assert [reason.partition(":")[0] for reason in choice.reasons] == ["for vllm"] * 3


def test_reasons_against_the_winner_are_told_last() -> None:
    choice = choose(H100, Wish("m", concurrency=32, effort="low"))
    assert choice.engine == "vllm"
    assert choice.reasons[-1].startswith("for ollama")


def test_the_page_lists_exactly_the_rules() -> None:
    page = (ROOT / "docs" / "choosing-an-engine.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z-]+) \| (.+) \|$", page, re.MULTILINE)
    assert [row for row in rows if row[0] != "rule" and not row[0].startswith("-")] == [
        (rule.name, rule.speaks_for) for rule in RULES
    ]


def test_facts_become_a_host() -> None:
    device = {"memory_total_bytes": 80 * GIB, "compute_capability": "9.0"}
    older = {"memory_total_bytes": 24 * GIB, "compute_capability": "8.6"}
    host = host_from_facts({"vendor": "nvidia", "devices": [device, older]})
    assert host == Host("nvidia", 2, 104 * GIB, (8, 6))


def test_unknown_memory_stays_unknown() -> None:
    assert host_from_facts({"vendor": "amd", "devices": [{"memory_total_bytes": None}]}).gpu_memory_bytes is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "m", "sise": 1}, "found sise"),
        ({"parameters": 1}, "found no name"),
        ({"name": "m", "goal": "fun"}, "goal as one of prototype"),
    ],
)
def test_wishes_that_are_none_are_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wish_from(entry)

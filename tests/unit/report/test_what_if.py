"""Cards and wishes of a command line."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.report.fleet import imagined_group
from ansible_collections.llm.serving.plugins.module_utils.report.what_if import parse
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.what_if import near_names, parse_gpus

from .fleets import QWEN_32B, known


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("4xH100-80GB", ["4 × H100-80GB"]),
        ("H100-80GB", ["1 × H100-80GB"]),
        ("2 × NVIDIA A100 80GB", ["2 × A100-80GB"]),
        ("8xl40s", ["8 × L40S"]),
        ("4xH100-80GB,8xL4", ["4 × H100-80GB", "8 × L4"]),
        (["4xH100-80GB", "8xL40S-48GB"], ["4 × H100-80GB", "8 × L40S"]),
    ],
)
def test_cards_are_understood(written: object, labels: list[str]) -> None:
    assert [gpus.label for gpus in parse_gpus(written)] == labels


@pytest.mark.parametrize(
    ("written", "expected"), [("4xH10", "H100-80GB"), ("2xA100", "A100-40GB"), ("0xL4", "1 to 64"), ("", "T4")]
)
def test_unknown_cards_bring_near_names(written: str, expected: str) -> None:
    with pytest.raises(SizingError) as caught:
        parse_gpus(written)
    assert expected in caught.value.expected


def test_near_names_hold_all_sizes_of_a_family() -> None:
    assert {"A100-40GB", "A100-80GB"} <= set(near_names("A100"))


def test_wishes_are_told_from_other_variables() -> None:
    asked = parse(
        {"gpu": "L4", "model": "acme/tiny", "max-model-len": "4096", "goal": "service", "plan_report": "x", "mine": 1}
    )
    assert asked.wishes == [{"name": "tiny", "max_model_len": "4096", "model": "acme/tiny"}]
    assert asked.circumstances == {"goal": "service"}


@pytest.mark.parametrize("key", ["max_modl_len", "tensor_paralel_size", "concurency"])
def test_misspelt_wish_is_refused(key: str) -> None:
    with pytest.raises(SizingError, match="did you mean"):
        parse({"gpu": "L4", "model": "acme/tiny", key: 1})


def test_lists_may_be_json() -> None:
    asked = parse({"gpu": '["4xH100-80GB","8xL4"]', "model": '["acme/a","acme/b"]'})
    assert [gpus.label for gpus in asked.gpus] == ["4 × H100-80GB", "8 × L4"]
    assert [wish["model"] for wish in asked.wishes] == ["acme/a", "acme/b"]
    with pytest.raises(SizingError, match="no list"):
        parse({"gpu": "[4x", "model": "acme/tiny"})


def test_model_is_needed() -> None:
    with pytest.raises(SizingError, match="what-if plans need a model"):
        parse({"gpu": "L4"})


def test_circumstances_reach_the_choice_of_the_engine() -> None:
    asked = parse({"gpu": "4xH100-80GB", "model": QWEN_32B, "goal": "service", "tensor_parallel_size": 4})
    group = imagined_group(asked.gpus[0], asked.wishes, "0.33.0", known, asked.circumstances)
    (outcome,) = group.outcomes
    assert outcome.plan is not None and outcome.plan.setup.tensor_parallel_size == 4
    assert outcome.suited.engine == "vllm"
    assert any("service" in reason for reason in outcome.suited.reasons)

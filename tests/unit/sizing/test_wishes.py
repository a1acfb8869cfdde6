from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.wishes import parse_wish, parse_wishes

BASE = {"name": "qwen32b", "model": "/srv/models/qwen"}


def test_dashes_and_old_names_are_accepted():
    wish = parse_wish(
        {
            **BASE,
            "--max-model-len": "8192",
            "tensor-parallel-size": 2,
            "gpu-memory-utilization": "0.80",
            "CUDA_VISIBLE_DEVICES": "0,1",
            "replicas": 2,
        }
    )
    assert wish.integer("max_model_len") == 8192
    assert wish.number("gpu_memory_utilization") == 0.8
    assert wish.values["gpu_indices"] == [0, 1]
    assert wish.integer("data_parallel_size") == 2


def test_dead_options_are_left_out_with_a_warning():
    wish = parse_wish({**BASE, "disable-log-requests": True, "extra_args": {"swap-space": 4}})
    assert len(wish.warnings) == 2
    assert "enable_log_requests" in wish.warnings[0]
    assert wish.extra_args == {}


def test_unknown_keys_are_refused_with_a_near_match():
    with pytest.raises(SizingError, match="did you mean 'max_model_len'"):
        parse_wish({**BASE, "max_modell_len": 1})


def test_unknown_keys_without_a_match_point_to_extra_args():
    with pytest.raises(SizingError, match="extra_args"):
        parse_wish({**BASE, "zzz": 1})


def test_extra_args_that_the_plan_knows_count_as_the_operators():
    wish = parse_wish({**BASE, "extra_args": {"max-model-len": 4096, "reasoning_parser": "qwen3"}})
    assert wish.integer("max_model_len") == 4096
    assert wish.extra_args == {"reasoning-parser": "qwen3"}


def test_the_same_option_twice_must_agree():
    with pytest.raises(SizingError, match="set twice"):
        parse_wish({**BASE, "max_model_len": 8192, "extra_args": {"max-model-len": 4096}})


def test_auto_leaves_the_length_to_the_plan():
    assert parse_wish({**BASE, "max_model_len": "auto"}).integer("max_model_len") is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_num_seqs", "many", "cannot be 'many'"),
        ("max_num_seqs", 0, "must be positive"),
        ("tensor_parallel_size", 1.5, "not a whole number"),
        ("gpu_memory_utilization", 1.2, "is a share"),
        ("gpu_memory_utilization", 0, "is a share"),
        ("enforce_eager", "perhaps", "cannot be 'perhaps'"),
        ("profile", "turbo", "unknown profile"),
        ("gpu_indices", "a,b", "cannot be 'a,b'"),
    ],
)
def test_impossible_values_are_refused(key, value, message):
    with pytest.raises(SizingError, match=message):
        parse_wish({**BASE, key: value})


@pytest.mark.parametrize("missing", ["name", "model"])
def test_what_is_missing_is_named(missing):
    raw = {key: value for key, value in BASE.items() if key != missing}
    with pytest.raises(SizingError, match="needs a name and a model directory"):
        parse_wish(raw)


@pytest.mark.parametrize("changes", [{}, {"name": "other", "port": 8010}])
def test_names_and_ports_are_unique(changes):
    with pytest.raises(SizingError, match="two models of this host have the"):
        parse_wishes([{**BASE, "port": 8010}, {**BASE, **changes}])

"""vLLM's options: today's names, yesterday's, and those that there never were."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.options import (
    known_options,
    translate,
    unknown_options,
)

HELP = """usage: vllm serve [model_tag] [options]

options:
  --config CONFIG       Read CLI options from a config file. See --headless.
  --dtype {auto,bfloat16,float,float16,float32,half}
                        Data type. Not an option: --no-such-thing
  --enable-log-requests, --no-enable-log-requests
                        Log requests. (default: False)
  --max-model-len MAX_MODEL_LEN
  --tensor-parallel-size TENSOR_PARALLEL_SIZE, -tp TENSOR_PARALLEL_SIZE
  -h, --help            show this help message and exit
"""
KNOWN = ("config", "dtype", "enable-log-requests", "help", "max-model-len", "no-enable-log-requests")


def test_options_are_read_from_the_help() -> None:
    assert known_options(HELP) == (*KNOWN, "tensor-parallel-size")


def test_unknown_options_come_with_the_nearest_known_one() -> None:
    assert unknown_options(["max_model_length", "dtype", "zzz"], KNOWN) == [
        "vLLM has no option 'max-model-length'; did you mean 'max-model-len'?",
        "vLLM has no option 'zzz'",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"disable_log_requests": True}, {"enable-log-requests": False}),
        ({"disable-log-requests": False}, {"enable-log-requests": True}),
        ({"--disable-log-requests": "true"}, {"enable-log-requests": False}),
        ({"disable_log_requests": True, "enable_log_requests": True}, {"enable-log-requests": True}),
        ({"swap_space": 4}, {}),
        ({"worker_use_ray": True}, {"distributed-executor-backend": "ray"}),
        ({"worker_use_ray": False}, {}),
        ({"guided_decoding_backend": "xgrammar"}, {"structured-outputs-config": {"backend": "xgrammar"}}),
        (
            {"speculative_model": "m", "num_speculative_tokens": 3},
            {"speculative-config": {"model": "m", "num_speculative_tokens": 3}},
        ),
        ({"rope_theta": 1.0, "hf_overrides": {"rope_theta": 2.0}}, {"hf-overrides": {"rope_theta": 2.0}}),
        ({"task": "embed"}, {"runner": "pooling", "convert": "embed"}),
        ({"kv_cache_memory": 1}, {"kv-cache-memory-bytes": 1}),
    ],
)
def test_outdated_options_do_what_they_meant(written: dict[str, Any], meant: dict[str, Any]) -> None:
    translation = translate(written)
    assert translation.options == meant
    old = next(iter(written))
    assert any(old in warning for warning in translation.warnings)


def test_current_options_are_left_alone_and_not_talked_about() -> None:
    translation = translate({"max_num_seqs": 8, "seed": 0})
    assert (translation.options, translation.warnings) == ({"max-num-seqs": 8, "seed": 0}, ())

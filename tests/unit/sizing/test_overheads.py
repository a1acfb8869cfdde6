from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.overheads import (
    Load,
    Runner,
    engine_defaults,
    overheads,
    runner,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import EngineVersion

from .samples import GIB, LLAMA_8B, QWEN3_30B_A3B, QWEN_32B

HOPPER = (9, 0)


def predicted(config, version, *, sequences=1024, tokens=8192, tp=1, **more):
    load = Load(
        version=EngineVersion.parse(version),
        batched_tokens=tokens,
        sequences=sequences,
        dtype="bfloat16",
        tensor_parallel_size=tp,
        capability=HOPPER,
        **more,
    )
    found = overheads(parse_shape(config), load)
    return found.activation_bytes / GIB, found.cuda_graphs_bytes / GIB, found.non_torch_bytes / GIB


QWEN3_14B = {**QWEN_32B, "num_hidden_layers": 40, "vocab_size": 151936, "intermediate_size": 17408}
CODE_LLAMA = {**LLAMA_8B, "vocab_size": 32016, "num_key_value_heads": 32, "intermediate_size": 11008}


@pytest.mark.parametrize(
    ("config", "version", "tp", "activation", "non_torch"),
    [
        # Published profiles of an H100 with vLLM's defaults of 1024 sequences and 8192 tokens.
        (LLAMA_8B, "0.11.0", 1, 4.76, 0.13),
        (QWEN3_14B, "0.16.0", 1, 5.64, 0.13),
        (QWEN3_14B, "0.17.0", 1, 2.23, 0.13),
        (QWEN3_14B, "0.18.0", 1, 2.23, 0.25),
        (LLAMA_8B, "0.19.0", 1, 1.89, 0.25),
        (LLAMA_8B, "0.19.0", 2, 1.89, 2.07),
        (LLAMA_8B, "0.19.0", 4, 1.89, 2.13),
        (CODE_LLAMA, "0.19.0", 1, 0.77, 0.25),
        (QWEN3_30B_A3B, "0.19.0", 1, 2.68, 0.27),
    ],
)
def test_published_profiles(config, version, tp, activation, non_torch):
    found = predicted(config, version, tp=tp)
    assert found[0] == pytest.approx(activation, rel=0.03)
    assert found[2] == pytest.approx(non_torch, abs=0.05)


def test_the_batch_decides_the_peak():
    small, _, _ = predicted(LLAMA_8B, "0.11.0", sequences=16, tokens=2048)
    assert small < predicted(LLAMA_8B, "0.11.0")[0] / 10


def test_a_cold_compilation_copies_the_embedding():
    # Cold and warm peaks differ by what a copy of the embedding exceeds the rest by; eager mode has none.
    cold = predicted(QWEN3_14B, "0.28.0", sequences=256, tokens=2048)[0]
    eager = predicted(QWEN3_14B, "0.28.0", sequences=256, tokens=2048, enforce_eager=True)[0]
    assert cold - eager == pytest.approx(151936 * 5120 * 2 / GIB - 0.3, abs=0.15)


def test_graphs_are_subtracted_since_0_20_and_not_in_eager_mode():
    assert predicted(LLAMA_8B, "0.19.0")[1] == 0
    assert predicted(LLAMA_8B, "0.20.0")[1] > 0.5
    assert predicted(LLAMA_8B, "0.20.0", enforce_eager=True)[1] == 0


def test_other_stages_have_no_sampler():
    last = predicted(LLAMA_8B, "0.19.0")[0]
    middle = predicted(LLAMA_8B, "0.19.0", is_first_stage=False, is_last_stage=False)[0]
    assert middle < last / 2


def test_unified_memory_counts_the_processes_own():
    plain = predicted(LLAMA_8B, "0.32.0")[2]
    assert predicted(LLAMA_8B, "0.32.0", is_unified=True)[2] - plain > 4


def test_cards_without_nvlink_need_no_symmetric_memory():
    linked, apart = (predicted(LLAMA_8B, "0.32.0", tp=2, is_linked=linked)[2] for linked in (True, False))
    assert linked - apart > 1.5


def test_a_vision_tower_is_profiled_too():
    with_vision = {**LLAMA_8B, "vision_config": {"hidden_size": 1152, "depth": 27}}
    assert predicted(with_vision, "0.19.0")[0] > predicted(LLAMA_8B, "0.19.0")[0]


@pytest.mark.parametrize(
    ("version", "config", "expected"),
    [
        ("0.7.3", LLAMA_8B, Runner.V0),
        ("0.11.0", LLAMA_8B, Runner.V1),
        ("0.22.0", LLAMA_8B, Runner.V1),
        ("0.24.0", LLAMA_8B, Runner.V2),
        ("0.27.0", QWEN_32B, Runner.V2),
        ("0.27.0", QWEN3_30B_A3B, Runner.V1),
        ("0.29.0", QWEN3_30B_A3B, Runner.V2),
    ],
)
def test_eras(version, config, expected):
    assert runner(EngineVersion.parse(version), parse_shape(config)) is expected


@pytest.mark.parametrize(
    ("version", "total_gib", "name", "expected"),
    [
        ("0.11.0", 79.18, "NVIDIA H100", (0.90, 1024, 8192)),
        ("0.20.0", 79.18, "NVIDIA H100", (0.92, 1024, 8192)),
        ("0.20.0", 79.25, "NVIDIA A100-SXM4-80GB", (0.92, 256, 2048)),
        ("0.20.0", 22.03, "NVIDIA L4", (0.92, 256, 2048)),
        ("0.28.0", 178.0, "NVIDIA B200", (0.92, 1024, 8192)),
        ("0.29.0", 178.0, "NVIDIA B200", (0.92, 1024, 16384)),
        ("0.7.0", 79.18, "NVIDIA H100", (0.90, 256, 20000)),
    ],
)
def test_engine_defaults(version, total_gib, name, expected):
    found = engine_defaults(EngineVersion.parse(version), int(total_gib * GIB), name, 20000)
    assert (found.utilization, found.sequences, found.batched_tokens) == expected

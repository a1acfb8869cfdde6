from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.parallelism import (
    stage_layers,
    tensor_parallel_problem,
    valid_tensor_parallel_sizes,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape

from .samples import DEEPSEEK_V3, GPT_OSS_120B, LLAMA_8B, QWEN3_30B_A3B, QWEN_32B


def test_sizes_divide_the_heads():
    assert valid_tensor_parallel_sizes(parse_shape(LLAMA_8B), 8) == [1, 2, 4, 8]
    assert valid_tensor_parallel_sizes(parse_shape(DEEPSEEK_V3), 16) == [1, 2, 4, 8, 16]
    # 40 heads and 8 KV heads: 5 divides the heads, and the KV heads neither divide nor repeat.
    assert valid_tensor_parallel_sizes(parse_shape(QWEN_32B), 8) == [1, 2, 4, 8]


def test_mxfp4_experts_are_cut_within_their_groups():
    # 2880 / 4 and 2880 / 8 are no multiples of 32: each rank's part is padded.
    assert valid_tensor_parallel_sizes(parse_shape(GPT_OSS_120B), 8) == [1, 2, 4, 8]
    narrow = parse_shape({**GPT_OSS_120B, "intermediate_size": 2884})
    assert "feed-forward width of 2884" in (tensor_parallel_problem(narrow, 8) or "")


@pytest.mark.parametrize("structure", [[128, 128], "128x128"])
def test_matrices_are_not_cut_within_blocks_of_compressed_tensors(structure):
    weights = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": structure, "group_size": None}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}
    blocks = parse_shape({**QWEN3_30B_A3B, "quantization_config": config})
    # 768 / 4 is no multiple of 128.
    assert valid_tensor_parallel_sizes(blocks, 8) == [1, 2]
    assert "blocks of 128 columns do not fit into 768 / 4" in (tensor_parallel_problem(blocks, 4) or "")
    # Scales per channel, and experts in the engine's own FP8 format, whose blocks it refines.
    channels = {"config_groups": {"group_0": {"weights": {**weights, "strategy": "channel", "block_structure": None}}}}
    own = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    for quantization in ({**config, **channels}, own):
        assert tensor_parallel_problem(parse_shape({**QWEN3_30B_A3B, "quantization_config": quantization}), 4) is None


@pytest.mark.parametrize(
    ("changes", "size", "problem"),
    [
        ({}, 3, "attention heads"),
        ({"num_attention_heads": 24, "num_key_value_heads": 8}, 3, "key/value heads"),
        (
            {"num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 151936},
            5,
            "vocabulary",
        ),
        ({"vision_config": {"hidden_size": 1280, "num_heads": 6}}, 4, "vision tower"),
        ({"intermediate_size": 14334}, 4, "feed-forward"),
        (
            {
                "intermediate_size": 11008,
                "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
            },
            4,
            "quantization groups",
        ),
    ],
)
def test_what_does_not_divide_is_named(changes, size, problem):
    assert problem in tensor_parallel_problem(parse_shape({**LLAMA_8B, **changes}), size)


@pytest.mark.parametrize(
    ("layers", "stages", "expected"),
    [
        (32, 2, [16, 16]),
        (5, 2, [3, 2]),
        (61, 4, [15, 15, 16, 15]),
        (30, 4, [7, 8, 8, 7]),
        (7, 3, [2, 3, 2]),
    ],
)
def test_layers_over_stages(layers, stages, expected):
    shape = parse_shape({**LLAMA_8B, "num_hidden_layers": layers})
    assert [len(part) for part in stage_layers(shape, stages)] == expected

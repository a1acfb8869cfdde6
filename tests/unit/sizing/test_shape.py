from __future__ import annotations

from collections import Counter

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import derived_max_length, parse_shape

from .samples import DEEPSEEK_V3, LLAMA_8B, QWEN3_30B_A3B


def kinds(config):
    return Counter(layer.cache.kind for layer in parse_shape(config).layers)


def test_plain_model():
    shape = parse_shape(LLAMA_8B)
    assert (shape.hidden, shape.head_dim, shape.kv_heads, len(shape.layers)) == (4096, 128, 8, 32)
    assert (shape.dtype, shape.tied_embeddings, shape.unsafe) == ("bfloat16", False, ())


def test_multimodal_configuration_is_unwrapped():
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            **LLAMA_8B,
            "model_type": "gemma3_text",
            "sliding_window": 1024,
            "sliding_window_pattern": 6,
        },
        "vision_config": {
            "hidden_size": 1152,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "intermediate_size": 4304,
        },
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128},
        "torch_dtype": "bfloat16",
    }
    shape = parse_shape(config)
    assert shape.vision is not None
    assert shape.vision.layers == 27
    assert shape.quantization.method == "awq"
    assert kinds(config) == {"full": 5, "sliding": 27}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sliding_window": 4096}, {"sliding": 32}),
        ({"sliding_window": 4096, "use_sliding_window": False}, {"full": 32}),
        ({"sliding_window": 131072}, {"full": 32}),
        ({"model_type": "gpt_oss", "sliding_window": 128}, {"full": 16, "sliding": 16}),
        ({"model_type": "llama4_text", "attention_chunk_size": 8192}, {"full": 8, "chunked": 24}),
        ({"full_attention_interval": 4}, {"full": 8, "state": 24}),
        ({"layer_types": ["full_attention", "linear_attention"] * 16}, {"full": 16, "state": 16}),
        (
            {"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*" * 8, "mamba_num_heads": 64},
            {"state": 16, "none": 8, "full": 8},
        ),
        ({"attn_layer_period": 8, "attn_layer_offset": 4}, {"full": 4, "state": 28}),
        ({"model_type": "falcon_h1", "mamba_n_heads": 24}, {"full": 32, "state": 32}),
        ({"num_kv_shared_layers": 12}, {"full": 20, "none": 12}),
    ],
)
def test_layer_kinds(changes, expected):
    assert kinds({**LLAMA_8B, **changes}) == expected


def test_latent_attention():
    shape = parse_shape(DEEPSEEK_V3)
    assert shape.is_mla
    assert kinds(DEEPSEEK_V3) == {"mla": 61}
    assert [bool(layer.mlp.experts) for layer in shape.layers[:5]] == [False, False, False, True, True]


def test_experts():
    shape = parse_shape(QWEN3_30B_A3B)
    assert (shape.experts, shape.experts_per_token) == (128, 8)
    assert {layer.mlp.intermediate for layer in shape.layers} == {768}


def test_layers_from_architecture_search():
    blocks = [
        {"attention": {"n_heads_in_group": 8}, "ffn": {"ffn_mult": 2.625}},
        {"attention": {"no_op": True, "n_heads_in_group": None}, "ffn": {"ffn_mult": 1.0}},
    ] * 40
    config = {
        "model_type": "nemotron-nas",
        "hidden_size": 8192,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "vocab_size": 128256,
        "block_configs": blocks,
    }
    shape = parse_shape(config)
    assert kinds(config) == {"full": 40, "none": 40}
    assert shape.kv_heads == 8
    assert shape.unsafe


def test_falcon_has_one_kv_head():
    config = {
        "model_type": "falcon",
        "hidden_size": 4544,
        "num_hidden_layers": 32,
        "num_attention_heads": 71,
        "multi_query": True,
        "vocab_size": 65024,
    }
    assert parse_shape(config).kv_heads == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 131072),
        (
            {"max_position_embeddings": 32768, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
            131072,
        ),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        (
            {
                "max_position_embeddings": 40960,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 163840,
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 40,
                    "original_max_position_embeddings": 4096,
                },
            },
            163840,
        ),
        ({"max_position_embeddings": None, "n_positions": 1024}, 1024),
    ],
)
def test_longest_context(changes, expected):
    assert derived_max_length({**LLAMA_8B, **changes}) == expected


def test_what_is_no_language_model_is_refused():
    with pytest.raises(SizingError, match="does not describe a language model"):
        parse_shape({"model_type": "clip", "projection_dim": 512})

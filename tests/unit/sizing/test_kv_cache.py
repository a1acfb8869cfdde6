from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.kv_cache import (
    CacheLayout,
    bytes_for_requests,
    capacity,
    largest_length,
    layout,
    token_bytes,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import EngineVersion

from .samples import DEEPSEEK_V3, GIB, LLAMA_8B, QWEN3_30B_A3B, TINY

NEW = EngineVersion(0, 32)
OLD = EngineVersion(0, 10)


def per_token(config, tp=1, kv="auto", dtype="bfloat16"):
    shape = parse_shape(config)
    return token_bytes(shape, shape.layers, tp, kv, dtype)


def lay_out(config, **changes):
    shape = parse_shape(config)
    values = {
        "tensor_parallel_size": 1,
        "kv_cache_dtype": "auto",
        "dtype": "bfloat16",
        "max_model_len": 4096,
        "max_in_flight_tokens": 2048,
        "block_size": 16,
        "version": NEW,
    }
    return layout(shape, **{**values, **changes})


@pytest.mark.parametrize(
    ("tp", "expected"),
    [(1, 131072), (2, 65536), (8, 16384), (16, 16384)],
)
def test_grouped_heads_are_divided_and_then_replicated(tp, expected):
    assert per_token(LLAMA_8B, tp) == expected


def test_a_single_kv_head_is_the_same_on_every_rank():
    config = {**LLAMA_8B, "num_key_value_heads": 1}
    assert per_token(config, 1) == per_token(config, 4) == 32 * 2 * 128 * 2


def test_latent_attention_is_not_divided():
    assert per_token(DEEPSEEK_V3, 1) == per_token(DEEPSEEK_V3, 8) == 61 * 576 * 2


def test_sparse_attention_adds_an_index_row():
    config = {**DEEPSEEK_V3, "index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048}
    assert per_token(config) == 61 * (576 * 2 + 132)
    assert per_token(config, kv="fp8") == 61 * (656 + 132)


def test_fp8_halves_the_cache():
    assert per_token(LLAMA_8B, kv="fp8") == per_token(LLAMA_8B) / 2


def test_turboquant_leaves_two_layers_at_either_end_alone():
    # 36 layers, 8 heads of 128: 128 + 64 + 4 bytes packed, 512 bytes plain.
    config = {**LLAMA_8B, "num_hidden_layers": 36}
    assert per_token(config, kv="turboquant_k8v4") == 8 * (32 * 196 + 4 * 512)


def test_float32_doubles_it():
    assert per_token(LLAMA_8B, dtype="float32") == 2 * per_token(LLAMA_8B)


@pytest.mark.parametrize(
    ("layers", "kv_heads", "expected"),
    [(3, 1, 2_796_160), (2, 1, 4_194_304), (4, 2, 1_048_576)],
)
def test_tokens_of_a_real_cpu_engine(layers, kv_heads, expected):
    # Logged by vLLM 0.32 on a CPU with 1 GiB, head size 32 and blocks of 128.
    config = {**TINY, "num_hidden_layers": layers, "num_key_value_heads": kv_heads}
    cache = lay_out(config, block_size=128, max_model_len=2048)
    assert capacity(GIB, cache, 2048, NEW).tokens == expected


def test_a_length_that_fills_no_whole_block_lowers_the_printed_tokens():
    # Since 0.21 the engine prints concurrency × length; 3000 tokens occupy 24 blocks of 128.
    config = {**TINY, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4}
    cache = lay_out(config, block_size=128, max_model_len=3000)
    assert capacity(GIB, cache, 3000, NEW).tokens == 512_000
    assert capacity(GIB, cache, 3000, OLD).tokens == 524_288


def test_sliding_windows_share_the_pool():
    # 62 layers, every sixth full: 10 full and 52 sliding ones make groups of 10, the last one padded.
    config = {
        **LLAMA_8B,
        "model_type": "gemma3_text",
        "num_hidden_layers": 62,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
    }
    cache = lay_out(config, max_model_len=131072)
    assert cache.groups == 1 + 6
    assert cache.block_bytes == 10 * 16 * 16 * 128 * 2 * 2
    # Window − 1 plus a step, in blocks of 16, and one that both ends share.
    assert cache.blocks_per_request == 131072 // 16 + 6 * (-(-(1023 + 2048) // 16) + 1)


def test_layers_of_other_size_in_a_hybrid_take_longer_blocks():
    # Gemma 4: full layers have fewer but wider heads; half the bytes, so their blocks hold twice the tokens.
    config = {
        **LLAMA_8B,
        "model_type": "gemma4_text",
        "num_hidden_layers": 60,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "num_global_key_value_heads": 4,
        "global_head_dim": 512,
        "sliding_window": 1024,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
    }
    cache = lay_out(config, version=EngineVersion(0, 20))
    assert (cache.groups, cache.tokens_per_block) == (6, 16)
    # A published log: 50 GiB printed as about 55,000 tokens.
    tokens = capacity(50 * GIB, cache, 131072, EngineVersion(0, 20)).tokens
    assert tokens == pytest.approx(55_000, rel=0.01)


QWEN3_NEXT = {
    **QWEN3_30B_A3B,
    "model_type": "qwen3_next",
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def test_linear_attention_raises_the_block_until_a_state_fits():
    # A published log (tensor parallel 2): 44.59 GiB, 7,162 blocks, 973,760 tokens, 14.77 requests of 262,144.
    cache = lay_out(QWEN3_NEXT, tensor_parallel_size=2, max_model_len=262144, version=OLD)
    assert (cache.tokens_per_block, cache.groups) == (544, 4)
    found = capacity(int(44.59 * GIB), cache, 262144, OLD)
    assert (found.blocks, found.tokens) == (7162, 973_760)
    assert found.concurrency == pytest.approx(14.77, abs=0.005)


def test_prefix_caching_keeps_two_states_where_it_is_on_by_default():
    with_caching = lay_out(QWEN3_NEXT, version=EngineVersion(0, 29))
    without = lay_out(QWEN3_NEXT, version=EngineVersion(0, 27))
    assert with_caching.blocks_per_request == without.blocks_per_request + 3


def test_float32_states():
    # A published log with prefix caching: fp8 cache of 5.98 GiB printed as 567,978 tokens at 131,072.
    config = {
        **QWEN3_NEXT,
        "model_type": "qwen3_5_moe_text",
        "num_hidden_layers": 40,
        "vocab_size": 248320,
    }
    version = EngineVersion(0, 29)
    cache = lay_out(config, kv_cache_dtype="fp8", max_model_len=131072, version=version)
    assert cache.tokens_per_block == 2096
    assert capacity(int(5.98 * GIB), cache, 131072, version).tokens == 567_978


def test_context_parallel_ranks_multiply_the_tokens():
    cache = CacheLayout(1024, 4, 1, 16)
    assert capacity(GIB, cache, 64, NEW, 8).tokens == 8 * capacity(GIB, cache, 64, NEW).tokens


def test_nothing_fits_into_nothing():
    cache = lay_out(LLAMA_8B)
    assert capacity(-GIB, cache, 4096, NEW).tokens == 0


def test_largest_length_is_the_last_that_fits():
    def at(length):
        return lay_out(LLAMA_8B, max_model_len=length)

    room = bytes_for_requests(at(10_000), 2)
    found = largest_length(room, 2, 131072, at)
    assert bytes_for_requests(at(found), 2) <= room < bytes_for_requests(at(found + 16), 2)
    assert largest_length(room, 2, 131072, at, 1024) == found // 1024 * 1024
    assert largest_length(10 * room, 2, 20_000, at) == 20_000

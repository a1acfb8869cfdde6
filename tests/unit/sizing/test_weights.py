from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.parallelism import stage_layers
from ansible_collections.llm.serving.plugins.module_utils.sizing.safetensors import CheckpointSize, TensorInfo
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.weights import stage_weights

from .samples import DEEPSEEK_V3, GIB, GPT_OSS_120B, LLAMA_8B, QWEN3_30B_A3B, QWEN_32B


def rank_gib(config, tp=1, pp=1, checkpoint=None):
    shape = parse_shape(config)
    stages = stage_layers(shape, pp)
    return [weight.rank_bytes / GIB for weight in stage_weights(shape, stages, tp, checkpoint, "bfloat16")]


@pytest.mark.parametrize(
    ("config", "logged_gib"),
    [
        # «Model loading took» of published logs.
        (LLAMA_8B, 14.99),
        (QWEN_32B, 61.03),
        (QWEN3_30B_A3B, 56.88),
        ({**LLAMA_8B, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}, 5.38),
    ],
)
def test_weights_from_a_configuration_alone(config, logged_gib):
    assert rank_gib(config)[0] == pytest.approx(logged_gib, rel=0.01)


def test_a_shared_expert_that_is_not_mentioned():
    scout = {
        **LLAMA_8B,
        "model_type": "llama4_text",
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "vocab_size": 202048,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_local_experts": 16,
        "attention_chunk_size": 8192,
        "head_dim": 128,
    }
    # 107.8 billion parameters without the vision tower.
    assert rank_gib(scout)[0] * GIB / 2e9 == pytest.approx(107.8, rel=0.01)


def test_tensor_parallel_ranks_share_all_but_the_norms():
    assert rank_gib(LLAMA_8B, 2)[0] == pytest.approx(7.51, rel=0.005)
    assert rank_gib(LLAMA_8B, 4)[0] == pytest.approx(3.77, rel=0.01)


def test_kv_projections_are_replicated_beyond_their_heads():
    shape = {**LLAMA_8B, "num_key_value_heads": 1}
    whole, half = rank_gib(shape)[0], rank_gib(shape, 2)[0]
    kv_gib = 32 * 4096 * 2 * 128 * 2 / GIB
    assert half == pytest.approx((whole - kv_gib) / 2 + kv_gib, rel=1e-3)


def test_latent_attention_repeats_its_down_projections():
    whole, eighth = rank_gib(DEEPSEEK_V3)[0], rank_gib(DEEPSEEK_V3, 8)[0]
    repeated_gib = 61 * 7168 * (1536 + 512 + 64) / GIB
    assert eighth == pytest.approx((whole - repeated_gib) / 8 + repeated_gib, rel=0.005)


def test_stages_hold_the_embedding_first_and_the_head_last():
    first, last = rank_gib(LLAMA_8B, pp=2)
    assert first == pytest.approx(last, rel=0.001)
    middle = rank_gib(LLAMA_8B, pp=4)[1]
    assert rank_gib(LLAMA_8B, pp=4)[0] - middle == pytest.approx(128256 * 4096 * 2 / GIB, rel=0.001)


def test_tied_embeddings_are_held_once_and_twice_over_stages():
    tied = {**LLAMA_8B, "tie_word_embeddings": True}
    embedding_gib = 128256 * 4096 * 2 / GIB
    assert rank_gib(LLAMA_8B)[0] - rank_gib(tied)[0] == pytest.approx(embedding_gib, rel=0.001)
    assert rank_gib(tied, pp=2) == pytest.approx(rank_gib(LLAMA_8B, pp=2))


def test_mxfp4_experts_are_padded_for_their_kernels():
    # The files hold 60.8 GiB; logs show 64.4 to 66 GiB, by kernel.
    assert rank_gib(GPT_OSS_120B)[0] == pytest.approx(65.5, abs=0.8)


def tensors(**named: tuple[str, tuple[int, ...]]) -> CheckpointSize:
    width = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
    infos = {}
    for name, (dtype, shape) in named.items():
        size = width[dtype]
        for side in shape:
            size *= side
        infos[name.replace("__", ".")] = TensorInfo(dtype, shape, size)
    return CheckpointSize(sum(info.size_bytes for info in infos.values()), infos, "a test")


def test_headers_are_summed_where_each_tensor_lives():
    shape = parse_shape({**LLAMA_8B, "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 100})
    checkpoint = tensors(
        model__embed_tokens__weight=("BF16", (100, 8)),
        lm_head__weight=("BF16", (100, 8)),
        model__layers__0__self_attn__k_proj__weight=("BF16", (16, 8)),
        model__layers__0__input_layernorm__weight=("BF16", (8,)),
        model__layers__1__mlp__up_proj__weight=("BF16", (64, 8)),
        model__layers__2__mlp__up_proj__weight=("BF16", (64, 8)),
    )
    one = stage_weights(shape, stage_layers(shape, 1), 1, checkpoint, "bfloat16")
    # Layer 2 is a draft layer beyond the model's own two, and not loaded.
    assert one[0].rank_bytes == 1600 + 1600 + 256 + 16 + 1024
    four = stage_weights(shape, stage_layers(shape, 1), 4, checkpoint, "bfloat16")
    assert four[0].rank_bytes == (1600 + 1600 + 1024) / 4 + 256 / 2 + 16
    first, last = stage_weights(shape, stage_layers(shape, 2), 1, checkpoint, "bfloat16")
    assert (first.rank_bytes, last.rank_bytes) == (1600 + 256 + 16, 1600 + 1024)
    assert one[0].exact


def test_float32_checkpoints_are_cast_when_they_are_loaded():
    shape = parse_shape({**LLAMA_8B, "num_hidden_layers": 1})
    checkpoint = tensors(model__layers__0__mlp__up_proj__weight=("F32", (64, 8)))
    loaded = stage_weights(shape, stage_layers(shape, 1), 1, checkpoint, "bfloat16")
    assert loaded[0].rank_bytes == 1024


def test_a_known_total_scales_the_shape():
    checkpoint = CheckpointSize(10 * GIB, {}, "an index")
    assert rank_gib(LLAMA_8B, checkpoint=checkpoint) == [10.0]
    assert rank_gib(LLAMA_8B, 2, checkpoint=checkpoint)[0] == pytest.approx(5.0, rel=0.01)

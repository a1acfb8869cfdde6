"""Shapes of well-known models, for what-if plans where the Hub is out of reach.

Facts of their config.json, nothing more. Weights are then computed from the shape, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
_QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
_QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128}
_QWEN3_MOE = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "head_dim": 128}
_MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 128}
_YARN_LLAMA = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}


def _dense(
    family: Mapping[str, Any], sizes: tuple[int, int, int, int, int], vocab: int, length: int, **more: Any
) -> dict[str, Any]:
    """sizes: hidden, layers, heads, key/value heads, feed-forward columns."""
    hidden, layers, heads, kv_heads, columns = sizes
    return {
        **family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": columns,
        "vocab_size": vocab,
        "max_position_embeddings": length,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **more,
    }


_TIED = {"tie_word_embeddings": True}
_LLAMA_8B = _dense(_LLAMA, (4096, 32, 32, 8, 14336), 128256, 131072, rope_scaling=_YARN_LLAMA)
_LLAMA_70B = _dense(_LLAMA, (8192, 80, 64, 8, 28672), 128256, 131072, rope_scaling=_YARN_LLAMA)
_DEEPSEEK_V3 = _dense(
    {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3"},
    (7168, 61, 128, 128, 18432),
    129280,
    163840,
    kv_lora_rank=512,
    q_lora_rank=1536,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=256,
    n_shared_experts=1,
    num_experts_per_tok=8,
    moe_intermediate_size=2048,
    first_k_dense_replace=3,
    moe_layer_freq=1,
    num_nextn_predict_layers=1,
    quantization_config={"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
)


def _gpt_oss(layers: int, experts: int) -> dict[str, Any]:
    return _dense(
        {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "head_dim": 64},
        (2880, layers, 64, 8, 2880),
        201088,
        131072,
        num_local_experts=experts,
        num_experts_per_tok=4,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        quantization_config={"quant_method": "mxfp4"},
    )


KNOWN_MODELS: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": _dense(_QWEN2, (896, 24, 14, 2, 4864), 151936, 32768, **_TIED),
    "Qwen/Qwen2.5-1.5B-Instruct": _dense(_QWEN2, (1536, 28, 12, 2, 8960), 151936, 32768, **_TIED),
    "Qwen/Qwen2.5-3B-Instruct": _dense(_QWEN2, (2048, 36, 16, 2, 11008), 151936, 32768, **_TIED),
    "Qwen/Qwen2.5-7B-Instruct": _dense(_QWEN2, (3584, 28, 28, 4, 18944), 152064, 32768),
    "Qwen/Qwen2.5-14B-Instruct": _dense(_QWEN2, (5120, 48, 40, 8, 13824), 152064, 32768),
    "Qwen/Qwen2.5-32B-Instruct": _dense(_QWEN2, (5120, 64, 40, 8, 27648), 152064, 32768),
    "Qwen/Qwen2.5-Coder-32B-Instruct": _dense(_QWEN2, (5120, 64, 40, 8, 27648), 152064, 32768),
    "Qwen/QwQ-32B": _dense(_QWEN2, (5120, 64, 40, 8, 27648), 152064, 40960),
    "Qwen/Qwen2.5-72B-Instruct": _dense(_QWEN2, (8192, 80, 64, 8, 29568), 152064, 32768),
    "Qwen/Qwen3-0.6B": _dense(_QWEN3, (1024, 28, 16, 8, 3072), 151936, 40960, **_TIED),
    "Qwen/Qwen3-1.7B": _dense(_QWEN3, (2048, 28, 16, 8, 6144), 151936, 40960, **_TIED),
    "Qwen/Qwen3-4B": _dense(_QWEN3, (2560, 36, 32, 8, 9728), 151936, 40960, **_TIED),
    "Qwen/Qwen3-8B": _dense(_QWEN3, (4096, 36, 32, 8, 12288), 151936, 40960),
    "Qwen/Qwen3-14B": _dense(_QWEN3, (5120, 40, 40, 8, 17408), 151936, 40960),
    "Qwen/Qwen3-32B": _dense(_QWEN3, (5120, 64, 64, 8, 25600), 151936, 40960),
    "Qwen/Qwen3-30B-A3B": _dense(
        _QWEN3_MOE,
        (2048, 48, 32, 4, 6144),
        151936,
        40960,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
    ),
    "Qwen/Qwen3-235B-A22B": _dense(
        _QWEN3_MOE,
        (4096, 94, 64, 4, 12288),
        151936,
        40960,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=1536,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": _dense(
        _LLAMA, (2048, 16, 32, 8, 8192), 128256, 131072, head_dim=64, rope_scaling=_YARN_LLAMA, **_TIED
    ),
    "meta-llama/Llama-3.2-3B-Instruct": _dense(
        _LLAMA, (3072, 28, 24, 8, 8192), 128256, 131072, head_dim=128, rope_scaling=_YARN_LLAMA, **_TIED
    ),
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.1-70B-Instruct": _LLAMA_70B,
    "meta-llama/Llama-3.3-70B-Instruct": _LLAMA_70B,
    "meta-llama/Llama-3.1-405B-Instruct": _dense(
        _LLAMA, (16384, 126, 128, 8, 53248), 128256, 131072, rope_scaling=_YARN_LLAMA
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": _dense(_MISTRAL, (4096, 32, 32, 8, 14336), 32768, 32768),
    "mistralai/Mistral-Small-24B-Instruct-2501": _dense(_MISTRAL, (5120, 40, 32, 8, 32768), 131072, 32768),
    "microsoft/phi-4": _dense(
        {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}, (5120, 40, 40, 10, 17920), 100352, 16384
    ),
    "openai/gpt-oss-20b": _gpt_oss(24, 32),
    "openai/gpt-oss-120b": _gpt_oss(36, 128),
    "deepseek-ai/DeepSeek-V3": _DEEPSEEK_V3,
    "deepseek-ai/DeepSeek-R1": _DEEPSEEK_V3,
}
SOURCE = "the collection's table of well-known models"

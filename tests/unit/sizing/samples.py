"""Models and hosts that the tests of sizing share."""

from __future__ import annotations

from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.sizing.hardware import (
    KNOWN_CARDS,
    Device,
    imagined_devices,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.plan import Host, ModelFiles, Plan, plan_host
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.wishes import parse_wishes

GIB = 1024**3

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
QWEN_32B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "intermediate_size": 27648,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}
QWEN3_30B_A3B = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "intermediate_size": 6144,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}
GPT_OSS_120B = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "intermediate_size": 2880,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "mxfp4"},
}
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "num_nextn_predict_layers": 1,
    "max_position_embeddings": 163840,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8"},
}
TINY = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 512,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
    "torch_dtype": "float32",
    "tie_word_embeddings": True,
}


def files(config: dict[str, Any], **changes: Any) -> ModelFiles:
    return ModelFiles(parse_shape({**config, **changes}))


def cards(name: str, count: int = 1) -> tuple[Device, ...]:
    return imagined_devices(KNOWN_CARDS[name], count)


def plan_one(config: dict[str, Any], on: Host, /, **wishes: Any) -> Plan:
    wish = {"name": "m", "model": "/models/m", **wishes}
    return plan_host(parse_wishes([wish]), [files(config)], on)[0]

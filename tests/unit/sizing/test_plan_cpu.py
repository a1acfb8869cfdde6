from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.plan import Host, plan_host
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import EngineVersion
from ansible_collections.llm.serving.plugins.module_utils.sizing.wishes import parse_wishes

from .samples import DEEPSEEK_V3, GIB, LLAMA_8B, TINY, files, plan_one

HOST = Host(memory_total_bytes=64 * GIB, cpu_count=16, version=EngineVersion(0, 32))


def test_a_tiny_model_gets_what_is_of_use_and_no_more():
    plan = plan_one(TINY, HOST)
    assert plan.environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert plan.environment["VLLM_CPU_OMP_THREADS_BIND"] == "auto"
    assert plan.estimate.expected.tokens == plan.estimate.floor.tokens == 2_796_160
    assert plan.as_dict()["gpu_memory_utilization"] is None
    assert "gpu-memory-utilization" not in plan.engine_args


@pytest.mark.parametrize(
    ("config", "wishes", "expected"),
    [
        # Logged by vLLM 0.32 on a CPU, 1 GiB of cache.
        ({"num_hidden_layers": 2}, {}, 4_194_304),
        ({"num_hidden_layers": 4, "num_key_value_heads": 2}, {}, 1_048_576),
        (
            {
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "max_position_embeddings": 3000,
            },
            {},
            512_000,
        ),
        (
            {
                "num_hidden_layers": 5,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "max_position_embeddings": 4096,
            },
            {"block_size": 32},
            419_424,
        ),
        (
            {
                "model_type": "gemma3_text",
                "num_hidden_layers": 12,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "sliding_window": 512,
                "sliding_window_pattern": 6,
                "max_position_embeddings": 4096,
            },
            {"max_num_batched_tokens": 2048},
            244_922,
        ),
        (
            {
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "sliding_window": 1024,
                "max_position_embeddings": 4096,
            },
            {"max_num_batched_tokens": 2048},
            1_342_177,
        ),
        (
            {
                "num_attention_heads": 4,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
                "max_position_embeddings": 4096,
            },
            {},
            310_688,
        ),
        (
            {
                "model_type": "qwen3_next",
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "full_attention_interval": 4,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 64,
                "linear_value_head_dim": 64,
                "max_position_embeddings": 4096,
            },
            {},
            1_525_201,
        ),
    ],
)
def test_tokens_are_exact(config, wishes, expected):
    plan = plan_one({**TINY, **config}, HOST, cpu_kv_cache_gib=1, **wishes)
    assert plan.estimate.expected.tokens == expected


def test_ranks_on_other_hosts_divide_heads_and_layers():
    config = {**TINY, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    tensor = plan_one(config, HOST, cpu_kv_cache_gib=1, tensor_parallel_size=2, nodes=2)
    stages = plan_one(config, HOST, cpu_kv_cache_gib=1, pipeline_parallel_size=2, nodes=2)
    assert tensor.estimate.expected.blocks == GIB // (5 * 32 * 2 * 2 * 128)
    # Three layers on the first stage and two on the last: the first bounds both.
    assert stages.estimate.expected.blocks == GIB // (3 * 2 * 32 * 2 * 2 * 128)


def test_groups_span_stages():
    config = {
        **TINY,
        "model_type": "gemma3_text",
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "sliding_window": 512,
        "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 6,
        "max_position_embeddings": 4096,
    }
    wishes = {"pipeline_parallel_size": 2, "nodes": 2, "max_num_batched_tokens": 2048}
    # Logged by a real engine: both full layers are on the first stage, which bounds the second.
    assert plan_one(config, HOST, cpu_kv_cache_gib=1, **wishes).estimate.expected.tokens == 256_140


def test_ram_is_shared_and_the_plan_ignores_what_is_free_now():
    wishes = parse_wishes([{"name": name, "model": f"/{name}"} for name in ("a", "b")])
    models = [files(LLAMA_8B)] * 2
    plans = plan_host(wishes, models, HOST)
    spaces = [int(plan.environment["VLLM_CPU_KVCACHE_SPACE"]) for plan in plans]
    used = sum(spaces) + 2 * (15 + 3)
    assert 58 <= used <= 63
    busy = replace(HOST, memory_available_bytes=1 * GIB)
    assert [plan.environment for plan in plan_host(wishes, models, busy)] == [plan.environment for plan in plans]


def test_several_instances_get_cores_of_their_own():
    wishes = parse_wishes([{"name": name, "model": f"/{name}"} for name in ("a", "b")])
    plans = plan_host(wishes, [files(TINY)] * 2, HOST)
    assert [plan.environment["VLLM_CPU_OMP_THREADS_BIND"] for plan in plans] == ["0-7", "8-15"]
    plans = plan_host(wishes, [files(TINY)] * 2, replace(HOST, cpu_count=2))
    assert [plan.environment["VLLM_CPU_OMP_THREADS_BIND"] for plan in plans] == ["auto", "auto"]


def test_the_operators_variables_win():
    plan = plan_one(TINY, HOST, environment={"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"})
    assert plan.environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert plan.environment["HF_HUB_OFFLINE"] == "1"
    assert plan.estimate.account.kv_expected_bytes == 2 * GIB


def test_latent_attention_has_blocks_of_sixteen():
    plan = plan_one({**DEEPSEEK_V3, "num_hidden_layers": 2, "quantization_config": None}, HOST)
    assert plan.setup.block_size == 16


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"block_size": 16}, "block_size 16 is refused"),
        ({"kv_cache_dtype": "nvfp4"}, "kv_cache_dtype nvfp4 is refused"),
        ({"dtype": "float64"}, "does not compute in float64"),
        ({"tensor_parallel_size": 2}, "as many NUMA nodes"),
        ({"max_model_len": 4096}, "longer than the model was made for"),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 32}, "cannot hold 64 sequences"),
        ({"device": "cuda"}, "no usable GPU"),
        ({"device": "abacus"}, "unknown device"),
    ],
)
def test_what_the_cpu_engine_refuses(wishes, message):
    config = {**TINY, "num_attention_heads": 4, "num_key_value_heads": 2}
    with pytest.raises(SizingError, match=message):
        plan_one(config, HOST, **wishes)


def test_a_cache_of_eight_bits_holds_twice_the_tokens():
    wishes = {"cpu_kv_cache_gib": 1, "max_model_len": 2048}
    plain, halved = (plan_one(LLAMA_8B, HOST, kv_cache_dtype=dtype, **wishes) for dtype in ("auto", "fp8"))
    assert halved.estimate.expected.tokens == 2 * plain.estimate.expected.tokens
    assert any("AVX-512" in warning for warning in halved.warnings)


@pytest.mark.parametrize(
    ("config", "version"), [(LLAMA_8B, "0.20.2"), ({**LLAMA_8B, "head_dim": 80}, "0.33.0"), (DEEPSEEK_V3, "0.33.0")]
)
def test_a_cache_of_eight_bits_is_refused_where_the_engine_refuses_it(config, version):
    with pytest.raises(SizingError, match="kv_cache_dtype fp8 is refused"):
        plan_one(config, replace(HOST, version=EngineVersion.parse(version)), kv_cache_dtype="fp8")


def test_a_cache_too_small_for_one_request_names_what_would_fit():
    with pytest.raises(SizingError, match=r"max_model_len: 8192 or less, or cpu_kv_cache_gib: 2"):
        plan_one(LLAMA_8B, HOST, cpu_kv_cache_gib=1, max_model_len=16384)


def test_the_length_follows_the_cache():
    plan = plan_one(LLAMA_8B, HOST, cpu_kv_cache_gib=1)
    assert plan.setup.max_model_len == 2048
    assert plan.estimate.expected.concurrency == 4


def test_a_rank_has_the_memory_of_one_numa_node():
    plan = plan_one(LLAMA_8B, replace(HOST, numa_nodes=2))
    # 32 GiB per node, less 15 GiB of weights, 3 GiB of processes, activations and the host's own.
    assert 11 <= int(plan.environment["VLLM_CPU_KVCACHE_SPACE"]) <= 13


def test_ranks_share_a_node_where_the_operator_binds_threads():
    config = {**TINY, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    config["max_position_embeddings"] = 4096
    wishes = {"tensor_parallel_size": 2, "environment": {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}}
    plan = plan_one(config, HOST, cpu_kv_cache_gib=1, **wishes)
    # Logged by a real engine with two ranks on one node.
    assert plan.estimate.expected.tokens == 838_784


def test_too_little_ram_is_refused():
    with pytest.raises(SizingError, match="RAM does not hold these models"):
        plan_one(LLAMA_8B, replace(HOST, memory_total_bytes=16 * GIB))


def test_wishes_for_gpus_are_pointed_out():
    plan = plan_one(TINY, HOST, gpu_memory_utilization=0.9)
    assert plan.warnings == ("gpu_memory_utilization has no effect on a CPU host.",)


def test_float32_checkpoints_are_served_in_bfloat16():
    assert plan_one(TINY, HOST).engine_args["dtype"] == "bfloat16"

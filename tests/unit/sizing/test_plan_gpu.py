from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.plan import Host, plan_host
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import EngineVersion
from ansible_collections.llm.serving.plugins.module_utils.sizing.wishes import parse_wishes

from .samples import DEEPSEEK_V3, GIB, LLAMA_8B, QWEN3_30B_A3B, QWEN_32B, cards, files, plan_one


def plan_many(host, *entries):
    wishes = parse_wishes([{"name": name, "model": f"/{name}", **wish} for name, _, wish in entries])
    return plan_host(wishes, [files(config) for _, config, _ in entries], host)


def test_the_seeds_instance():
    plan = plan_one(
        QWEN_32B,
        Host(devices=cards("A100-80GB", 2)),
        served_model_name="qwen32b",
        host="0.0.0.0",  # noqa: S104
        port=8010,
        tensor_parallel_size=2,
        dtype="bfloat16",
        max_model_len=8192,
        max_num_seqs=8,
        gpu_memory_utilization=0.80,
        trust_remote_code=True,
        disable_log_requests=True,
        environment={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:256"},
    )
    assert plan.engine_args == {
        "model": "/models/m",
        "served-model-name": "qwen32b",
        "host": "0.0.0.0",  # noqa: S104
        "port": 8010,
        "tensor-parallel-size": 2,
        "dtype": "bfloat16",
        "max-model-len": 8192,
        "max-num-seqs": 8,
        "max-num-batched-tokens": 4096,
        "gpu-memory-utilization": 0.8,
        "trust-remote-code": True,
    }
    assert plan.environment == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:256",
    }
    assert plan.warnings == (
        "disable_log_requests is a dead option: requests are not logged unless enable_log_requests is set; "
        "it is left out",
    )


def test_the_smallest_size_that_holds_enough_cache():
    assert plan_one(LLAMA_8B, Host(devices=cards("H100-80GB", 1))).setup.tensor_parallel_size == 1
    # 61 GiB of weights fit on one card, but not with four requests of 8,192 tokens.
    assert plan_one(QWEN_32B, Host(devices=cards("H100-80GB", 4))).setup.tensor_parallel_size == 2
    assert plan_one(QWEN_32B, Host(devices=cards("L4", 8))).setup.tensor_parallel_size == 4


def test_one_card_is_used_if_there_is_no_other():
    plan = plan_one(QWEN_32B, Host(devices=cards("H100-80GB", 1)))
    assert plan.setup.tensor_parallel_size == 1
    assert plan.setup.max_model_len < 32768


def test_latency_prefers_width():
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB", 4)), profile="latency")
    assert plan.setup.tensor_parallel_size == 4


def test_idle_cards_become_replicas_unless_told_otherwise():
    host = Host(devices=cards("H100-80GB", 4))
    plan = plan_one(QWEN_32B, host)
    assert (plan.setup.tensor_parallel_size, plan.data_parallel_size) == (2, 2)
    assert plan.engine_args["data-parallel-size"] == 2
    assert plan.gpu_indices == (0, 1, 2, 3)
    assert plan_one(QWEN_32B, host, replicas=1).gpu_indices == (0, 1)
    # Experts would be spread over the replicas.
    assert plan_one(QWEN3_30B_A3B, host).data_parallel_size == 1


def test_all_of_the_cards_given():
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB", 8)), gpus=4)
    assert (plan.setup.tensor_parallel_size, plan.data_parallel_size) == (4, 1)


def test_hosts_share_stages_or_ranks():
    host = Host(devices=cards("H100-80GB", 8))
    stages = plan_one(DEEPSEEK_V3, host, nodes=2, pipeline_parallel_size=2, tensor_parallel_size=8)
    assert len(stages.gpu_indices) == 8
    assert stages.engine_args["pipeline-parallel-size"] == 2
    ranks = plan_one(DEEPSEEK_V3, host, nodes=2, tensor_parallel_size=16)
    assert len(ranks.gpu_indices) == 8
    assert not ranks.setup.is_linked
    planned = plan_one(DEEPSEEK_V3, host, nodes=2)
    assert planned.setup.tensor_parallel_size == 16


def test_linked_cards_are_chosen():
    topology = [
        ["X", "SYS", "NV12", "SYS"],
        ["SYS", "X", "SYS", "NV12"],
        ["NV12", "SYS", "X", "SYS"],
        ["SYS", "NV12", "SYS", "X"],
    ]
    host = Host(devices=cards("H100-80GB", 4), topology=topology)
    plans = plan_many(host, ("a", QWEN_32B, {"replicas": 1}), ("b", QWEN_32B, {"replicas": 1}))
    assert sorted(plan.gpu_indices for plan in plans) == [(0, 2), (1, 3)]


def test_numa_nodes_stay_together_without_a_topology():
    devices = [replace(card, numa_node=card.index % 2) for card in cards("H100-80GB", 4)]
    plan = plan_one(QWEN_32B, Host(devices=tuple(devices)), replicas=1)
    assert plan.gpu_indices == (0, 2)


def test_named_cards_are_taken():
    host = Host(devices=cards("H100-80GB", 4))
    assert plan_one(QWEN_32B, host, gpu_indices=[1, 3]).gpu_indices == (1, 3)
    plans = plan_many(host, ("a", LLAMA_8B, {"replicas": 1}), ("b", LLAMA_8B, {"gpu_indices": [0]}))
    assert [plan.gpu_indices for plan in plans] == [(1,), (0,)]


def test_mixed_cards_do_not_form_a_group():
    mixed = (*cards("RTX3090-24GB", 1), *(replace(card, index=card.index + 1) for card in cards("H100-80GB", 2)))
    plans = plan_many(Host(devices=mixed), ("big", QWEN_32B, {}), ("small", LLAMA_8B, {}))
    assert [plan.gpu_indices for plan in plans] == [(1, 2), (0,)]


def test_models_share_a_card_where_there_are_too_few():
    host = Host(devices=cards("H100-80GB", 1))
    plans = plan_many(host, ("a", LLAMA_8B, {}), ("b", LLAMA_8B, {}))
    shares = [plan.setup.utilization for plan in plans]
    assert all(0.3 < share < 0.5 for share in shares)
    assert sum(shares) <= 0.9
    assert {plan.environment["CUDA_VISIBLE_DEVICES"] for plan in plans} == {"0"}
    assert all(plan.estimate.floor.concurrency >= 1 for plan in plans)


def test_mig_devices_are_addressed_by_uuid():
    devices = tuple(
        replace(card, total_bytes=39 * GIB, is_mig=True, selector=f"MIG-{card.index}", index=0)
        for card in cards("H100-80GB", 2)
    )
    plan = plan_one(LLAMA_8B, Host(devices=devices))
    assert plan.environment["CUDA_VISIBLE_DEVICES"] == "MIG-0"
    assert plan.data_parallel_size == 1


def mig(card, *sizes_gib):
    """MIG instances of one card, by their memory."""
    whole = cards("H100-80GB")[0]
    return tuple(
        replace(whole, index=card, name=f"MIG {gib}", total_bytes=gib * GIB, is_mig=True, selector=f"MIG-{card}-{part}")
        for part, gib in enumerate(sizes_gib)
    )


def selector(plan):
    return plan.environment["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize("profile", ["balanced", "latency"])
def test_a_model_has_one_mig_instance_even_if_more_would_suit_it(profile):
    plan = plan_one(LLAMA_8B, Host(devices=(*mig(0, 21, 21), *mig(1, 21, 21))), profile=profile)
    assert (plan.setup.tensor_parallel_size, plan.data_parallel_size, len(plan.gpu_indices)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("wishes", "setting"),
    [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: 2"),
        ({"gpus": 2}, "tensor_parallel_size: 2"),
        ({"gpu_indices": [0, 1]}, "tensor_parallel_size: 2"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size: 2"),
        ({"pipeline_parallel_size": 2, "nodes": 2}, "pipeline_parallel_size: 2"),
        ({"replicas": 2}, "replicas: 2"),
    ],
)
def test_a_model_does_not_span_mig_instances(wishes, setting):
    with pytest.raises(SizingError, match="cannot span MIG instances") as refusal:
        plan_one(LLAMA_8B, Host(devices=(*mig(0, 39, 39), *mig(1, 39))), **wishes)
    assert refusal.value.found == setting
    assert f"set {setting[:-1]}1" in refusal.value.remedy


def test_ranks_pass_mig_instances_over():
    whole = [replace(card, index=card.index + 1) for card in cards("H100-80GB", 2)]
    host = Host(devices=(*mig(0, 39, 39), *whole))
    assert plan_one(LLAMA_8B, host, tensor_parallel_size=2).gpu_indices == (1, 2)
    for wishes in ({"tensor_parallel_size": 4}, {"gpu_indices": [0, 1]}):
        with pytest.raises(SizingError, match="cannot span MIG instances"):
            plan_one(LLAMA_8B, host, **wishes)


def test_a_card_that_is_named_gives_the_mig_instance_that_suits():
    host = Host(devices=(*mig(0, 39, 24, 9), *mig(1, 24, 24)))
    plans = plan_many(host, *((name, LLAMA_8B, {"gpu_indices": [0]}) for name in ("a", "b")))
    assert sorted(map(selector, plans)) == ["MIG-0-0", "MIG-0-1"]
    assert {plan.gpu_indices for plan in plans} == {(0,)}
    assert selector(plan_one(LLAMA_8B, host, gpu_indices=[1])) == "MIG-1-0"


def test_what_does_not_fit_a_mig_instance_is_not_told_to_join_some():
    with pytest.raises(SizingError, match="does not fit") as refusal:
        plan_one(QWEN_32B, Host(devices=mig(0, 39, 39)), max_model_len=8192)
    assert "tensor_parallel_size" not in refusal.value.remedy
    assert "larger GPU" in refusal.value.remedy


def test_amd_cards_have_a_variable_of_their_own():
    plan = plan_one(LLAMA_8B, Host(devices=cards("MI300X-192GB")))
    assert (plan.device, plan.environment) == ("rocm", {"HIP_VISIBLE_DEVICES": "0"})


def test_old_cards_compute_in_float16():
    plan = plan_one(LLAMA_8B, Host(devices=cards("T4", 4)))
    assert plan.setup.dtype == "float16"
    with pytest.raises(SizingError, match="does not compute in bfloat16"):
        plan_one(LLAMA_8B, Host(devices=cards("T4", 4)), dtype="bfloat16")


def compressed(**weights):
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


# vLLM's get_min_capability: of the quantization's class, for compressed-tensors of its scheme.
@pytest.mark.parametrize(
    ("quantization", "card", "older"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "A100-80GB", "T4"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "T4", "V100-32GB"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "T4", "V100-32GB"),
        ({"quant_method": "fbgemm_fp8"}, "A100-80GB", "T4"),
        ({"quant_method": "mxfp4"}, "A100-80GB", "T4"),
        ({"quant_method": "fp8"}, "T4", "V100-32GB"),
        (compressed(num_bits=4, type="int", group_size=128), "T4", "V100-32GB"),
        (compressed(num_bits=4, type="float", group_size=16), "T4", "V100-32GB"),
        (compressed(num_bits=4, type="float", group_size=32), "A100-80GB", "T4"),
    ],
)
def test_old_cards_have_no_kernels_for_some_formats(quantization, card, older):
    config = {**LLAMA_8B, "quantization_config": quantization}
    assert plan_one(config, Host(devices=cards(card)), max_model_len=1024)
    with pytest.raises(SizingError, match="weights need a newer card"):
        plan_one(config, Host(devices=cards(older)))


def test_auto_round_asks_no_more_than_gptq():
    config = {**LLAMA_8B, "quantization_config": {"quant_method": "auto-round", "bits": 4, "group_size": 128}}
    assert plan_one(config, Host(devices=cards("V100-32GB")))


def test_old_cards_have_no_kernels_for_some_formats_made_while_loading():
    assert plan_one(LLAMA_8B, Host(devices=cards("A100-80GB")), quantization="experts_int8")
    with pytest.raises(SizingError, match="experts_int8 weights need a newer card"):
        plan_one(LLAMA_8B, Host(devices=cards("T4")), quantization="experts_int8")


def test_weights_are_narrowed_on_request():
    host = Host(devices=cards("H100-80GB"))
    full = plan_one(LLAMA_8B, host)
    narrow = plan_one(LLAMA_8B, host, quantization="fp8")
    assert narrow.engine_args["quantization"] == "fp8"
    assert narrow.estimate.account.weights_bytes < 0.6 * full.estimate.account.weights_bytes


def test_the_length_is_what_leaves_the_wished_concurrency():
    host = Host(devices=cards("L4"))
    config = {**LLAMA_8B, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    few, many = (plan_one(config, host, concurrency=wanted) for wanted in (2, 8))
    assert few.setup.max_model_len > many.setup.max_model_len
    assert many.estimate.floor.concurrency >= 8
    assert many.setup.max_model_len % 1024 == 0


def test_a_fixed_cache_is_passed_on_and_counted():
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB")), kv_cache_memory_bytes=10 * GIB)
    assert plan.engine_args["kv-cache-memory-bytes"] == 10 * GIB
    assert plan.estimate.account.kv_expected_bytes == 10 * GIB


def test_measured_overheads_replace_predicted_ones():
    host = Host(devices=cards("H100-80GB"))
    plan = plan_one(LLAMA_8B, host, measured_overhead_bytes=GIB)
    account = plan.estimate.account
    assert account.kv_expected_bytes == account.budget_bytes - account.weights_bytes - GIB


def test_a_risky_utilization_is_the_operators_and_named():
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB")), gpu_memory_utilization=0.98)
    assert plan.setup.utilization == 0.98
    assert "0.98 leaves" in plan.warnings[0]


def test_a_risky_length_is_the_operators_and_named():
    host = Host(devices=cards("L4"))
    plan = plan_one(LLAMA_8B, host, max_model_len=24576)
    assert plan.estimate.expected.concurrency >= 1 > plan.estimate.floor.concurrency
    assert "not if the prediction is off" in plan.warnings[0]


def test_unsafe_models_are_said_to_be():
    config = {**LLAMA_8B, "model_type": "llama4_text", "attention_chunk_size": 8192}
    plan = plan_one(config, Host(devices=cards("H100-80GB")))
    assert plan.confidence == "low"
    assert any("estimate unsafe" in warning for warning in plan.warnings)


def test_options_that_take_memory_of_their_own_lower_the_floor():
    host = Host(devices=cards("H100-80GB"))
    plain = plan_one(LLAMA_8B, host, max_model_len=8192)
    drafted = plan_one(LLAMA_8B, host, max_model_len=8192, extra_args={"speculative-config": {"method": "ngram"}})
    assert drafted.confidence == "low"
    assert drafted.estimate.floor.tokens < plain.estimate.floor.tokens
    assert "draft model" in drafted.warnings[0]


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(SizingError) as refusal:
        plan_one(QWEN_32B, Host(devices=cards("L4")), max_model_len=8192)
    message = str(refusal.value)
    assert "does not fit on 1 × L4" in message
    assert "tensor_parallel_size: 4" in message
    assert "larger GPU, such as H100-80GB" in message
    # Taking the advice works.
    assert plan_one(QWEN_32B, Host(devices=cards("H100-80GB")), max_model_len=8192)
    assert plan_one(QWEN_32B, Host(devices=cards("L4", 4)), tensor_parallel_size=4, max_model_len=8192)


def test_a_shorter_context_is_offered_and_works():
    host = Host(devices=cards("L4"))
    with pytest.raises(SizingError) as refusal:
        plan_one(LLAMA_8B, host, max_model_len=65536)
    advice = refusal.value.remedy
    length = int(advice.split("max_model_len: ")[1].split(";")[0])
    assert plan_one(LLAMA_8B, host, max_model_len=length).estimate.floor.concurrency >= 1


def test_several_hosts_are_offered_for_the_largest():
    with pytest.raises(SizingError, match="hosts like this one"):
        plan_one(DEEPSEEK_V3, Host(devices=cards("L4", 8)))


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"tensor_parallel_size": 3}, "tensor_parallel_size 3 does not work"),
        ({"tensor_parallel_size": 8}, "not enough GPUs"),
        ({"replicas": 16}, "not enough GPUs"),
        ({"gpu_indices": [7]}, "there is no GPU 7"),
        ({"gpu_indices": [0, 1], "tensor_parallel_size": 1}, "gpu_indices names 2 GPUs"),
        ({"max_model_len": 200000}, "longer than the model was made for"),
        ({"gpus": 3, "pipeline_parallel_size": 2}, "do not divide into 2"),
    ],
)
def test_impossible_wishes(wishes, message):
    with pytest.raises(SizingError, match=message):
        plan_one(LLAMA_8B, Host(devices=cards("H100-80GB", 2)), **wishes)


QWEN3_30B_A3B_AWQ = {**QWEN3_30B_A3B, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}


def test_experts_that_cannot_be_split_may_stay_whole():
    host = Host(devices=cards("H100-80GB", 4))
    with pytest.raises(SizingError, match="do not fit into 768 / 4") as refusal:
        plan_one(QWEN3_30B_A3B_AWQ, host, tensor_parallel_size=4)
    assert "tensor_parallel_size: 2 or extra_args: {enable-expert-parallel: true}" in refusal.value.remedy
    for option in ("enable-expert-parallel", "enable_expert_parallel"):
        plan = plan_one(QWEN3_30B_A3B_AWQ, host, tensor_parallel_size=4, extra_args={option: True})
        assert plan.engine_args["enable-expert-parallel"] is True


def test_whole_experts_are_no_remedy_for_what_they_do_not_change():
    host = Host(devices=cards("H100-80GB", 4))
    # 32 heads do not divide by 3.
    with pytest.raises(SizingError) as refusal:
        plan_one(QWEN3_30B_A3B_AWQ, host, tensor_parallel_size=3)
    assert "expert" not in refusal.value.remedy
    with pytest.raises(SizingError, match="do not fit into 768 / 4"):
        plan_one(QWEN3_30B_A3B_AWQ, host, tensor_parallel_size=4, extra_args={"enable-expert-parallel": False})


def test_longer_contexts_are_allowed_where_rope_is_overridden():
    wishes = {"max_model_len": 200000, "extra_args": {"hf-overrides": {"rope_scaling": {"factor": 2}}}}
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB")), **wishes)
    assert plan.engine_args["hf-overrides"] == '{"rope_scaling": {"factor": 2}}'


def test_foreign_memory_is_refused_with_a_way_around():
    busy = (replace(cards("H100-80GB")[0], free_bytes=60 * GIB),)
    with pytest.raises(SizingError) as refusal:
        plan_one(LLAMA_8B, Host(devices=busy, running=frozenset()))
    assert "another process holds" in str(refusal.value)
    reserved = int(refusal.value.remedy.split("reserved_bytes: ")[1].split(",")[0])
    plan = plan_one(LLAMA_8B, Host(devices=busy, running=frozenset(), reserved_bytes=reserved))
    assert plan.estimate.account.budget_bytes <= 60 * GIB


@pytest.mark.parametrize("running", [None, frozenset({"m"}), frozenset({"other"})])
def test_memory_of_our_own_instances_does_not_change_the_plan(running):
    busy = (replace(cards("H100-80GB")[0], free_bytes=5 * GIB),)
    free = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB")))
    assert plan_one(LLAMA_8B, Host(devices=busy, running=running)).engine_args == free.engine_args


def test_models_that_do_not_fit_together_are_refused():
    host = Host(devices=cards("H100-80GB", 1))
    with pytest.raises(SizingError, match="GPUs already given to"):
        plan_many(host, ("a", QWEN_32B, {}), ("b", QWEN_32B, {}))


def test_devices_are_not_mixed_on_a_host():
    host = Host(devices=cards("H100-80GB", 1), memory_total_bytes=64 * GIB)
    with pytest.raises(SizingError, match="not from both"):
        plan_many(host, ("a", LLAMA_8B, {}), ("b", LLAMA_8B, {"device": "cpu"}))


def test_the_plan_as_plain_data():
    plan = plan_one(LLAMA_8B, Host(devices=cards("H100-80GB"), version=EngineVersion(0, 32))).as_dict()
    memory = plan["memory"]
    parts = ("weights_bytes", "activation_bytes", "cuda_graphs_bytes", "non_torch_bytes")
    total = sum(memory[part] for part in parts) + memory["kv_cache_bytes"]["expected"]
    assert total == memory["budget_bytes"] == memory["total_bytes"] - memory["free_bytes"]
    assert plan["kv_cache_tokens"]["floor"] < plan["kv_cache_tokens"]["expected"]
    assert all(reason.endswith(".") for reason in plan["reasons"])


def test_a_dtype_that_is_none_is_refused():
    with pytest.raises(SizingError, match="does not compute in float7"):
        plan_one(LLAMA_8B, Host(devices=cards("H100-80GB", 1)), dtype="float7")

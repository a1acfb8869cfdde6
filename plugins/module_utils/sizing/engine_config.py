"""A decided instance in the engine's own words: options for --config, variables for the EnvironmentFile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .estimate import Setup
from .hardware import Device
from .wishes import Wish


def engine_args(wish: Wish, setup: Setup, data_parallel_size: int, is_cpu: bool) -> dict[str, Any]:
    """Long options of `vllm serve` without their dashes.

    Lengths and batch sizes are always stated: vLLM's own defaults depend on the card and the release, and
    the memory that is left depends on them.
    """
    args: dict[str, Any] = {
        "model": wish.model,
        "served-model-name": wish.text("served_model_name") or wish.name,
    }
    for key in ("host", "port"):
        if wish.values.get(key) is not None:
            args[key] = wish.values[key]
    args["tensor-parallel-size"] = setup.tensor_parallel_size
    if setup.pipeline_parallel_size > 1:
        args["pipeline-parallel-size"] = setup.pipeline_parallel_size
    if data_parallel_size > 1:
        args["data-parallel-size"] = data_parallel_size
    args["dtype"] = setup.dtype
    if setup.kv_cache_dtype != "auto":
        args["kv-cache-dtype"] = setup.kv_cache_dtype
    if wish.text("quantization"):
        args["quantization"] = wish.text("quantization")
    args["max-model-len"] = setup.max_model_len
    args["max-num-seqs"] = setup.max_num_seqs
    args["max-num-batched-tokens"] = setup.max_num_batched_tokens
    if not is_cpu:
        args["gpu-memory-utilization"] = setup.utilization
        if setup.kv_cache_memory_bytes is not None:
            args["kv-cache-memory-bytes"] = setup.kv_cache_memory_bytes
    if wish.integer("block_size"):
        args["block-size"] = setup.block_size
    for key in ("enforce_eager", "trust_remote_code"):
        if wish.flag(key):
            args[key.replace("_", "-")] = True
    for key, value in wish.extra_args.items():
        # The engine's YAML reader passes values on as text; nested ones it expects as JSON.
        args[key] = json.dumps(value) if isinstance(value, Mapping) else value
    return args


def gpu_environment(wish: Wish, devices: Sequence[Device]) -> dict[str, str]:
    """Which cards the instance sees. CUDA numbers cards by speed unless told to follow the PCI bus, as
    the driver's tools do. The operator's own variables win."""
    selectors = ",".join(device.selector for device in devices)
    if devices and devices[0].vendor == "amd":
        chosen = {"HIP_VISIBLE_DEVICES": selectors}
    else:
        chosen = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": selectors}
    return {**chosen, **wish.environment}


def cpu_environment(wish: Wish, cache_gib: int, threads: str) -> dict[str, str]:
    """The CPU engine takes its cache size and its cores from variables. The operator's own win."""
    chosen = {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib), "VLLM_CPU_OMP_THREADS_BIND": threads}
    return {**chosen, **wish.environment}

"""Turn a published record and a flattened configuration into what a plan would start from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.estimate import Setup
from ansible_collections.llm.serving.plugins.module_utils.sizing.hardware import KnownCard, find_card
from ansible_collections.llm.serving.plugins.module_utils.sizing.overheads import engine_defaults
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import ModelShape, parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.units import GIB, MIB
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import (
    DEFAULT_VERSION,
    EngineVersion,
)

# The last release of the first engine: what a record without a version is taken for when it prints blocks
# instead of tokens, as only that engine did.
LAST_V0 = EngineVersion(0, 7, 3)
# A total that is the driver's and not CUDA's is recognised within this.
SAME_TOTAL_BYTES = 64 * MIB

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Unusable:
    """Why a record cannot be predicted."""

    reason: str


def version_of(record: Record) -> EngineVersion:
    """The record's release; without one, the newest, or the first engine's last if its wording is that one's."""
    if record.get("engine") == "V0":
        return LAST_V0
    if record.get("vllm") is not None:
        version = EngineVersion.parse(str(record["vllm"]))
        return version
    printed_blocks = record.get("kv_blocks") is not None and record.get("kv_tokens") is None
    return LAST_V0 if printed_blocks else DEFAULT_VERSION


def total_bytes_of(record: Record, card: KnownCard | None) -> int | None:
    """The device's total as CUDA reports it; None when neither it nor the card is known."""
    stated = record.get("gpu_total_gib")
    if stated is None:
        return int(card.cuda_gib * GIB) if card else None
    size = int(float(stated) * GIB)
    if card is not None and abs(card.driver_mib * MIB - size) < SAME_TOTAL_BYTES:
        return int(card.cuda_gib * GIB)
    return size


_QUANTIZATION: Mapping[str, Mapping[str, Any]] = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "w4a16": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "int4": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "fp8": {"quant_method": "fp8"},
    "w8a8-int8": {"quant_method": "int8"},
    "int8": {"quant_method": "int8"},
    "mxfp4": {"quant_method": "mxfp4"},
    "nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "modelopt": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "bitsandbytes": {"quant_method": "bitsandbytes"},
    "bnb": {"quant_method": "bitsandbytes"},
}


def quantization_config(record: Record, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The checkpoint's format: the record's own word, else its name, else the configuration's."""
    stated = str(record.get("quant") or "").lower()
    if not stated:
        match = re.search(r"awq|gptq|nvfp4|mxfp4|w4a16|int4|fp8", str(record.get("model", "")).lower())
        stated = match.group(0) if match else str(config.get("quant_method") or "")
    for name, description in _QUANTIZATION.items():
        if stated.startswith(name):
            return description
    return {"quant_method": stated} if stated else {}


def layer_types(counts: Mapping[str, int]) -> list[str]:
    """A list of layers with the given counts, kinds mixed evenly as models do."""
    total = sum(counts.values())
    names: list[str] = []
    given = dict.fromkeys(counts, 0)
    for position in range(1, total + 1):
        name = max(counts, key=lambda kind: counts[kind] * position / total - given[kind])
        given[name] += 1
        names.append(name)
    return names


def full_config(record: Record, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A flattened configuration in the form of a config.json."""
    full = dict(config)
    counts = config.get("layer_types_count")
    if isinstance(counts, Mapping):
        full["layer_types"] = layer_types(counts)
    if "model_type" not in full and "gemma-3" in name.lower():
        full["model_type"] = "gemma3_text"
    if config.get("has_vision"):
        full["vision_config"] = {}
    quantization = quantization_config(record, config)
    full.pop("quantization_config", None)
    if quantization:
        full["quantization_config"] = quantization
    if record.get("dtype"):
        full["torch_dtype"] = full["dtype"] = record["dtype"]
    return full


def shape_of(record: Record, configs: Mapping[str, Mapping[str, Any]]) -> ModelShape | Unusable:
    """The model's shape, if its configuration is known and says enough."""
    name = str(record.get("config_key") or record.get("model"))
    config = configs.get(name)
    if config is None:
        return Unusable("no configuration for this model")
    try:
        shape = parse_shape(full_config(record, config, name))
    except SizingError as error:
        return Unusable(f"configuration says too little ({error.message})")
    if not shape.vocab:
        return Unusable("configuration says too little (no vocab_size)")
    return shape


def setup_of(record: Record, shape: ModelShape, weights: str) -> Setup | Unusable:
    """The instance that the record describes."""
    if record.get("model_inferred"):
        return Unusable("model was inferred from the log, so the comparison is circular")
    if record.get("tp") is None:
        return Unusable("tensor-parallel size is not stated")
    gpu = str(record.get("gpu") or "")
    stated = record.get("gpu_total_gib")
    card = find_card(gpu, int(float(stated) * GIB) if stated else None) or find_card(gpu)
    total = total_bytes_of(record, card)
    if total is None:
        return Unusable(f"memory of the GPU is not known ({gpu or 'unnamed'})")
    version = version_of(record)
    length = int(record.get("max_model_len") or shape.max_position or 8192)
    defaults = engine_defaults(version, total, gpu, length)
    logged = record.get("weights_gib") if weights == "logged" else None
    sequences = int(record.get("max_num_seqs") or defaults.sequences)
    tokens = int(record.get("max_num_batched_tokens") or max(defaults.batched_tokens, sequences))
    return Setup(
        shape=shape,
        checkpoint=None,
        total_bytes=total,
        utilization=float(record.get("util") or defaults.utilization),
        dtype=shape.dtype,
        kv_cache_dtype=str(record.get("kv_cache_dtype") or "auto"),
        max_model_len=length,
        max_num_seqs=min(sequences, tokens),
        max_num_batched_tokens=tokens,
        version=version,
        tensor_parallel_size=int(record["tp"]),
        pipeline_parallel_size=int(record.get("pp") or 1),
        enforce_eager=bool(record.get("enforce_eager")),
        capability=card.capability if card else None,
        block_size=int(record.get("block_size") or 16),
        context_parallel_size=int(record.get("dcp") or 1),
        measured_weights_bytes=int(float(logged) * GIB) if logged else None,
    )

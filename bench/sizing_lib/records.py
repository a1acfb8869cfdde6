"""Turn a published record and a flattened configuration into what a plan would start from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.estimate import Setup
from ansible_collections.llm.serving.plugins.module_utils.sizing.hardware import KnownCard, find_card
from ansible_collections.llm.serving.plugins.module_utils.sizing.overheads import engine_defaults
from ansible_collections.llm.serving.plugins.module_utils.sizing.safetensors import CheckpointSize
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import ModelShape, parse_shape
from ansible_collections.llm.serving.plugins.module_utils.sizing.units import GIB, MIB
from ansible_collections.llm.serving.plugins.module_utils.sizing.version import (
    DEFAULT_VERSION,
    EngineVersion,
)

# The last release of the first engine: what a record without a version is taken for when it prints blocks
# instead of tokens, as only that engine did.
LAST_V0 = EngineVersion(0, 7, 3)
LAST_WITH_BLOCK_TOKENS = EngineVersion(0, 20)
UNSTATED_LENGTH = 8192
# A total that is the driver's and not CUDA's is recognised within this.
SAME_TOTAL_BYTES = 64 * MIB

Record = Mapping[str, Any]


_NUMBERS = (
    "block_size",
    "concurrency",
    "dcp",
    "gpu_count",
    "gpu_total_gib",
    "kv_blocks",
    "kv_cache_gib",
    "kv_tokens",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "pp",
    "tp",
    "util",
    "weights_gib",
)


@dataclass(frozen=True)
class Unusable:
    """Why a record cannot be predicted."""

    reason: str


def normalized(record: Record) -> Record:
    """The record without what is null, and with numbers for numbers; one that is none counts as not stated."""
    plain = {key: value for key, value in record.items() if value is not None}
    for key in _NUMBERS:
        if isinstance(plain.get(key), str):
            try:
                number = float(plain[key].replace(",", "").replace("_", ""))
                plain[key] = int(number) if number.is_integer() else number
            except ValueError:
                del plain[key]
    return plain


def version_of(record: Record) -> EngineVersion:
    """The record's release; without one, the newest, unless the log's wording is that of an older one.

    Blocks instead of tokens: the first engine. Tokens that are not concurrency × max_model_len: before 0.21.
    """
    if record.get("engine") == "V0":
        return LAST_V0
    if record.get("vllm") is not None:
        try:
            return EngineVersion.parse(str(record["vllm"]))
        except ValueError:
            # A nightly or a commit: the newest that is known.
            return DEFAULT_VERSION
    tokens, concurrency, length = (record.get(key) for key in ("kv_tokens", "concurrency", "max_model_len"))
    if record.get("kv_blocks") is not None and tokens is None:
        return LAST_V0
    if tokens and concurrency and length and abs(tokens / (concurrency * length) - 1) > 0.05:
        return LAST_WITH_BLOCK_TOKENS
    return DEFAULT_VERSION


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


# Models with a vision tower that a configuration of the text part alone does not show.
_MULTIMODAL = re.compile(r"gemma-3-(4|12|27)b|-vl-|vision|llava|pixtral|mistral-small-3\.[12]")
# Vocabularies by family, for configurations that were shortened too far; the first match counts.
_VOCABULARIES = (
    (r"qwen3\.[5-9]|qwen[4-9]", 248320),
    (r"qwen", 151936),
    (r"gemma", 262144),
    (r"llama-?[34]", 128256),
    (r"llama|mi[sx]tral-?[78]|mixtral", 32000),
    (r"mistral", 131072),
    (r"deepseek-v2|deepseek-coder-v2", 102400),
    (r"deepseek", 129280),
    (r"glm", 151552),
    (r"kimi", 163840),
    (r"gpt-oss", 201088),
)


def _fill_gaps(full: dict[str, Any], name: str) -> None:
    """What hand-written configurations leave out: the vocabulary by family, and the feed-forward width
    by the number of parameters in the model's name."""
    if not full.get("vocab_size"):
        found = next((size for pattern, size in _VOCABULARIES if re.search(pattern, name.lower())), None)
        if found:
            full["vocab_size"] = found
    billions = re.search(r"(\d+(?:\.\d+)?)b\b", name.lower())
    dense = not any(full.get(key) for key in ("num_experts", "n_routed_experts", "num_local_experts"))
    if full.get("intermediate_size") or not billions or not dense:
        return
    hidden, layers = full.get("hidden_size"), full.get("num_hidden_layers")
    heads, kv_heads = full.get("num_attention_heads"), full.get("num_key_value_heads")
    dim = full.get("head_dim") or (hidden // heads if hidden and heads else 0)
    if not (hidden and layers and heads and dim and full.get("vocab_size")):
        return
    attention = hidden * dim * 2 * (heads + (kv_heads or heads)) * layers
    embeddings = full["vocab_size"] * hidden * (1 if full.get("tie_word_embeddings") else 2)
    width = (float(billions.group(1)) * 1e9 - attention - embeddings) / (3 * hidden * layers)
    if width > hidden:
        full["intermediate_size"] = int(width) // 256 * 256


def full_config(record: Record, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A flattened configuration in the form of a config.json."""
    full = dict(config)
    counts = config.get("layer_types_count")
    if isinstance(counts, Mapping):
        full["layer_types"] = layer_types(counts)
    if "model_type" not in full and "gemma-3" in name.lower():
        full["model_type"] = "gemma3_text"
    if config.get("has_vision") or _MULTIMODAL.search(name.lower()):
        full["vision_config"] = {}
    quantization = quantization_config(record, config)
    full.pop("quantization_config", None)
    if quantization:
        full["quantization_config"] = quantization
    _fill_gaps(full, name)
    if record.get("dtype"):
        full["torch_dtype"] = full["dtype"] = record["dtype"]
    return full


def shape_of(record: Record, configs: Mapping[str, Mapping[str, Any]]) -> ModelShape | Unusable:
    """The model's shape, if its configuration is known and says enough."""
    name = str(record.get("config_key") or record.get("model"))
    config = configs.get(name)
    if config is None:
        return Unusable("no configuration for this model")
    if not config.get("num_key_value_heads") and config.get("generic_kv_formula_safe") is False:
        return Unusable("configuration says too little (KV heads differ by layer and are not listed)")
    try:
        shape = parse_shape(full_config(record, config, name))
    except SizingError as error:
        return Unusable(f"configuration says too little ({error.message})")
    if not shape.vocab:
        return Unusable("configuration says too little (no vocab_size)")
    return shape


def known_checkpoints(records: Sequence[Record]) -> dict[str, int]:
    """Sizes of checkpoints, by model, from those records that log the weights of a single rank."""
    return {
        str(record["model"]): int(float(record["weights_gib"]) * GIB)
        for record in records
        if record.get("model")
        and record.get("weights_gib")
        and record.get("tp") == 1
        and int(record.get("pp") or 1) == 1
    }


def setup_of(record: Record, shape: ModelShape, weights: str, checkpoints: Mapping[str, int]) -> Setup | Unusable:
    """The instance that the record describes.

    A real plan reads the checkpoint's size from its headers. Here the logged weights stand in for it, or those
    that another record of the same model logged; without either the configuration has to do.
    """
    if record.get("model_inferred"):
        return Unusable("model was inferred from the log, so the comparison is circular")
    tensor_parallel = record.get("tp") or record.get("gpu_count")
    if tensor_parallel is None:
        return Unusable("neither the tensor-parallel size nor the number of GPUs is stated")
    gpu = str(record.get("gpu") or "")
    stated = record.get("gpu_total_gib")
    card = find_card(gpu, int(float(stated) * GIB) if stated else None) or find_card(gpu)
    total = total_bytes_of(record, card)
    if total is None:
        return Unusable(f"memory of the GPU is not known ({gpu or 'unnamed'})")
    version = version_of(record)
    # A length that is not stated is not judged: any start allows this much.
    length = int(record.get("max_model_len") or min(shape.max_position or UNSTATED_LENGTH, UNSTATED_LENGTH))
    defaults = engine_defaults(version, total, gpu, length)
    logged = record.get("weights_gib") if weights == "logged" else None
    whole = checkpoints.get(str(record.get("model"))) if weights == "logged" and not logged else None
    sequences = int(record.get("max_num_seqs") or defaults.sequences)
    tokens = int(record.get("max_num_batched_tokens") or max(defaults.batched_tokens, sequences))
    return Setup(
        shape=shape,
        checkpoint=CheckpointSize(whole, {}, "another record of the same model") if whole else None,
        total_bytes=total,
        utilization=float(record.get("util") or defaults.utilization),
        dtype=shape.dtype,
        kv_cache_dtype=str(record.get("kv_cache_dtype") or "auto"),
        max_model_len=length,
        max_num_seqs=min(sequences, tokens),
        max_num_batched_tokens=tokens,
        version=version,
        tensor_parallel_size=int(tensor_parallel),
        pipeline_parallel_size=int(record.get("pp") or 1),
        enforce_eager=bool(record.get("enforce_eager")),
        capability=card.capability if card else None,
        is_unified=bool(record.get("unified_memory") or (card and card.unified)),
        block_size=int(record.get("block_size") or 16),
        context_parallel_size=int(record.get("dcp") or 1),
        measured_weights_bytes=int(float(logged) * GIB) if logged else None,
    )

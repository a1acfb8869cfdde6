"""How many bits a checkpoint's weights take, from its quantization_config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Quantization:
    """A checkpoint's weight format.

    bits: of one linear weight, its scales and zero points included; 16 when not quantized.
    experts_only: only expert weights are quantized (gpt-oss).
    block_size: a rank's feed-forward columns must be a multiple of it, also with 8 bits; 0 where that is free.
    minimum_capability: of an NVIDIA card, as (major, minor); None where there is no such limit.
    """

    method: str | None = None
    bits: float = 16.0
    group_size: int = 0
    experts_only: bool = False
    minimum_capability: tuple[int, int] | None = None
    block_size: int = 0

    @property
    def is_quantized(self) -> bool:
        """Whether any weights are narrower than 16 bits."""
        return self.method is not None


NOT_QUANTIZED = Quantization()

# Lowest compute capability per method, from the `get_min_capability` of vLLM's quantization classes: of 0.32, for
# bitsandbytes and GGUF of releases that still had them. For compressed-tensors its schemes' counts, which is higher.
MINIMUM_CAPABILITY: dict[str, tuple[int, int]] = {
    "awq": (7, 5),
    "gptq": (6, 0),
    "auto-round": (6, 0),
    "fp8": (7, 5),
    "fbgemm_fp8": (8, 0),
    "experts_int8": (8, 0),
    "compressed-tensors": (7, 5),
    "bitsandbytes": (7, 0),
    "modelopt": (8, 0),
    "modelopt_fp4": (7, 5),
    "modelopt_mixed": (7, 5),
    "mxfp4": (8, 0),
    "gguf": (6, 0),
}


def _grouped(bits: float, group_size: int, zero_points: bool) -> float:
    """Bits per weight with one 16-bit scale, and a zero point of `bits`, per group."""
    if group_size <= 0:
        return bits
    return bits + (16 + (bits if zero_points else 0)) / group_size


def _integer(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _compressed_tensors(config: Mapping[str, Any]) -> Quantization:
    """compressed-tensors states bits, type and group size per group of layers; the narrowest one rules."""
    groups = config.get("config_groups")
    candidates = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            candidates.append((_integer(weights, "num_bits", 16), weights))
    if not candidates:
        return Quantization("compressed-tensors", 16.0)
    bits, weights = min(candidates, key=lambda candidate: candidate[0])
    group_size = _integer(weights, "group_size", 0)
    if bits == 4 and weights.get("type") == "float":
        # NVFP4: an 8-bit scale per 16 weights. MXFP4: per 32.
        group_size = group_size or 16
        minimum = MINIMUM_CAPABILITY["mxfp4" if group_size == 32 else "compressed-tensors"]
        return Quantization("compressed-tensors", 4 + 8 / group_size, group_size, minimum_capability=minimum)
    return Quantization(
        "compressed-tensors",
        _grouped(bits, group_size, not weights.get("symmetric", True)),
        group_size,
        minimum_capability=MINIMUM_CAPABILITY["compressed-tensors"],
        block_size=_block_size(weights),
    )


def _block_size(weights: Mapping[str, Any]) -> int:
    """Of compressed-tensors' FP8 in blocks, such as [128, 128] or "128x128": vLLM refuses ranks that cut a matrix
    within one (validate_fp8_block_shape, and validate_fp8_block_shape_moe for experts)."""
    if weights.get("type") != "float" or weights.get("strategy") != "block":
        return 0
    structure = weights.get("block_structure")
    sides = structure.split("x") if isinstance(structure, str) else structure
    return math.lcm(*map(int, sides)) if isinstance(sides, list) else 0


def _integer_groups(config: Mapping[str, Any], method: str) -> Quantization:
    """AWQ, GPTQ and AutoRound: few bits, a scale and a zero point per group."""
    group_size = _integer(config, "group_size", 128)
    bits = _integer(config, "bits", _integer(config, "w_bit", 4))
    zero_points = bool(config.get("zero_point", method == "awq" or not config.get("sym", True)))
    return Quantization(
        method,
        _grouped(bits, group_size, zero_points),
        max(0, group_size),
        minimum_capability=MINIMUM_CAPABILITY.get(method, MINIMUM_CAPABILITY["auto-round"]),
    )


def _modelopt(config: Mapping[str, Any], method: str) -> Quantization:
    """NVIDIA ModelOpt: NVFP4, FP8 or a mixture, named here or one level below."""
    inner = config.get("quantization")
    inner_algorithm = inner.get("quant_algo") if isinstance(inner, Mapping) else ""
    algorithm = str(config.get("quant_algo") or inner_algorithm or method).upper()
    if "FP4" in algorithm or algorithm == "MODELOPT":
        # An 8-bit scale per 16 weights.
        return Quantization(method, 4.5, 16, minimum_capability=MINIMUM_CAPABILITY["modelopt_fp4"])
    minimum = MINIMUM_CAPABILITY["modelopt_mixed" if "MIXED" in algorithm else "modelopt"]
    return Quantization(method, 8.0, minimum_capability=minimum)


def _bitsandbytes(config: Mapping[str, Any]) -> Quantization:
    """A 32-bit scale per 64 weights, itself quantized to 8 bits where nested."""
    nested = bool(config.get("bnb_4bit_use_double_quant"))
    width = 8.0 if config.get("load_in_8bit") else 4 + (0.127 if nested else 0.5)
    return Quantization("bitsandbytes", width, 64, minimum_capability=MINIMUM_CAPABILITY["bitsandbytes"])


_EIGHT_BITS = ("fp8", "fbgemm_fp8", "deepseek_v4_fp8", "gguf", "hqq", "quark", "experts_int8", "int8", "w8a8")


def read_quantization(config: Mapping[str, Any], model_type: str = "") -> Quantization:
    """Understand a `quantization_config`; an unknown method counts as 16 bits, which is the safe side."""
    if not config:
        return NOT_QUANTIZED
    method = str(config.get("quant_method") or config.get("quant_algo") or "").lower()
    method = "modelopt" if not method and config.get("quantization") else method
    found = Quantization(method or "unknown", 16.0)
    if method in ("awq", "gptq", "auto-round", "auto_round", "intel/auto-round"):
        found = _integer_groups(config, method)
    elif method in _EIGHT_BITS:
        found = Quantization(method, 8.0, minimum_capability=MINIMUM_CAPABILITY.get(method, (7, 5)))
    elif method == "mxfp4":
        only_experts = model_type.startswith("gpt_oss")
        found = Quantization(method, 4.25, 32, only_experts, MINIMUM_CAPABILITY[method])
    elif method == "compressed-tensors":
        found = _compressed_tensors(config)
    elif method.startswith("modelopt") or method in ("nvfp4", "mixed_precision"):
        found = _modelopt(config, method)
    elif method == "bitsandbytes":
        found = _bitsandbytes(config)
    return found

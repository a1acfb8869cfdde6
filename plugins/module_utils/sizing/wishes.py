"""What an operator asks of one model: known keys with their types, near misses refused, old names translated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import SizingError
from .profiles import PROFILES

# Keys, the type of their value, and what they mean to the plan. Those not listed in _ENGINE_ONLY shape it.
TYPES: Mapping[str, type] = {
    "name": str,
    "model": str,
    "served_model_name": str,
    "host": str,
    "port": int,
    "profile": str,
    "device": str,
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "data_parallel_size": int,
    "nodes": int,
    "gpus": int,
    "gpu_indices": list,
    "concurrency": float,
    "dtype": str,
    "kv_cache_dtype": str,
    "quantization": str,
    "max_model_len": int,
    "max_num_seqs": int,
    "max_num_batched_tokens": int,
    "gpu_memory_utilization": float,
    "kv_cache_memory_bytes": int,
    "cpu_kv_cache_gib": int,
    "block_size": int,
    "enforce_eager": bool,
    "trust_remote_code": bool,
    "measured_overhead_bytes": int,
    "environment": dict,
    "extra_args": dict,
}

# Other names for the same thing: the seed's, vLLM's environment, and what people call it.
ALIASES: Mapping[str, str] = {
    "replicas": "data_parallel_size",
    "cuda_visible_devices": "gpu_indices",
    "vllm_cpu_kvcache_space": "cpu_kv_cache_gib",
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
}

# Options that the engine no longer takes, and what stands in for them today.
DEAD: Mapping[str, str] = {
    "disable_log_requests": "requests are not logged unless enable_log_requests is set; it is left out",
    "swap_space": "the engine no longer swaps its cache to RAM; it is left out",
    "num_scheduler_steps": "multi-step scheduling is gone; it is left out",
    "use_v2_block_manager": "there is one block manager only; it is left out",
    "max_seq_len_to_capture": "CUDA graphs are captured by batch size; it is left out",
}


@dataclass(frozen=True)
class Wish:
    """One model's wishes. None: the plan decides."""

    name: str
    model: str
    values: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    profile: str = "balanced"
    extra_args: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def integer(self, key: str) -> int | None:
        """A whole number that the operator set, or None."""
        value = self.values.get(key)
        return None if value is None else int(value)

    def number(self, key: str) -> float | None:
        """A number that the operator set, or None."""
        value = self.values.get(key)
        return None if value is None else float(value)

    def text(self, key: str) -> str | None:
        """A word that the operator set, or None."""
        value = self.values.get(key)
        return None if value is None else str(value)

    def flag(self, key: str) -> bool:
        """Whether the operator switched it on."""
        return bool(self.values.get(key))


def _converted(key: str, value: Any, name: str) -> Any:
    wanted = TYPES[key]
    try:
        if wanted is bool:
            return _boolean(value)
        if wanted is list:
            return _indices(value)
        if wanted is dict:
            return dict(value)
        if isinstance(value, bool):
            raise ValueError("a boolean")
        if wanted is int and isinstance(value, float) and value != int(value):
            raise ValueError("not a whole number")
        return wanted(value)
    except (TypeError, ValueError) as error:
        raise SizingError(
            f"{name}: {key} cannot be {value!r}",
            expected={int: "a whole number", float: "a number", list: "a list of GPU indices"}.get(
                wanted, wanted.__name__
            ),
            found=f"{value!r} ({error})",
            remedy=f"correct {key} of the model {name}",
        ) from error


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    key = str(value).strip().lower()
    if key not in words:
        raise ValueError("neither true nor false")
    return words[key]


def _indices(value: Any) -> list[int]:
    items = value.split(",") if isinstance(value, str) else value
    items = items if isinstance(items, (list, tuple)) else [items]
    return [int(item) for item in items]


def _check_ranges(name: str, values: Mapping[str, Any]) -> None:
    for key in (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "nodes",
        "gpus",
        "max_num_seqs",
        "max_num_batched_tokens",
        "kv_cache_memory_bytes",
        "cpu_kv_cache_gib",
        "block_size",
        "concurrency",
    ):
        if values.get(key) is not None and values[key] <= 0:
            raise SizingError(
                f"{name}: {key} must be positive",
                expected="1 or more",
                found=str(values[key]),
                remedy=f"correct {key}, or leave it out and it is planned",
            )
    utilization = values.get("gpu_memory_utilization")
    if utilization is not None and not 0 < utilization <= 1:
        raise SizingError(
            f"{name}: gpu_memory_utilization is a share",
            expected="more than 0, at most 1",
            found=str(utilization),
            remedy="0.90 is a common value",
        )


def parse_wish(raw: Mapping[str, Any]) -> Wish:
    """Read one entry of the operator's list. Raises SizingError on unknown keys and impossible values."""
    name = str(raw.get("name") or raw.get("served_model_name") or "")
    if not name or not raw.get("model"):
        raise SizingError(
            "every model needs a name and a model directory",
            expected="name and model",
            found=", ".join(sorted(map(str, raw))) or "nothing",
            remedy="add the missing key",
        )
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for original, value in raw.items():
        key = str(original).lower().lstrip("-").replace("-", "_")
        key = ALIASES.get(key, key)
        if key in DEAD:
            warnings.append(f"{original} is a dead option: {DEAD[key]}")
            continue
        if key not in TYPES:
            near = difflib.get_close_matches(key, [*TYPES, *ALIASES], 1)
            raise SizingError(
                f"{name}: unknown key {original!r}",
                expected=f"did you mean {near[0]!r}?" if near else "one of " + ", ".join(sorted(TYPES)),
                found=str(original),
                remedy="correct the key; options of vLLM that the plan does not know belong into extra_args",
            )
        if value is None or (key == "max_model_len" and str(value).lower() == "auto"):
            continue
        values[key] = _converted(key, value, name)
    extra = _extra_args(name, values, warnings)
    _check_ranges(name, values)
    profile_name = str(values.get("profile", "balanced"))
    if profile_name not in PROFILES:
        near = difflib.get_close_matches(profile_name, PROFILES, 1)
        raise SizingError(
            f"{name}: unknown profile {profile_name!r}",
            expected=" | ".join(PROFILES),
            found=profile_name,
            remedy=f"set profile: {near[0] if near else 'balanced'}",
        )
    return Wish(
        name=name,
        model=str(values["model"]),
        values=values,
        warnings=tuple(warnings),
        profile=profile_name,
        extra_args=extra,
        environment={str(key): str(value) for key, value in values.get("environment", {}).items()},
    )


def _extra_args(name: str, values: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Options for the engine alone. One that the plan decides on counts as the operator's own value."""
    extra: dict[str, Any] = {}
    for original, value in values.get("extra_args", {}).items():
        key = str(original).lower().lstrip("-").replace("-", "_")
        if key in DEAD:
            warnings.append(f"extra_args.{original} is a dead option: {DEAD[key]}")
        elif key in TYPES and key not in ("name", "environment", "extra_args", "profile"):
            if key in values and values[key] != _converted(key, value, name):
                raise SizingError(
                    f"{name}: {key} is set twice, with different values",
                    expected="one value",
                    found=f"{values[key]!r} and, in extra_args, {value!r}",
                    remedy=f"remove {original} from extra_args",
                )
            values[key] = _converted(key, value, name)
        else:
            extra[key.replace("_", "-")] = value
    return extra


def parse_wishes(raw: Sequence[Mapping[str, Any]]) -> list[Wish]:
    """Read the whole list. Raises SizingError when a name appears twice or two models want one port."""
    wishes = [parse_wish(entry) for entry in raw]
    for key, label in (("name", "name"), ("port", "port")):
        seen: dict[Any, str] = {}
        for wish in wishes:
            value = wish.name if key == "name" else wish.values.get(key)
            if value is None:
                continue
            if value in seen:
                raise SizingError(
                    f"two models of this host have the {label} {value}",
                    expected=f"a {label} of its own for each",
                    found=f"{seen[value]} and {wish.name}",
                    remedy=f"change the {label} of one of them",
                )
            seen[value] = wish.name
    return wishes

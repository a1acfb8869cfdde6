"""Learning from a start: what the engine measured replaces what was predicted, at the next one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .errors import SizingError
from .units import gib
from .wishes import Wish

# What the first plan decided and overhead depends on: the second takes it as given, and has no other overhead.
GIVEN = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "dtype",
    "max_num_seqs",
    "max_num_batched_tokens",
)
DESCRIBED = (*GIVEN, "device", "kv_cache_dtype", "max_model_len", "gpu_indices")


def signature(plan: Mapping[str, Any], version: str, cards: Sequence[str]) -> str:
    """Return what tells one configuration from another as far as its overhead goes.

    It is taken of the plan that knows of no measurement, which is the same in every run, so that what a measurement
    changes in the plan never leads to another measurement. `cards` are the names of the host's GPUs.
    """
    parts = {key: plan[key] for key in DESCRIBED}
    parts["options"] = {key: value for key, value in plan["engine_args"].items() if key not in ("host", "port")}
    text = json.dumps([parts, version, list(cards)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def learned(wish: Wish, plan: Mapping[str, Any], overhead_bytes: int) -> Wish:
    """Return a wish for the same configuration with the overhead that it was seen to have."""
    given = {key: plan[key] for key in GIVEN if plan[key] is not None}
    return replace(wish, values={**given, **wish.values, "measured_overhead_bytes": overhead_bytes})


def told_apart(reasons: Sequence[str], first: Sequence[str], wish: Wish, overhead_bytes: int) -> list[str]:
    """Return the reasons of a second plan, with those of the first for what only the first decided."""
    decided = {reason.split()[0]: reason for reason in first if reason.split()[0] in GIVEN}
    own = [
        decided.get(reason.split()[0], reason) if reason.split()[0] not in wish.values else reason for reason in reasons
    ]
    return [
        *own,
        f"overhead {gib(overhead_bytes)}: measured when this configuration was first started (vllm_recalibrate).",
    ]


def measurements(
    plans: Sequence[Mapping[str, Any]], signatures: Mapping[str, str], logs: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what the engines logged, by signature: for plans whose overhead was predicted, where it can be told.

    A cache of a fixed size says nothing about the overhead: `kv_cache_memory_bytes` of the operator's. A CPU host's is
    noted as 0 bytes, since what it has beside the cache is no part of the budget there.
    """
    found = {}
    for plan in plans:
        logged = (logs.get(plan["name"]) or {}).get("kv_cache_bytes")
        if logged is None or "kv-cache-memory-bytes" in plan["engine_args"]:
            continue
        try:
            overhead = 0 if plan["device"] == "cpu" else measured_overhead_bytes(plan["memory"], logged)
        except SizingError:
            continue
        found[signatures[plan["name"]]] = {"overhead_bytes": overhead, **logs[plan["name"]]}
    return found


def measured_overhead_bytes(memory: Mapping[str, Any], logged_kv_bytes: int) -> int:
    """Activations, graphs and non-torch memory of a start, for the wish `measured_overhead_bytes`.

    `memory` is the account of the plan that was started, `logged_kv_bytes` the engine's «Available KV cache
    memory». What is left of the budget after the plan's weights and that cache is overhead, so that the next
    plan's account closes; small errors of the weights go with it. Raises SizingError when the figures cannot
    belong together.
    """
    overhead = int(memory["budget_bytes"]) - int(memory["weights_bytes"]) - logged_kv_bytes
    if overhead < 0:
        raise SizingError(
            "the engine's log does not belong to this plan",
            expected=f"a KV cache of at most {gib(memory['budget_bytes'] - memory['weights_bytes'])}",
            found=gib(logged_kv_bytes),
            remedy="plan again with the settings that the engine was started with",
        )
    return overhead


def difference(memory: Mapping[str, Any], logged_kv_bytes: int) -> dict[str, Any]:
    """Plan against truth: bytes and shares of the budget, and whether the floor held."""
    expected, floor = memory["kv_cache_bytes"]["expected"], memory["kv_cache_bytes"]["floor"]
    return {
        "expected_bytes": expected,
        "floor_bytes": floor,
        "logged_bytes": logged_kv_bytes,
        "error_of_budget": (expected - logged_kv_bytes) / memory["budget_bytes"],
        "floor_held": logged_kv_bytes >= floor,
    }

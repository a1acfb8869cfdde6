"""Learning from a start: what the engine measured replaces what was predicted, at the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import SizingError
from .units import gib


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

"""Where each device's memory goes: segments that add up to the whole device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..sizing.cpu import HOST_RESERVE_BYTES
from ..sizing.plan_gpu import PROCESS_RESERVE_BYTES
from ..sizing.plans import Plan
from .fleet import Group

# What a bar is made of, in its order: kind, and its name in the legend.
KINDS: Mapping[str, str] = {
    "weights": "weights",
    "kv": "KV cache, certain",
    "margin": "KV cache, expected beyond that",
    "activation": "activations",
    "graphs": "CUDA graphs",
    "other": "context and libraries",
    "reserve": "reserve",
    "free": "free",
}
MOST_BARS = 8


@dataclass(frozen=True)
class Segment:
    """A part of a bar. owner: the instance that it belongs to, empty for what nobody uses."""

    kind: str
    size_bytes: int
    owner: str = ""


@dataclass(frozen=True)
class Bar:
    """One device, or several that are alike. The segments' sum is total_bytes."""

    title: str
    total_bytes: int
    segments: tuple[Segment, ...]


def plan_segments(plan: Plan) -> list[Segment]:
    """An instance's budget on one device."""
    account, name = plan.estimate.account, plan.wish.name
    expected = max(0, account.kv_expected_bytes)
    floor = min(expected, max(0, account.kv_floor_bytes))
    parts = [
        ("weights", account.weights_bytes),
        ("kv", floor),
        ("margin", expected - floor),
        ("activation", account.activation_bytes),
        ("graphs", account.cuda_graphs_bytes),
        ("other", account.non_torch_bytes),
    ]
    return [Segment(kind, size, name) for kind, size in parts if size > 0]


def bars(group: Group) -> list[Bar]:
    """The bars of a group of hosts."""
    if group.engine == "ollama":
        return _pool_bars(group.ollama.get("memory") or {}, _loaded(group.ollama))
    plans = [outcome.plan for outcome in group.outcomes if outcome.plan is not None]
    if not group.host.devices:
        reserve = group.host.reserved_bytes + HOST_RESERVE_BYTES
        return [_bar("RAM", group.host.memory_total_bytes, plans, reserve)] if group.host.memory_total_bytes else []
    found = []
    for device in group.host.devices:
        users = [plan for plan in plans if device.index in plan.gpu_indices]
        if device.is_mig:
            users = [plan for plan in users if device.selector in str(plan.environment.get("CUDA_VISIBLE_DEVICES"))]
        reserve = group.host.reserved_bytes + PROCESS_RESERVE_BYTES * len(users)
        title = f"MIG {device.name}" if device.is_mig else f"GPU {device.index}"
        found.append(_bar(title, device.total_bytes, users, reserve))
    return _collapsed(found)


def _bar(title: str, total_bytes: int, plans: Sequence[Plan], reserve_bytes: int) -> Bar:
    segments = [segment for plan in plans for segment in plan_segments(plan)]
    left = total_bytes - sum(segment.size_bytes for segment in segments)
    # The operator's own values may ask for more than there is: the bar then is as long as they ask for.
    reserve = max(0, min(left, reserve_bytes))
    rest = [Segment("reserve", reserve), Segment("free", left - reserve)]
    segments += [segment for segment in rest if segment.size_bytes > 0]
    return Bar(title, max(total_bytes, total_bytes - left), tuple(segments))


def _collapsed(found: list[Bar]) -> list[Bar]:
    """Every bar of its own up to eight; beyond, those alike become one."""
    if len(found) <= MOST_BARS:
        return found
    alike: dict[tuple[int, tuple[Segment, ...]], list[str]] = {}
    for drawn in found:
        alike.setdefault((drawn.total_bytes, drawn.segments), []).append(drawn.title)
    return [
        Bar(titles[0] if len(titles) == 1 else f"{titles[0]} to {titles[-1]}: {len(titles)}, each", total, segments)
        for (total, segments), titles in alike.items()
    ]


def _loaded(planned: Mapping[str, Any]) -> int:
    return int((planned.get("environment") or {}).get("OLLAMA_MAX_LOADED_MODELS") or 1)


def _pool_bars(memory: Mapping[str, Any], loaded: int) -> list[Bar]:
    total = int(memory.get("total_bytes") or 0)
    if not total:
        return []
    known = [model for model in memory.get("models") or () if model.get("need_bytes")]
    known.sort(key=lambda model: -int(model["need_bytes"]))
    segments: list[Segment] = []
    for model in known[:loaded]:
        segments += _ollama_segments(model)
    left = total - sum(segment.size_bytes for segment in segments)
    reserve = max(0, min(left, total - int(memory.get("usable_bytes") or total)))
    rest = [Segment("reserve", reserve), Segment("free", left - reserve)]
    segments += [segment for segment in rest if segment.size_bytes > 0]
    return [Bar(str(memory.get("pool") or "memory"), max(total, total - left), tuple(segments))]


def _ollama_segments(model: Mapping[str, Any]) -> list[Segment]:
    """Weights, cache and the rest of what a model needs; with layers on the CPU all of it shrinks alike."""
    need, name = int(model["need_bytes"]), str(model["name"])
    weights = int(model.get("weights_bytes") or 0)
    tokens = int(model.get("context") or 0) * int(model.get("parallel") or 1)
    cache = int(tokens * float(model.get("kv_cache_bytes_per_token") or 0))
    share = min(1.0, need / (weights + cache)) if weights + cache else 1.0
    weights, cache = int(weights * share), int(cache * share)
    parts = [("weights", weights), ("kv", cache), ("other", need - weights - cache)]
    return [Segment(kind, size, name) for kind, size in parts if size > 0]

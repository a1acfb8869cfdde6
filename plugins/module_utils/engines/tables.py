"""Plans, and plans against what the engine logged, as a person reads them in a play's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GIB = 1 << 30
NONE = "–"
# How far an engine's figure may lie from the expected one before it deserves a word.
TOLERANCE = 0.05


def plan_lines(plans: Sequence[Mapping[str, Any]], warnings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a table of the plans, their byte accounts, and the reasons."""
    header = ["model", "device", "TP×PP×DP", "dtype", "context", "sequences", "batch", "KV tokens", "at once"]
    rows = [
        [
            str(plan["name"]),
            _device(plan),
            "×".join(str(plan[key]) for key in _PARALLEL),
            str(plan["dtype"]),
            _count(plan["max_model_len"]),
            _count(plan["max_num_seqs"]),
            _count(plan["max_num_batched_tokens"]),
            _count(plan["kv_cache_tokens"]["expected"]),
            f"{plan['concurrency']:.1f}",
        ]
        for plan in plans
    ]
    lines = table(header, rows)
    for plan in plans:
        lines += ["", f"{plan['name']}, memory per rank: {_account(plan['memory'])}"]
        lines += [f"  - {reason}" for reason in plan["reasons"]]
        lines += [f"  ! {warning}" for warning in [*warnings.get(plan["name"], ()), *plan["warnings"]]]
    return lines


def report_lines(plans: Sequence[Mapping[str, Any]], probes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each instance answered, and its plan beside what its engine logged."""
    header = ["model", "figure", "planned", "engine", "difference"]
    rows: list[list[str]] = []
    replies: list[str] = []
    for plan, probe in zip(plans, probes):
        log = probe.get("engine_log") or {}
        for label, planned, found, show in _figures(plan, log):
            rows.append([str(plan["name"]), label, show(planned), show(found), _difference(planned, found)])
        replies += _replies(plan, probe)
    return [*replies, "", *table(header, rows), *_remarks(plans, probes)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned columns."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in [header, ["─" * width for width in widths], *rows]
    ]


_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def _device(plan: Mapping[str, Any]) -> str:
    indices = ",".join(str(index) for index in plan["gpu_indices"])
    return f"{plan['device']} {indices}".strip()


def _account(memory: Mapping[str, Any]) -> str:
    parts = [
        ("total", memory["total_bytes"]),
        ("budget", memory["budget_bytes"]),
        ("weights", memory["weights_bytes"]),
        ("KV cache", memory["kv_cache_bytes"]["expected"]),
        ("activations", memory["activation_bytes"]),
        ("graphs", memory["cuda_graphs_bytes"]),
        ("other", memory["non_torch_bytes"]),
        ("free", memory["free_bytes"]),
    ]
    return ", ".join(f"{label} {_gib(value)}" for label, value in parts if value is not None)


def _figures(plan: Mapping[str, Any], log: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Return label, planned value, found value and how to show it; only what either side knows."""
    memory = plan["memory"]
    figures = [
        ("KV cache tokens", plan["kv_cache_tokens"]["expected"], log.get("kv_cache_tokens"), _count),
        ("KV cache", memory["kv_cache_bytes"]["expected"], log.get("kv_cache_bytes"), _gib),
        ("weights", memory["weights_bytes"], log.get("weights_bytes"), _gib),
        ("activations", memory["activation_bytes"], log.get("activation_bytes"), _gib),
        ("CUDA graphs", memory["cuda_graphs_bytes"], log.get("cuda_graphs_bytes"), _gib),
    ]
    return [figure for figure in figures if figure[0] == "KV cache tokens" or figure[2] is not None]


def _replies(plan: Mapping[str, Any], probe: Mapping[str, Any]) -> list[str]:
    checks = probe.get("checks") or {}
    lines = [f"{plan['name']} answers: {', '.join(checks)}"]
    for name, check in checks.items():
        if check.get("ttft_seconds") is not None:
            lines.append(
                f"  {name}: first token after {check['ttft_seconds'] * 1000:.0f} ms, "
                f"{check.get('completion_tokens', 0)} tokens in {check['latency_seconds'] * 1000:.0f} ms"
            )
    return lines


def _remarks(plans: Sequence[Mapping[str, Any]], probes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for plan, probe in zip(plans, probes):
        found = (probe.get("engine_log") or {}).get("kv_cache_tokens")
        floor = plan["kv_cache_tokens"]["floor"]
        if found is None:
            lines.append(f"{plan['name']}: the journal no longer holds what the engine logged when it started")
        elif found < floor:
            lines.append(
                f"{plan['name']}: the engine has less KV cache than planned at least ({_count(found)} of"
                f" {_count(floor)} tokens): something else takes memory; `reasons` of the plan say what was assumed"
            )
    return ["", *lines] if lines else []


def _difference(planned: Any, found: Any) -> str:
    if planned is None or found is None:
        return NONE
    if planned == found:
        return "exact"
    if not planned:
        return f"{found - planned:+}"
    share = (found - planned) / planned
    return f"{share:+.1%}" + (" !" if share < -TOLERANCE else "")


def _count(value: Any) -> str:
    return NONE if value is None else f"{value:,}"


def _gib(value: Any) -> str:
    return NONE if value is None else f"{value / GIB:.2f} GiB"

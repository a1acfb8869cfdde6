"""Which servers a play measures, and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import BenchmarkError
from .report.text import duration, number, percent


def engine_targets(routes: Iterable[Mapping[str, Any]], models: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return what to measure of a host's routes: the named models, or all."""
    chosen = [route for route in routes if not models or route["model"] in models]
    names = [route["model"] for route in chosen]
    targets = []
    for route in chosen:
        model, port = str(route["model"]), str(route["port"])
        address = f"[{route['address']}]" if ":" in str(route["address"]) else route["address"]
        alone = names.count(model) == 1
        targets.append(
            {
                "engine": str(route["engine"]),
                "model": model,
                "url": f"http://{address}:{port}",
                "folder": folder_name(model if alone else f"{model}-{port}"),
                "title": f"{model} on {route['host']}",
            }
        )
    return targets


def named_targets(models: Sequence[str], url: str) -> list[dict[str, str]]:
    """Return what to measure behind a URL. Raises BenchmarkError when no model is named."""
    if not models:
        raise BenchmarkError(
            "benchmark_models: expected the names of the models to measure behind benchmark_url, found none"
        )
    return [
        {"engine": "", "model": model, "url": url, "folder": folder_name(model), "title": f"{model} at {url}"}
        for model in models
    ]


def folder_name(model: str) -> str:
    """Return a name that is one folder on every file system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", model).lstrip("._") or "model"


def said(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each load, and one for the promise."""
    lines = []
    for stage in summary["stages"]:
        requests, throughput = stage["requests"], stage["throughput"]
        line = (
            f"{stage['label']}: {number(throughput['requests_per_second'])} answers/s, "
            f"{number(throughput['output_tokens_per_second'])} tokens/s, "
            f"first token {duration(stage['ttft_seconds']['p50'])} (p95 {duration(stage['ttft_seconds']['p95'])}), "
            f"per token {duration(stage['tpot_seconds']['p50'])}, "
            f"whole answer {duration(stage['e2e_seconds']['p50'])} (p95 {duration(stage['e2e_seconds']['p95'])}), "
            f"{requests['failed']} of {requests['sent']} failed"
        )
        lines.append(line + (f", {percent(stage['goodput']['share'])} as promised" if stage["goodput"] else ""))
    knee = summary["knee"]
    if knee:
        lines.append(f"knee: {knee['label']}")
    if summary["slo"]:
        lines.append(f"promise {'kept' if summary['slo']['met'] else 'NOT kept'}: {summary['slo']['promise']}")
    return lines

"""Predict one record, compare, and sum up."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.sizing.estimate import (
    Estimate,
    Setup,
    estimate,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.kv_cache import token_bytes
from ansible_collections.llm.serving.plugins.module_utils.sizing.parallelism import stage_layers
from ansible_collections.llm.serving.plugins.module_utils.sizing.remedies import remedies
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import ModelShape
from ansible_collections.llm.serving.plugins.module_utils.sizing.units import GIB

from .baselines import BASELINES
from .records import Record, Unusable, setup_of, shape_of


@dataclass
class Result:
    """One record beside its prediction. Errors are shares of utilization × total; None: not in the log."""

    id: str
    model: str
    excluded: str | None = None
    predicted_gib: float | None = None
    floor_gib: float | None = None
    logged_gib: float | None = None
    budget_gib: float | None = None
    error: float | None = None
    floor_held: bool | None = None
    tokens_predicted: int | None = None
    tokens_logged: int | None = None
    tokens_error: float | None = None
    bytes_per_token_error: float | None = None
    outcome: str | None = None
    verdict: str | None = None
    verdict_right: bool | None = None
    remedies: list[str] = field(default_factory=list)
    confidence: str = "normal"
    baselines: dict[str, float] = field(default_factory=dict)
    weights_error: float | None = None
    bytes_excluded: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for --json."""
        return asdict(self)


def measure(
    record: Record,
    configs: Mapping[str, Mapping[str, Any]],
    weights: str = "logged",
    checkpoints: Mapping[str, int] | None = None,
) -> Result:
    """Predict a record and compare it with what it logged."""
    result = Result(str(record.get("id")), str(record.get("model")), outcome=record.get("outcome"))
    result.tokens_logged = record.get("kv_tokens")
    result.logged_gib = record.get("kv_cache_gib")
    shape = shape_of(record, configs)
    if isinstance(shape, Unusable):
        result.excluded = result.bytes_excluded = shape.reason
        _bytes_from_plain_config(result, record, configs)
        return result
    _compare_bytes(result, record, shape)
    setup = setup_of(record, shape, weights, checkpoints or {})
    if isinstance(setup, Unusable):
        result.excluded = setup.reason
        return result
    found = estimate(setup)
    _compare(result, record, setup, found)
    return result


def _compare(result: Result, record: Record, setup: Setup, found: Estimate) -> None:
    budget = setup.utilization * setup.total_bytes
    result.budget_gib = budget / GIB
    result.predicted_gib = found.account.kv_expected_bytes / GIB
    result.floor_gib = found.account.kv_floor_bytes / GIB
    result.confidence = "normal" if found.is_safe else "low"
    fits = found.account.kv_expected_bytes > 0 and found.expected.concurrency >= 1
    result.verdict = "ok" if fits else "fail"
    if result.outcome in ("ok", "fail"):
        result.verdict_right = result.verdict == result.outcome
    if not fits:
        result.remedies = remedies(setup, int(record.get("gpu_count") or 1))
    logged_weights = record.get("weights_gib")
    if logged_weights:
        from_config = estimate(replace(setup, measured_weights_bytes=None)).account.weights_bytes
        result.weights_error = from_config / (float(logged_weights) * GIB) - 1
    if result.logged_gib is not None:
        logged = float(result.logged_gib) * GIB
        result.error = (found.account.kv_expected_bytes - logged) / budget
        result.floor_held = logged >= found.account.kv_floor_bytes
        result.baselines = {
            name: (estimate_bytes(setup, found.account.weights_bytes) - logged) / budget
            for name, estimate_bytes in BASELINES.items()
        }
    if result.tokens_logged and record.get("max_model_len"):
        result.tokens_predicted = found.expected.tokens
        result.tokens_error = found.expected.tokens / int(result.tokens_logged) - 1


def _compare_bytes(result: Result, record: Record, shape: ModelShape) -> None:
    """Bytes per token, from what the log says about both memory and tokens, at the logged memory."""
    if record.get("model_inferred"):
        result.bytes_excluded = "model was inferred from the log"
    elif shape.is_hybrid or any("sliding" in layer.cache.kind for layer in shape.layers):
        result.bytes_excluded = "hybrid: the printed tokens are no memory figure"
    elif shape.unsafe:
        result.bytes_excluded = "layers differ"
    if result.bytes_excluded:
        return
    per_token = max(
        token_bytes(shape, layers, int(record.get("tp") or 1), str(record.get("kv_cache_dtype") or "auto"), shape.dtype)
        for layers in stage_layers(shape, int(record.get("pp") or 1))
    )
    _bytes_error(result, record, per_token)


def _bytes_from_plain_config(result: Result, record: Record, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Configurations too short for a plan may still say how many bytes a token takes."""
    config = configs.get(str(record.get("config_key") or record.get("model")), {})
    heads, dim, layers = (config.get(key) for key in ("num_key_value_heads", "head_dim", "num_hidden_layers"))
    plain = config.get("attention_kind") in ("mha", "gqa", "mqa") and not record.get("model_inferred")
    if plain and heads and dim and layers:
        result.bytes_excluded = None
        _bytes_error(result, record, layers * 2 * max(1, heads // int(record.get("tp") or 1)) * dim * 2.0)


def _bytes_error(result: Result, record: Record, per_token: float) -> None:
    if not result.logged_gib or float(result.logged_gib) <= 0:
        return
    tokens = record.get("kv_tokens")
    if not tokens and record.get("kv_blocks"):
        tokens = int(record["kv_blocks"]) * int(record.get("block_size") or 16)
    if tokens:
        logged = float(result.logged_gib) * GIB / int(tokens) * int(record.get("dcp") or 1)
        result.bytes_per_token_error = per_token / logged - 1


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of the values do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def summarize(results: Sequence[Result]) -> dict[str, Any]:
    """What the records come to together."""
    compared = [result for result in results if result.error is not None]
    errors = [abs(result.error) for result in compared if result.error is not None]
    tokens = [abs(result.tokens_error) for result in results if result.tokens_error is not None]
    per_token = [abs(result.bytes_per_token_error) for result in results if result.bytes_per_token_error is not None]
    fails = [result for result in results if result.outcome == "fail" and result.verdict is not None]
    passes = [result for result in results if result.outcome == "ok" and result.verdict is not None]
    weights = [abs(result.weights_error) for result in results if result.weights_error is not None]
    median = statistics.median(errors) if errors else None
    baselines = {}
    for name in BASELINES:
        values = [abs(result.baselines[name]) for result in compared]
        middle = statistics.median(values) if values else None
        baselines[name] = {
            "median": middle,
            "p90": quantile(values, 0.9),
            "times_worse": middle / median if middle is not None and median else None,
        }
    return {
        "records": len(results),
        "excluded": {result.id: result.excluded for result in results if result.excluded},
        "kv_memory": {
            "compared": len(errors),
            "median": median,
            "p90": quantile(errors, 0.9),
            "largest": max(errors, default=None),
            "floor_violated": sum(result.floor_held is False for result in compared),
        },
        "tokens": {
            "compared": len(tokens),
            "median": statistics.median(tokens) if tokens else None,
            "p90": quantile(tokens, 0.9),
        },
        "bytes_per_token": {
            "compared": len(per_token),
            "within_1_percent": sum(value <= 0.01 for value in per_token),
        },
        "must_fail": {
            "compared": len(fails),
            "refused": sum(result.verdict == "fail" for result in fails),
            "with_remedy": sum(result.verdict == "fail" and bool(result.remedies) for result in fails),
        },
        "must_start": {
            "compared": len(passes),
            "accepted": sum(result.verdict == "ok" for result in passes),
        },
        "weights_from_config": {
            "compared": len(weights),
            "median": statistics.median(weights) if weights else None,
            "p90": quantile(weights, 0.9),
        },
        "baselines": baselines,
    }

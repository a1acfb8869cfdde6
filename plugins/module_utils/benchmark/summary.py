"""Records become figures. Failures are counted and have no part in any latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .numbers import spread
from .records import Record
from .settings import Stage
from .slo import Slo

MIN_STAGES_FOR_KNEE = 3
# With fewer, the 99th percentile is nothing but the worst request.
MIN_FOR_P99 = 100
# More tokens in a piece than this, and gaps between pieces are no gaps between tokens.
MANY_TOKENS_IN_A_PIECE = 1.5


@dataclass(frozen=True)
class ClientWork:
    """What a stage cost the client itself."""

    busy_share: float
    """CPU seconds per second of the one processor that an event loop can use."""
    loop_lag_p99_seconds: float
    """How late the event loop was for its own timer."""
    events: int
    """Pieces of text that came."""


def stage_summary(
    stage: Stage, records: Sequence[Record], seconds: float, work: ClientWork, slo: Slo | None
) -> dict[str, Any]:
    """Return the figures of one stage. `seconds` is from its first request to the end of its last one."""
    good = [record for record in records if record.ok]
    failures = Counter(record.failure for record in records if record.failure)
    output = sum(record.output_tokens or 0 for record in good)
    source = sum(record.input_tokens or 0 for record in good)
    seconds = max(seconds, 1e-9)
    return {
        "number": stage.number,
        "label": stage.label,
        "mode": stage.mode,
        "load": stage.load,
        "seconds": round(seconds, 3),
        "requests": {
            "planned": stage.requests,
            "sent": len(records),
            "ok": len(good),
            "failed": len(records) - len(good),
            "most_at_once": most_at_once(records),
        },
        "failures": [
            {"kind": kind, "count": count, "message": _first_message(records, kind)}
            for kind, count in failures.most_common()
        ],
        "throughput": {
            "requests_per_second": round(len(good) / seconds, 4),
            "output_tokens_per_second": round(output / seconds, 3),
            "input_tokens_per_second": round(source / seconds, 3),
        },
        "input_tokens": spread(r.input_tokens for r in good if r.input_tokens is not None),
        "output_tokens": spread(r.output_tokens for r in good if r.output_tokens is not None),
        "tokens_from": sorted({record.tokens_from for record in good}),
        "ttft_seconds": spread(r.ttft_seconds for r in good if r.ttft_seconds is not None),
        "itl_seconds": spread(gap for r in good for gap in r.itl_seconds),
        "tpot_seconds": spread(tpot for r in good if (tpot := r.tpot_seconds) is not None),
        "e2e_seconds": spread(r.latency_seconds for r in good),
        "goodput": _goodput(slo, stage, records, seconds),
        "client": {
            "busy_share": round(work.busy_share, 4),
            "loop_lag_p99_seconds": round(work.loop_lag_p99_seconds, 6),
            "send_lag_p99_seconds": spread(r.send_lag_seconds for r in records)["p99"],
            "events_per_second": round(work.events / seconds, 1),
        },
    }


def most_at_once(records: Iterable[Record]) -> int:
    """Return how many requests were under way at the same time, at most."""
    steps = sorted(step for record in records for step in ((record.start_seconds, 1), (record.end_seconds, -1)))
    now = most = 0
    for step in steps:
        now += step[1]
        most = max(most, now)
    return most


def knee(stages: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the load beyond which more of it buys waiting rather than answers, or None when that is not known.

    It is where throughput divided by latency, Kleinrock's «power», is largest (Kleinrock 1979, «Power and
    deterministic rules of thumb for probabilistic problems in computer communications»). With fewer than three loads
    of a kind, or when the heaviest of them is still the best, no knee has been seen.
    """
    for mode in ("open", "closed"):
        found = [stage for stage in stages if stage["mode"] == mode and stage["e2e_seconds"]["count"]]
        if len(found) < MIN_STAGES_FOR_KNEE:
            continue
        best = max(found, key=_power)
        if best is not found[-1]:
            return {"mode": mode, "load": best["load"], "label": best["label"], "number": best["number"]}
    return None


def _power(stage: dict[str, Any]) -> float:
    return float(stage["throughput"]["requests_per_second"] / stage["e2e_seconds"]["p50"])


def _goodput(slo: Slo | None, stage: Stage, records: Sequence[Record], seconds: float) -> dict[str, Any] | None:
    if slo is None:
        return None
    good = sum(slo.good(record) for record in records)
    return {
        "good": good,
        "share": round(good / len(records), 6) if records else 0.0,
        "requests_per_second": round(good / seconds, 4),
        "judged": slo.judges(stage.mode, stage.load),
    }


def _first_message(records: Iterable[Record], kind: str | None) -> str:
    return next(record.message for record in records if record.failure == kind)


def named(labels: Iterable[str], stages: Sequence[Any]) -> str:
    """Return some loads in words: all of them are not listed."""
    listed = list(labels)
    return "every load" if len(listed) == len(stages) > 1 else ", ".join(listed)


def _tokens_in_a_piece(stage: dict[str, Any]) -> float:
    tokens, pieces = stage["output_tokens"], stage["itl_seconds"]["count"] + stage["ttft_seconds"]["count"]
    return float(tokens["mean"] * tokens["count"] / pieces) if tokens["count"] and pieces else 0.0


def caveats(stages: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a reader of the figures must know."""
    found = []
    if any("chunks" in stage["tokens_from"] for stage in stages):
        found.append(
            "The server did not say how many tokens it wrote: pieces of text were counted instead, and a piece may "
            "hold several tokens."
        )
    dense = {stage["label"]: _tokens_in_a_piece(stage) for stage in stages if stage["tokens_from"] == ["usage"]}
    dense = {label: tokens for label, tokens in dense.items() if tokens > MANY_TOKENS_IN_A_PIECE}
    if dense:
        found.append(
            f"At {named(dense, stages)}: a piece of text holds {max(dense.values()):.1f} tokens on average. Gaps are "
            "those between pieces, and so is slo.itl_seconds; the time per output token counts tokens."
        )
    few = [stage["label"] for stage in stages if 0 < stage["requests"]["ok"] < MIN_FOR_P99]
    if few:
        found.append(
            f"Fewer than {MIN_FOR_P99} answers at {named(few, stages)}: the 99th percentile there is little more than "
            "the slowest answer. Set requests or stage_seconds higher."
        )
    cut = [stage["label"] for stage in stages if stage["requests"]["sent"] < stage["requests"]["planned"]]
    if cut:
        found.append(f"The time of a stage (stage_seconds) was over before every request was sent: {', '.join(cut)}.")
    return found

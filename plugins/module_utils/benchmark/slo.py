"""What the operator promises, and whether a run kept it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import BenchmarkError
from .numbers import percentile
from .records import Record

LIMITS = ("ttft_seconds", "tpot_seconds", "itl_seconds", "e2e_seconds")
WORDS = {
    "ttft_seconds": "first token",
    "tpot_seconds": "time per output token",
    "itl_seconds": "gap between tokens",
    "e2e_seconds": "whole answer",
}


@dataclass(frozen=True)
class Slo:
    """Limits for a request, and the share of requests that must keep all of them."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    itl_seconds: float | None = None
    """Limits the 95th percentile of a request's own gaps, so that one hiccup in a long answer is forgiven."""
    e2e_seconds: float | None = None
    share: float = 0.95
    max_failed_share: float = 0.01
    up_to_concurrency: int | None = None
    up_to_rate: float | None = None
    """Heavier loads are measured and not judged."""

    def good(self, record: Record) -> bool:
        """Whether a request succeeded within every limit. What does not apply to it (no second token) is kept."""
        if not record.ok:
            return False
        found = {
            "ttft_seconds": record.ttft_seconds,
            "tpot_seconds": record.tpot_seconds,
            "itl_seconds": percentile(sorted(record.itl_seconds), 95) if record.itl_seconds else None,
            "e2e_seconds": record.latency_seconds,
        }
        return all(value is None or value <= limit for value, limit in ((found[n], v) for n, v in self.limits()))

    def limits(self) -> list[tuple[str, float]]:
        """Return the limits that are set."""
        return [(name, value) for name in LIMITS if (value := getattr(self, name)) is not None]

    def describe(self) -> str:
        """Return the promise in words."""
        limits = ", ".join(f"{WORDS[name]} within {value:g} s" for name, value in self.limits())
        return f"{100 * self.share:g} % of requests: {limits}"

    def judges(self, mode: str, load: float) -> bool:
        """Whether a load is one of those that the promise is about."""
        limit = self.up_to_concurrency if mode == "closed" else self.up_to_rate
        return limit is None or load <= limit

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**dict(self.limits()), "share": self.share, "max_failed_share": self.max_failed_share}


def read_slo(given: Mapping[str, Any] | None) -> Slo | None:
    """Return the promise that an option describes, or None. Raises BenchmarkError when it cannot be kept or broken."""
    values = {name: value for name, value in (given or {}).items() if value is not None}
    if not values:
        return None
    slo = Slo(**values)
    if not slo.limits():
        raise BenchmarkError(f"slo: expected at least one of {', '.join(LIMITS)}, found {', '.join(values)}")
    for name, value in slo.limits():
        if value <= 0:
            raise BenchmarkError(f"slo.{name}: expected more than 0, found {value:g}")
    if not 0 < slo.share <= 1 or not 0 <= slo.max_failed_share <= 1:
        raise BenchmarkError(
            f"slo: expected 0 < share ≤ 1 and 0 ≤ max_failed_share ≤ 1, "
            f"found share {slo.share:g}, max_failed_share {slo.max_failed_share:g}"
        )
    return slo


def unmet(slo: Slo, stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each part of the promise that is broken: expected, found at each load, what to set."""
    judged = [stage for stage in stages if slo.judges(stage["mode"], stage["load"])]
    if not judged:
        return [
            f"slo: expected a load to judge, found none up to concurrency {slo.up_to_concurrency} "
            f"and rate {slo.up_to_rate}; "
            "set slo.up_to_concurrency or slo.up_to_rate to a load that is measured"
        ]
    broken: dict[str, dict[str, str]] = {}
    for stage in judged:
        where, requests = stage["label"], stage["requests"]
        failed = requests["failed"] / requests["sent"] if requests["sent"] else 1.0
        if failed > slo.max_failed_share:
            expected = f"at most {100 * slo.max_failed_share:g} % failures (slo.max_failed_share)"
            found = f"{100 * failed:.1f} % ({requests['failed']} of {requests['sent']})"
            broken.setdefault(expected, {})[where] = found
        share = stage["goodput"]["share"]
        if share < slo.share:
            expected = f"{100 * slo.share:g} % of requests (slo.share) with {_limits(slo)}"
            broken.setdefault(expected, {})[where] = f"{100 * share:.1f} %; {_found(slo, stage)}"
    return [_sentence(expected, found) for expected, found in broken.items()]


def _sentence(expected: str, found: Mapping[str, str]) -> str:
    """Return what was expected once, however many loads did not keep it."""
    if len(found) == 1:
        where, what = next(iter(found.items()))
        return f"{where}: expected {expected}, found {what}"
    return f"expected {expected}, found " + "; ".join(
        f"{where}: {what.replace(';', ',')}" for where, what in found.items()
    )


def _limits(slo: Slo) -> str:
    return ", ".join(f"{WORDS[name]} ≤ {value:g} s (slo.{name})" for name, value in slo.limits())


def _found(slo: Slo, stage: Mapping[str, Any]) -> str:
    parts = []
    for name in dict(slo.limits()):
        values = stage[name]
        parts.append(f"{WORDS[name]} p95 {values['p95']:.3g} s" if values["count"] else f"{WORDS[name]} not measured")
    return ", ".join(parts)

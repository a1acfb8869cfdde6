"""Arithmetic on lists of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

PERCENTILES = (50, 90, 95, 99)
DIGITS = 6


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of numbers in ascending order, interpolated linearly between neighbours.

    The same as numpy's default, method 7 of Hyndman and Fan (1996). Raises IndexError without numbers.
    """
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return count, mean, least, most and percentiles; all but the count are None without values."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, **dict.fromkeys(["mean", "min", "max", *(f"p{p}" for p in PERCENTILES)])}
    return {
        "count": len(ordered),
        "mean": round(math.fsum(ordered) / len(ordered), DIGITS),
        "min": round(ordered[0], DIGITS),
        "max": round(ordered[-1], DIGITS),
        **{f"p{p}": round(percentile(ordered, p), DIGITS) for p in PERCENTILES},
    }

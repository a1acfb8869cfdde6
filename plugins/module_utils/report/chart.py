"""Concurrency against context length: both axes logarithmic, so a fixed number of tokens is a straight line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..sizing.alternatives import Point

LEAST = 0.1


def tokens(value: float) -> str:
    """A context length as people say it: 8k, 128k, 1M."""
    if value >= 1024**2:
        return f"{value / 1024**2:.3g}M"
    return f"{value / 1024:.3g}k" if value >= 1024 else f"{value:.0f}"


class Scale:
    """A logarithmic axis from 0 to 100 percent."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = math.log(low), math.log(max(high, low * 1.01))

    def percent(self, value: float) -> float:
        """Where a value is."""
        place = 100 * (math.log(max(value, 1e-9)) - self.low) / (self.high - self.low)
        return min(100.0, max(0.0, place))


def _length_ticks(low: float, high: float) -> list[int]:
    powers = [2**exponent for exponent in range(4, 25) if low * 0.99 <= 2**exponent <= high * 1.01]
    step = max(1, -(-len(powers) // 6))
    return powers[::-1][::step][::-1]


def _count_ticks(low: float, high: float) -> list[float]:
    digits = (1,) if high / low > 300 else (1, 2, 5)
    values = [digit * 10.0**exponent for exponent in range(-2, 7) for digit in digits]
    return [value for value in values if low * 0.99 <= value <= high * 1.01]


def chart(points: Sequence[Point], planned: Point, sequences: int, label: str) -> str:
    """An SVG whose words keep their size at every width. `label` is escaped already."""
    shown = [point for point in points if point.expected > 0]
    if len(shown) < 2:
        return ""
    low = max(LEAST, 0.9 * min(1.0, *(point.floor for point in shown)))
    high = max(1.2, max(point.expected for point in shown) * 1.15)
    across = Scale(shown[0].length, shown[-1].length)
    up = Scale(low, high)

    def x(length: float) -> float:
        return across.percent(length)

    def y(count: float) -> float:
        return 100 - up.percent(count)

    def path(values: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x(length):.2f} {y(count):.2f}" for length, count in values)

    upper = [(point.length, point.expected) for point in shown]
    lower = [(point.length, point.floor) for point in shown]
    parts = [f'<svg class="chart" role="img" aria-label="{label}">']
    for count in _count_ticks(low, high):
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y(count):.2f}%" y2="{y(count):.2f}%"/>')
        parts.append(f'<text class="tick" x="-8" y="{y(count):.2f}%" dy="4" text-anchor="end">{count:g}</text>')
    for length in _length_ticks(shown[0].length, shown[-1].length):
        place = x(length)
        anchor = "end" if place > 94 else "start" if place < 3 else "middle"
        parts.append(f'<line class="grid" y1="0" y2="100%" x1="{place:.2f}%" x2="{place:.2f}%"/>')
        parts.append(
            f'<text class="tick" x="{place:.2f}%" y="100%" dy="18" text-anchor="{anchor}">{tokens(length)}</text>'
        )
    parts.append('<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">')
    parts.append(f'<path class="band" d="{path(upper)}L{path(lower[::-1])[1:]}Z"/>')
    parts.append(f'<path class="floor" d="{path(lower)}"/><path class="line" d="{path(upper)}"/></svg>')
    for count, name, kind in ((1.0, "one request", "one"), (float(sequences), f"max_num_seqs {sequences}", "cap")):
        if low < count < high:
            parts.append(f'<line class="{kind}" x1="0" x2="100%" y1="{y(count):.2f}%" y2="{y(count):.2f}%"/>')
            parts.append(f'<text class="note" x="6" y="{y(count):.2f}%" dy="-5">{name}</text>')
    place = x(planned.length)
    # The line falls: below it on the left and above it on the right is room for words.
    anchor, shift = ("end", -12) if place > 50 else ("start", 12)
    above = y(planned.expected)
    drop = 22 if place > 50 and above < 88 else -12
    parts.append(
        f'<circle class="dot" cx="{place:.2f}%" cy="{above:.2f}%" r="6"/>'
        f'<text class="mark" x="{place:.2f}%" y="{above:.2f}%" dx="{shift}" dy="{drop}" '
        f'text-anchor="{anchor}">planned: {planned.expected:.1f} × {tokens(planned.length)}</text></svg>'
    )
    return "".join(parts)

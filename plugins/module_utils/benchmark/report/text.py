"""Numbers as people read them, and text that cannot become markup."""

from __future__ import annotations

from html import escape
from typing import Any

NONE = "–"


def esc(value: Any) -> str:
    """Return text that is safe inside of elements and attributes."""
    return escape(str(value), quote=True)


def duration(seconds: float | None) -> str:
    """Return a time with three digits, in ms below a second."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{number(seconds * 1000)} ms"
    return f"{number(seconds)} s" if seconds < 120 else f"{number(seconds / 60)} min"


def number(value: float | None) -> str:
    """Return a number with about three digits, thousands set apart by a thin space."""
    if value is None:
        return NONE
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def percent(share: float | None) -> str:
    """Return a share in percent; nearly all and nearly none are not rounded to all and none."""
    if share is None:
        return NONE
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"


def plural(count: int, one: str, many: str) -> str:
    """Return a count with its noun."""
    return f"{number(count)} {one if count == 1 else many}"

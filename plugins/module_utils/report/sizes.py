"""Sizes as a person reads them."""

from __future__ import annotations

from ..sizing.units import GIB, MIB, gib


def size(value_bytes: float) -> str:
    """`12.3 GiB`, and `4.2 MiB` where gibibytes would show nothing."""
    if 0 < abs(value_bytes) < GIB / 20:
        return f"{value_bytes / MIB:.1f} MiB"
    return gib(value_bytes)

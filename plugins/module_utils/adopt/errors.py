"""What keeps a host from being taken over."""

from __future__ import annotations


class AdoptError(ValueError):
    """What was expected, what was found, and what to do. Nothing was changed unless it says so."""

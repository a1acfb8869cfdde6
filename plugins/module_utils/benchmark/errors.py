"""What can go wrong on purpose."""

from __future__ import annotations


class BenchmarkError(Exception):
    """A setting that cannot work, or a server that does not answer: what was expected, what was found, what to set."""

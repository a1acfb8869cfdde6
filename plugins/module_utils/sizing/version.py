"""vLLM's version, as far as its memory arithmetic depends on it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class EngineVersion:
    """Major, minor and patch number; pre-releases count as the release they precede."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> EngineVersion:
        """Read `0.33.0`, `0.11`, `~0.10.2` or `0.20.1rc1`. Raises ValueError on anything else."""
        match = re.match(r"^[~v]?(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
        if match is None:
            raise ValueError(f"not a version of vLLM: {text!r} (expected something like 0.33.0)")
        major, minor, patch = match.groups()
        return cls(int(major), int(minor), int(patch or 0))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


# The release this collection installs, and the newest whose source the formulas were read from.
DEFAULT_VERSION = EngineVersion(0, 33, 0)

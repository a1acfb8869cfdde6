# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to try before a server is given up."""

from __future__ import annotations

import random
from dataclasses import dataclass

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to try. A failure counts only until bytes come again."""

    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    longest_asked_wait_seconds: float = 600.0  # of a Retry-After header
    stall_seconds: float = 30.0
    slowest_bytes_per_second: float = 1024.0  # less, over stall_seconds, is a stall

    def wait_seconds(self, failures: int, asked_seconds: float | None) -> float:
        """How long to wait after so many failures in a row; never less than the server asks for."""
        if asked_seconds is not None:
            return min(asked_seconds, self.longest_asked_wait_seconds)
        wait = min(self.first_wait_seconds * 2.0 ** (failures - 1), self.longest_wait_seconds)
        return wait * random.uniform(0.8, 1.2)  # noqa: S311 - many hosts must not come back at once


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header's seconds; None when there is none, or a date."""
    return float(value) if value and value.isdigit() else None

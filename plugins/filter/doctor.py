# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's report over all hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..module_utils.doctor.report import render


def doctor_report(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the findings of every host as text."""
    return render(hosts)


class FilterModule:
    """Filters of the doctor."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"doctor_report": doctor_report}

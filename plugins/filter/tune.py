# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/tune.yml tries, and what it chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..module_utils.tune import choose, page


class FilterModule:
    """Filters of playbooks/tune.yml."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "tune_candidates": choose.candidates,
            "tune_best": choose.best,
            "tune_report": choose.report,
            "tune_page": page.render,
        }

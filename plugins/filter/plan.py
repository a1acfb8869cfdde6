# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/plan.yml works out on the control node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plan_sources(models: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return name, model and revision of each entry."""
    return [
        {"name": str(model["name"]), "model": str(model["model"]), "revision": str(model.get("revision") or "main")}
        for model in models
    ]


class FilterModule:
    """Filters of the playbook plan."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"plan_sources": plan_sources}

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks ask of an inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.utils.display import Display

# What the playbooks are for. A fleet need not have all of them.
GROUPS = ("vllm", "ollama", "gateway", "mirror", "monitoring", "monitored")
NOBODY = "!all"
ANSIBLES_OWN = ("all", "ungrouped")
DISPLAY = Display()


def present_groups(pattern: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Return those of a play's groups that have hosts, as a pattern; nobody, where there are none.

    Warns when all hosts of the inventory are in other groups than the collection's: one may be misspelt.
    """
    there = [name for name in pattern.split(":") if groups.get(name)]
    if there:
        return ":".join(there)
    # Of an empty inventory Ansible itself warns.
    if groups.get("all") and not any(groups.get(name) for name in GROUPS):
        found = ", ".join(name for name in groups if name not in ANSIBLES_OWN) or "none"
        DISPLAY.warning(
            f"no host to play: expected some in the group {pattern.replace(':', ' or ')}, found the groups {found}: "
            "put hosts into that group, or name the right inventory by -i"
        )
    return NOBODY


class FilterModule:
    """Makes the functions known to templates."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"present_groups": present_groups}

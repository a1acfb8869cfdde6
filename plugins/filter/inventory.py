# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks ask of an inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

# What the playbooks are for. A fleet need not have all of them.
GROUPS = ("vllm", "ollama", "gateway", "mirror", "monitoring")
NOBODY = "!all"
ANSIBLES_OWN = ("all", "ungrouped")


def present_groups(pattern: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Return those of a play's groups that have hosts, as a pattern; nobody, where others are there.

    Raises AnsibleFilterError when all hosts of the inventory are in other groups: a misspelt one would otherwise be a
    run that does nothing and succeeds.
    """
    there = [name for name in pattern.split(":") if groups.get(name)]
    if there:
        return ":".join(there)
    # A syntax check needs no inventory, and of an empty one Ansible itself warns.
    if not groups.get("all") or any(groups.get(name) for name in GROUPS):
        return NOBODY
    found = ", ".join(name for name in groups if name not in ANSIBLES_OWN) or "none"
    wanted = pattern.replace(":", " or ")
    raise AnsibleFilterError(
        f"the inventory has no host to play: expected some in the group {wanted}, found the groups {found}: "
        "put hosts into that group, or name the right inventory by -i"
    )


class FilterModule:
    """Makes the functions known to templates."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"present_groups": present_groups}

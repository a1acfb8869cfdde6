# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall's rules, with the inventory's names made into addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.firewall.rules import FirewallError, compile_rules


def firewall_rules(
    rules: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return rules as nftables needs them."""
    try:
        return [asdict(rule) for rule in compile_rules(rules, groups, lambda host: hostvars[host])]
    except FirewallError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of the firewall role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"firewall_rules": firewall_rules}

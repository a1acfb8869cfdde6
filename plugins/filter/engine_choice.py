# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which engine suits a wished model on a host, without a round trip to the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.module_utils.engines.choice import choose, host_from_facts, wish_from


def engine_choice(wish: object, gpu: object, *, is_edge: bool = False) -> dict[str, Any]:
    """Return the choice for a wish."""
    if not isinstance(wish, Mapping) or not isinstance(gpu, Mapping):
        raise AnsibleFilterError("engine_choice: expected a wish and ansible_facts.gpu, both dictionaries")
    try:
        return choose(host_from_facts(gpu, is_edge), wish_from(wish)).as_dict()
    except ValueError as error:
        raise AnsibleFilterError(f"engine_choice: {error}") from error


class FilterModule:
    """The collection's filter for choosing engines."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"engine_choice": engine_choice}

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in the environment of what is installed and fetched."""

from __future__ import annotations

from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.support.passwords import environment_problems


class FilterModule:
    """The collection's filter for environments."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"environment_problems": environment_problems}

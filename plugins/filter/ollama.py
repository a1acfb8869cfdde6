# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of an Ollama host say."""

from __future__ import annotations

from typing import Any

from ..module_utils.ollama.placement import cpu_models


class FilterModule:
    """Makes the functions known to templates."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ollama_cpu_models": cpu_models}

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known to be wrong with an engine's version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.engines.vulnerabilities import problems, report, warnings


def engine_vulnerabilities(version: str, engine: str) -> dict[str, Any]:
    """Return {as_of, upgrade_to, refused, warned} for a version of vllm or ollama."""
    try:
        return report(engine, version)
    except ValueError as error:
        raise AnsibleFilterError(f"{engine}_version: {error}") from error


def engine_problems(version: str, engine: str) -> list[str]:
    """Return why a version should not be served. What is no version at all is for others to refuse."""
    try:
        return problems(engine, version)
    except ValueError:
        return []


def engine_warnings(version: str, engine: str, allowed: bool) -> list[str]:
    """Return what is wrong with a version that is served all the same."""
    try:
        return warnings(engine, version, allowed)
    except ValueError:
        return []


class FilterModule:
    """Filters of the engine roles."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "engine_problems": engine_problems,
            "engine_vulnerabilities": engine_vulnerabilities,
            "engine_warnings": engine_warnings,
        }

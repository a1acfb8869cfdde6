# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus scrapes, from what the inventory says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.monitoring.shares import shares
from ..module_utils.monitoring.targets import TargetError, consoles, ollama_url, targets
from ..module_utils.ollama.values import OllamaError


def monitoring_targets(
    monitor: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the targets of each job, as the monitor reaches them."""
    try:
        return targets(monitor, groups, lambda host: hostvars[host])
    except TargetError as error:
        raise AnsibleFilterError(str(error)) from error


def monitoring_problems(
    monitor: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return what the monitor could not reach."""
    try:
        targets(monitor, groups, lambda host: hostvars[host])
    except TargetError as error:
        return [str(error)]
    return []


def monitoring_ollama_shares(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return how much of Ollama's models has to be on GPUs, where that is not all of each."""
    try:
        return shares(groups, lambda host: hostvars[host])
    except (TargetError, OllamaError) as error:
        raise AnsibleFilterError(str(error)) from error


def monitoring_consoles(
    gateway: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return what a gateway shows to operators."""
    try:
        return consoles(gateway, groups, lambda host: hostvars[host])
    except TargetError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of the monitoring role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "monitoring_consoles": monitoring_consoles,
            "monitoring_ollama_shares": monitoring_ollama_shares,
            "monitoring_ollama_url": ollama_url,
            "monitoring_problems": monitoring_problems,
            "monitoring_targets": monitoring_targets,
        }

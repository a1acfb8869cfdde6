"""From an inventory to how much of Ollama's models has to be on GPUs, where that is not all of each."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..gateway.discover import serving
from ..ollama.placement import cpu_models
from ..ollama.store import full_name
from .targets import TargetError, Variables

ALL_PERCENT = 100.0


def shares(groups: Mapping[str, Sequence[str]], variables: Variables) -> list[dict[str, Any]]:
    """Return `{host, percent}` of hosts that ask for less than all, and `{host, model, percent}` of models for the CPU.

    Raises TargetError for a percentage that is none, OllamaError for a model's name that is none.
    """
    found: list[dict[str, Any]] = []
    for host in serving("ollama", groups, variables):
        values = variables(host)
        percent = _percent(host, values.get("ollama_gpu_percent", ALL_PERCENT))
        if percent < ALL_PERCENT:
            found.append({"host": host, "percent": percent})
        names = cpu_models(values.get("ollama_models") or (), values.get("ollama_gpu_layers"))
        found += [{"host": host, "model": full_name(name), "percent": 0.0} for name in names]
    return found


def _percent(host: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TargetError(f"ollama_gpu_percent of {host}: expected a number from 0 to 100, found {value!r}") from None

"""A plan without any host, from the variables of a command line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..sizing.errors import SizingError
from ..sizing.what_if import ImaginedGpus, parse_gpus
from ..sizing.wishes import ALIASES, DEAD, TYPES

# What the rules of the engine choice know beyond a wish.
CIRCUMSTANCES: Mapping[str, type] = {
    "goal": str,
    "effort": str,
    "latency_sensitive": bool,
    "switches_models": bool,
}
OWN = ("gpu", "model")
# Variables of a command line that begin like this are the collection's or Ansible's own.
PREFIXES = ("plan_", "models_", "vllm_", "ollama_", "ansible_")
_WISHES = (*TYPES, *ALIASES, *DEAD)


@dataclass(frozen=True)
class WhatIf:
    """Cards, and the wishes for them."""

    gpus: list[ImaginedGpus]
    wishes: list[dict[str, Any]]
    circumstances: dict[str, Any]


def parse(variables: Mapping[str, Any]) -> WhatIf:
    """Read -e variables. Raises SizingError for unknown cards, missing models and misspelt wishes."""
    gpus = parse_gpus(_listed(variables.get("gpu") or ""))
    named = _listed(variables.get("model"))
    if not named:
        raise SizingError(
            "what-if plans need a model",
            expected="-e model=organisation/name, or a directory",
            remedy="add -e model=Qwen/Qwen2.5-32B-Instruct",
        )
    common: dict[str, Any] = {}
    circumstances: dict[str, Any] = {}
    for original, value in variables.items():
        key = str(original).lower().replace("-", "_")
        if key in OWN or key.startswith(PREFIXES):
            continue
        if key in CIRCUMSTANCES:
            truth = str(value).lower() in ("true", "yes", "on", "1")
            circumstances[key] = truth if CIRCUMSTANCES[key] is bool else str(value)
        elif key in _WISHES:
            common[key] = value
        else:
            _refuse_near_miss(key)
    models = named if isinstance(named, (list, tuple)) else [named]
    wishes = [{"name": _short(str(model)), **common, "model": str(model)} for model in models]
    return WhatIf(gpus, wishes, circumstances)


def _listed(value: Any) -> Any:
    """A list that was written as JSON: -e key=value gives it as text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise SizingError(f"{value!r} is no list: {error}", expected='such as ["4xH100-80GB","8xL4"]') from error
    return value


def _short(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2] or model


def _refuse_near_miss(key: str) -> None:
    """A variable that is nearly a wish was meant as one; any other is somebody else's."""
    near = difflib.get_close_matches(key, [*_WISHES, *CIRCUMSTANCES, *OWN], 1, 0.8)
    if near:
        raise SizingError(
            f"there is no wish {key!r}", expected=f"did you mean {near[0]!r}?", found=key, remedy=f"write {near[0]}"
        )

"""Where models are meant to be: the ones for the CPU, as the inventory has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# As a number, and as an inventory's template or an old variable may have it.
NO_LAYERS = (0, "0")


def cpu_models(models: Iterable[Mapping[str, Any]], layers: Any = None) -> list[str]:
    """Return the names of the models that are to keep off the GPUs. layers: the `num_gpu` of those that set none."""
    return [model["name"] for model in models if (model.get("parameters") or {}).get("num_gpu", layers) in NO_LAYERS]

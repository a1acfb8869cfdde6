"""A model in few kilobytes: what a host tells the control node about a directory of 60 GB.

A checkpoint of 64 layers has 64 tensors of each name; of a mixture of experts, 256 times as many. So tensors
are told once per name, with the layers that have them, and the experts of a layer are told as one. That keeps
every sum that sizing makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..hub.errors import ModelError
from ..hub.names import is_commit
from ..hub.store import Home
from .model_files import read_files
from .plans import ModelFiles
from .safetensors import CheckpointSize, TensorInfo
from .shape import parse_shape

_LAYER = re.compile(r"(\.(?:layers|h|blocks|block)\.)(\d+)(\.)")
_EXPERT = re.compile(r"(\.experts\.)\d+(\.)")
HOLE = "#"


def describe(config: Mapping[str, Any], checkpoint: CheckpointSize | None) -> dict[str, Any]:
    """Plain data from which `from_description` makes the same shape and the same sums."""
    told: dict[str, Any] = {"config": dict(config), "checkpoint": None}
    if checkpoint is not None:
        told["checkpoint"] = {
            "total_bytes": checkpoint.total_bytes,
            "source": checkpoint.source,
            "tensors": _grouped(_merged(checkpoint.tensors)),
        }
    return told


def find_directory(model: str, revision: str, root: str) -> str | None:
    """Where a host has a model: the directory itself, or the snapshot of a repository below `root`."""
    if model.startswith("/"):
        return model if Path(model).is_dir() else None
    try:
        home = Home(Path(root), model)
        commit = revision if is_commit(revision) else home.known_commit(revision)
        snapshot = home.snapshot(commit) if commit else None
    except ModelError:
        return None
    return str(snapshot) if snapshot is not None and snapshot.is_dir() else None


def describe_directory(directory: str) -> dict[str, Any]:
    """Describe what a directory holds. Raises SizingError when it is no whole model."""
    return {"path": directory, **describe(*read_files(directory))}


def from_description(told: Mapping[str, Any]) -> ModelFiles:
    """Shape and weights of a described model. Raises SizingError when its configuration is none."""
    checkpoint = None
    if told.get("checkpoint") is not None:
        stated = told["checkpoint"]
        checkpoint = CheckpointSize(int(stated["total_bytes"]), _expanded(stated["tensors"]), str(stated["source"]))
    return ModelFiles(parse_shape(told["config"]), checkpoint)


def _merged(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """All experts of a layer as one tensor. Where their dtypes differ they stay apart."""
    merged: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        common = _EXPERT.sub(rf"\g<1>{HOLE}\g<2>", name)
        other = merged.get(common)
        if other is None:
            merged[common] = TensorInfo(tensor.dtype, (), tensor.size_bytes)
        elif other.dtype == tensor.dtype:
            merged[common] = TensorInfo(tensor.dtype, (), other.size_bytes + tensor.size_bytes)
        else:
            merged[name] = TensorInfo(tensor.dtype, (), tensor.size_bytes)
    return merged


def _grouped(tensors: Mapping[str, TensorInfo]) -> list[list[Any]]:
    """[name, dtype, bytes of each, layers as ranges or null] for tensors alike but for their layer."""
    groups: dict[tuple[str, str, int], list[int]] = {}
    single: list[list[Any]] = []
    for name, tensor in tensors.items():
        layer = _LAYER.search(name)
        if layer is None:
            single.append([name, tensor.dtype, tensor.size_bytes, None])
            continue
        template = f"{name[: layer.start(2)]}{HOLE}{name[layer.end(2) :]}"
        groups.setdefault((template, tensor.dtype, tensor.size_bytes), []).append(int(layer.group(2)))
    return single + [[*key, _ranges(layers)] for key, layers in groups.items()]


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _expanded(groups: Iterable[Iterable[Any]]) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    for name, dtype, size_bytes, layers in groups:
        tensor = TensorInfo(str(dtype), (), int(size_bytes))
        if layers is None:
            tensors[name] = tensor
            continue
        for first, last in layers:
            for number in range(first, last + 1):
                # The layer's hole is the first one: experts come after it.
                tensors[str(name).replace(HOLE, str(number), 1)] = tensor
    return tensors

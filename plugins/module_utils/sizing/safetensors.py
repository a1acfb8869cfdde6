"""Sizes of a checkpoint from the headers of its safetensors files; tensors are never read.

A safetensors file starts with eight bytes, the little-endian length of a JSON object that maps each
tensor's name to its dtype, shape and offsets. So the exact size of a 60 GB checkpoint costs a few KB of
reading, on disk or, before any download, by two HTTP range requests per shard.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SizingError

INDEX_NAME = "model.safetensors.index.json"
# A header larger than this is no header: the format's own limit.
MAX_HEADER_BYTES = 100_000_000
FIRST_READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its header states it."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class CheckpointSize:
    """What the weights of a checkpoint take.

    total_bytes: all tensors. tensors: by name; empty when only the total is known.
    source: where the figure comes from, in words.
    """

    total_bytes: int
    tensors: Mapping[str, TensorInfo]
    source: str


def parse_header(header: bytes, where: str) -> dict[str, TensorInfo]:
    """Tensors of one file from its JSON header. Raises SizingError when it is not one."""
    try:
        entries = json.loads(header)
        tensors = {
            name: TensorInfo(
                str(entry["dtype"]),
                tuple(entry["shape"]),
                int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
            )
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SizingError(
            f"{where} is no safetensors file: {error}",
            expected="a JSON header of tensors",
            remedy="fetch the file again (hf_model with verify: full)",
        ) from error
    return tensors


def _header_length(prefix: bytes, where: str) -> int:
    if len(prefix) >= 8:
        (length,) = struct.unpack("<Q", prefix[:8])
        if 2 <= length <= MAX_HEADER_BYTES:
            return int(length)
    raise SizingError(
        f"{where} is no safetensors file",
        expected="eight bytes of header length",
        found=prefix[:8].hex() or "an empty file",
        remedy="fetch the file again (hf_model with verify: full)",
    )


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors of a file on disk. Raises SizingError when the file is cut short or no safetensors file."""
    with path.open("rb") as stream:
        length = _header_length(stream.read(8), str(path))
        tensors = parse_header(stream.read(length), str(path))
    expected = 8 + length + sum(tensor.size_bytes for tensor in tensors.values())
    found = path.stat().st_size
    if found < expected:
        raise SizingError(
            f"{path} is truncated",
            expected=f"{expected} bytes, by its own header",
            found=f"{found} bytes",
            remedy="fetch the file again (hf_model with verify: full)",
        )
    return tensors


def _weight_files(directory: Path) -> list[Path]:
    index = directory / INDEX_NAME
    if index.is_file():
        mapping = json.loads(index.read_text("utf-8")).get("weight_map", {})
        names = sorted(set(mapping.values()))
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise SizingError(
                f"{directory} lacks weight files that its index names",
                expected=f"{len(names)} shards",
                found=f"missing: {', '.join(missing[:3])}" + (" …" if len(missing) > 3 else ""),
                remedy="download the model again (hf_model)",
            )
        return [directory / name for name in names]
    files = sorted(directory.glob("*.safetensors"))
    # Mistral repositories carry the same weights a second time under a name of their own.
    plain = [path for path in files if not path.name.startswith("consolidated")]
    return plain or files


def read_checkpoint(directory: Path) -> CheckpointSize | None:
    """The size of a checkpoint on disk; None when the directory holds no known weight file.

    Formats without such headers (.bin, .gguf) count by file size.
    """
    files = _weight_files(directory)
    if files:
        tensors: dict[str, TensorInfo] = {}
        for path in files:
            tensors.update(read_header(path))
        total = sum(tensor.size_bytes for tensor in tensors.values())
        return CheckpointSize(total, tensors, f"headers of {len(files)} safetensors file(s)")
    for pattern in ("*.bin", "*.pt", "*.gguf"):
        found = [path for path in directory.glob(pattern) if path.name != "training_args.bin"]
        if found:
            total = sum(path.stat().st_size for path in found)
            return CheckpointSize(total, {}, f"sizes of {len(found)} {pattern} file(s)")
    return None


def from_index(index: Mapping[str, Any]) -> CheckpointSize | None:
    """The total that an index states (`metadata.total_size`), for when no header is at hand."""
    total = index.get("metadata", {}).get("total_size")
    return CheckpointSize(int(total), {}, "the index's metadata.total_size") if total else None

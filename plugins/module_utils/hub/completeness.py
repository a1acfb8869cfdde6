# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a directory holds all that an engine needs to serve a model, judged by the files themselves."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import IncompleteError
from .names import is_pickle

CONFIGS = ("config.json", "params.json")  # params.json: Mistral's own layout
# Any one of these sets is a tokenizer.
TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
)
LFS_MAGIC = b"version https://git-lfs"
LFS_POINTER_MAX_BYTES = 1024
HEADER_MAX_BYTES = 100_000_000  # the limit of the safetensors format
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.[a-z]+)")


def check_model(folder: Path) -> None:
    """Check that a directory holds a whole model; raises IncompleteError with all that is wrong with it."""
    problems = list(find_problems(folder))
    if problems:
        raise IncompleteError(f"{folder} holds no whole model: {'; '.join(problems)}.")


def find_problems(folder: Path) -> Iterator[str]:
    """Name what is missing or wrong in a model's directory."""
    if not folder.is_dir():
        yield "there is no such directory"
        return
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith(".")}
    pointers = sorted(name for name in names if is_lfs_pointer(folder / name))
    for name in pointers:
        yield f"{name} is a git LFS pointer, not the content (git lfs pull, or fetch it by hf_model)"
    if any(name.endswith(".gguf") for name in names) and not any(name.endswith(".safetensors") for name in names):
        return  # a GGUF file holds configuration and tokenizer, too
    yield from _config_problems(folder, names)
    if not any(names.issuperset(tokenizer) for tokenizer in TOKENIZERS) and not any(
        name.endswith((".tiktoken", "tiktoken.model")) for name in names
    ):
        yield "no tokenizer: none of " + ", ".join(" + ".join(files) for files in TOKENIZERS)
    yield from _weight_problems(folder, names, set(pointers))


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what git leaves in the place of a large file."""
    if path.stat().st_size > LFS_POINTER_MAX_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_MAGIC)) == LFS_MAGIC


def _config_problems(folder: Path, names: set[str]) -> Iterator[str]:
    present = [name for name in CONFIGS if name in names]
    if not present:
        yield "config.json is missing"
    for name in present:
        try:
            _read_object(folder / name)
        except ValueError as error:
            yield f"{name} is not a JSON object ({error})"


def _weight_problems(folder: Path, names: set[str], pointers: set[str]) -> Iterator[str]:
    weights = {name for name in names if "/" not in name and name.endswith(".safetensors")}
    indexes = sorted(name for name in names if "/" not in name and name.endswith(".safetensors.index.json"))
    if not weights and not indexes:
        if not any(is_pickle(name) for name in names):
            yield "no weights: no *.safetensors and no *.gguf"
        return
    headers: dict[str, set[str]] = {}
    for name in sorted(weights - pointers):
        try:
            headers[name] = set(read_header(folder / name).tensors)
        except ValueError as error:
            yield f"{name} {error}"
    for index in indexes:
        yield from _index_problems(folder, index, weights, headers)
    yield from _gaps(weights)


def _index_problems(folder: Path, index: str, weights: set[str], headers: Mapping[str, set[str]]) -> Iterator[str]:
    try:
        weight_map = _read_object(folder / index)["weight_map"]
        shards = {str(shard) for shard in weight_map.values()}
    except (ValueError, KeyError, AttributeError) as error:
        yield f"{index} has no weight_map ({error})"
        return
    for missing in sorted(shards - weights):
        yield f"{missing}, which {index} names, is missing"
    for shard in sorted(shards & set(headers)):
        lost = sorted(t for t, s in weight_map.items() if s == shard and t not in headers[shard])
        if lost:
            yield f"{shard} lacks {len(lost)} tensors that {index} places in it, {lost[0]} first"


def _gaps(weights: set[str]) -> Iterator[str]:
    """Name shards that others say must exist: model-00001-of-00003 alone is not a model."""
    families: dict[tuple[str, int, str], set[int]] = {}
    for name in weights:
        found = _SHARD.fullmatch(name)
        if found:
            family = (found["stem"], int(found["count"]), found["suffix"])
            families.setdefault(family, set()).add(int(found["number"]))
    for (stem, count, suffix), numbers in sorted(families.items()):
        missing = sorted(set(range(1, count + 1)) - numbers)
        if missing:
            yield f"{stem}-{missing[0]:05}-of-{count:05}{suffix} is missing ({len(missing)} of {count} shards)"


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself."""

    tensors: list[str]
    file_bytes: int


def read_header(path: Path) -> Header:
    """Read a safetensors header and hold it against the file's size; raises ValueError with what is wrong.

    The format: 8 bytes of little-endian header length, the header in JSON, then the tensors' data, whose offsets
    in the header count from the end of the header.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError(f"is no safetensors file: it has {size_bytes} bytes")
        (header_bytes,) = struct.unpack("<Q", start)
        if header_bytes > min(HEADER_MAX_BYTES, size_bytes - 8):
            raise ValueError("is cut short or no safetensors file: its header would be longer than the file")
        header = json.loads(file.read(header_bytes))
    if not isinstance(header, dict):
        raise ValueError("has a header that is no JSON object")
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    try:
        data_bytes = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("has a header without data_offsets") from error
    expected_bytes = 8 + header_bytes + data_bytes
    if expected_bytes != size_bytes:
        raise ValueError(f"has {size_bytes} bytes, and its header describes {expected_bytes}")
    return Header(list(tensors), size_bytes)


def _read_object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__}")
    return content

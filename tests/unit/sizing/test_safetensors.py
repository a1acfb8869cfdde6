from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.safetensors import (
    from_index,
    read_checkpoint,
)


def write(path: Path, tensors: dict[str, tuple[str, list[int], int]], cut: int = 0) -> None:
    header, offset = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    content = struct.pack("<Q", len(raw)) + raw + bytes(offset)
    path.write_bytes(content[: len(content) - cut])


def test_shards_are_summed(tmp_path):
    write(tmp_path / "model-00001-of-00002.safetensors", {"a": ("BF16", [4, 4], 32)})
    write(tmp_path / "model-00002-of-00002.safetensors", {"b": ("F8_E4M3", [8], 8)})
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found.total_bytes == 40
    assert found.tensors["b"].dtype == "F8_E4M3"


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path):
    write(tmp_path / "model.safetensors", {"a": ("BF16", [4, 4], 32)})
    write(tmp_path / "consolidated.safetensors", {"wa": ("BF16", [4, 4], 32)})
    assert read_checkpoint(tmp_path).total_bytes == 32


def test_a_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SizingError, match=r"missing: model-00001-of-00001\.safetensors"):
        read_checkpoint(tmp_path)


def test_a_truncated_shard_is_found_by_its_own_header(tmp_path):
    write(tmp_path / "model.safetensors", {"a": ("BF16", [4, 4], 32)}, cut=1)
    with pytest.raises(SizingError, match="is truncated"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 4) + b"oops"])
def test_rubbish_is_no_safetensors_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SizingError, match="no safetensors file"):
        read_checkpoint(tmp_path)


def test_other_formats_count_by_file_size(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(100))
    (tmp_path / "training_args.bin").write_bytes(bytes(7))
    assert read_checkpoint(tmp_path).total_bytes == 100


def test_an_empty_directory_has_no_weights(tmp_path):
    assert read_checkpoint(tmp_path) is None


def test_total_from_an_index():
    assert from_index({"metadata": {"total_size": 61_000}}).total_bytes == 61_000
    assert from_index({}) is None

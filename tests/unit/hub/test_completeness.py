from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub.completeness import (
    check_model,
    find_problems,
    read_header,
)
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import IncompleteError

INDEX = "model.safetensors.index.json"
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def test_a_whole_model(folder: Path) -> None:
    check_model(folder)


def drop_tensor(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.layers.9.extra"] = SHARD
    (folder / INDEX).write_text(json.dumps(index))


def lie_in_header(folder: Path) -> None:
    data = bytearray((folder / SHARD).read_bytes())
    data[:8] = struct.pack("<Q", 1 << 40)
    (folder / SHARD).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("[1]"), "config.json is not a JSON object"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not a JSON object"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / SHARD).unlink(), f"{SHARD}, which {INDEX} names, is missing"),
        (lambda f: ((f / SHARD).unlink(), (f / INDEX).unlink()), f"{SHARD} is missing"),
        (lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:-5]), f"{SHARD} has .* its header describes"),
        (lambda f: (f / SHARD).write_bytes(b"1234"), f"{SHARD} is no safetensors file"),
        (lambda f: (f / INDEX).write_text("{}"), f"{INDEX} has no weight_map"),
        (lambda f: [p.unlink() for p in f.glob("*.safetensors*")], "no weights"),
        (lie_in_header, f"{SHARD} is cut short"),
        (drop_tensor, f"{SHARD} lacks 1 tensors .* model.layers.9.extra"),
        (
            lambda f: (f / SHARD).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
            f"{SHARD} is a git LFS pointer",
        ),
        (
            lambda f: (f / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "tokenizer.json is a git LFS pointer",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(IncompleteError, match=words):
        check_model(folder)


def test_everything_that_is_wrong_is_named_at_once(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").unlink()
    (folder / SHARD).unlink()
    assert len(list(find_problems(folder))) >= 3


@pytest.mark.parametrize(
    "tokenizer", [["tokenizer.model"], ["tekken.json"], ["vocab.json", "merges.txt"], ["qwen.tiktoken"], ["vocab.txt"]]
)
def test_any_tokenizer_does(folder: Path, tokenizer: list[str]) -> None:
    (folder / "tokenizer.json").unlink()
    for name in tokenizer:
        (folder / name).write_text("{}")
    check_model(folder)


def test_half_a_tokenizer_does_not(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(IncompleteError, match="no tokenizer"):
        check_model(folder)


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "q4.gguf").write_bytes(b"GGUF" * 1000)
    check_model(tmp_path)


def test_mistrals_own_layout(folder: Path) -> None:
    (folder / "config.json").rename(folder / "params.json")
    check_model(folder)


def test_the_header_names_the_tensors(folder: Path) -> None:
    assert "model.embed_tokens.weight" in read_header(folder / "model-00001-of-00003.safetensors").tensors

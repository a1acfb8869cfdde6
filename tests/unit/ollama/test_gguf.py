"""Headers of GGUF files, and the store that holds them."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama import store
from ansible_collections.llm.serving.plugins.module_utils.ollama.gguf import read_metadata, read_shape, shape_of
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError
from hypothesis import given
from hypothesis import strategies as st

# Lengths that the file does not have: of a key, of arrays of numbers and of strings, and arrays in arrays.
ONE_PAIR = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
KEY = struct.pack("<Q", 1) + b"a"
LYING_LENGTHS = (
    struct.pack("<Q", 2**40),
    struct.pack("<Q", 2**64 - 1),
    KEY + struct.pack("<IIQ", 9, 4, 2**40),
    KEY + struct.pack("<IIQ", 9, 4, 2**64 - 1),
    KEY + struct.pack("<IIQQ", 9, 8, 2**64 - 1, 2**64 - 1),
    KEY + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000,
)
QWEN_7B = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 28,
    "qwen2.attention.head_count": 28,
    "qwen2.attention.head_count_kv": 4,
    "qwen2.embedding_length": 3584,
    "qwen2.context_length": 32768,
}


def test_the_tiny_model(tiny_gguf: Path) -> None:
    shape = read_shape(tiny_gguf)
    assert (shape.architecture, shape.layers, shape.context) == ("llama", 2, 8192)
    # 2 layers × 2 KV heads × (32 keys + 32 values)
    assert shape.cache_elements == 2 * 2 * 64
    assert shape.weights_bytes == tiny_gguf.stat().st_size
    assert read_metadata(tiny_gguf)["tokenizer.ggml.tokens"][3] == "<|im_start|>"


def test_a_published_model_by_its_metadata() -> None:
    shape = shape_of(QWEN_7B, 4_683_073_184)
    # The well-known 56 KiB per token of Qwen2.5-7B in f16.
    assert shape.cache_bytes(1, "f16") == 57344
    assert shape.cache_bytes(1, "q8_0") == 57344 * 34 / 64


@pytest.mark.parametrize(
    ("extra", "elements", "exact"),
    [
        ({"qwen2.attention.key_length": 192, "qwen2.attention.value_length": 128}, 28 * 4 * 320, True),
        ({"qwen2.attention.head_count_kv": [4, 0] * 14}, 14 * 4 * 256, True),
        ({"qwen2.full_attention_interval": 4}, 7 * 4 * 256, True),
        ({"qwen2.attention.sliding_window": 1024}, 28 * 4 * 256, False),
        ({"qwen2.attention.sliding_window": [1024] * 28}, 28 * 4 * 256, False),
        ({"qwen2.attention.sliding_window": 1024, "qwen2.attention.sliding_window_pattern": 4}, 28 * 4 * 256, False),
        ({"qwen2.attention.shared_kv_layers": 8}, 20 * 4 * 256, True),
        ({"qwen2.attention.head_count_kv": None}, 28 * 28 * 256, True),
    ],
)
def test_shapes_that_differ(extra: dict[str, Any], elements: int, exact: bool) -> None:
    shape = shape_of({**QWEN_7B, **extra}, 1)
    assert (shape.cache_elements, shape.exact) == (elements, exact)


def windowed(architecture: str, layers: int, window: int, **attention: Any) -> dict[str, Any]:
    """Metadata of a model with 2 KV heads of 64 + 64 elements."""
    lengths = {"head_count": 2, "key_length": 64, "value_length": 64, "sliding_window": window}
    return {
        "general.architecture": architecture,
        f"{architecture}.block_count": layers,
        **{f"{architecture}.attention.{key}": value for key, value in {**lengths, **attention}.items()},
    }


@pytest.mark.parametrize(
    ("metadata", "full_layers", "windowed_layers"),
    [
        # 5 of 6 of Gemma 3 27B's 62 layers have a window; a number and flags overrule that.
        (windowed("gemma3", 62, 1024), 10, 52),
        (windowed("gemma3", 62, 1024, sliding_window_pattern=2), 31, 31),
        (windowed("gemma3", 4, 1024, sliding_window_pattern=[True, True, True, False]), 1, 3),
        (windowed("gemma3", 4, 1024, sliding_window_pattern=1), 4, 0),
        (windowed("gemma2", 46, 4096), 23, 23),
        (windowed("gptoss", 24, 128), 12, 12),
        (windowed("gpt-oss", 24, 128), 12, 12),
        (windowed("new", 4, 128, sliding_window_pattern=[True, False, True, True]), 1, 3),
    ],
)
def test_layers_with_a_window_keep_no_more_than_it(
    metadata: dict[str, Any], full_layers: int, windowed_layers: int
) -> None:
    shape = shape_of(metadata, 1)
    assert (shape.cache_elements, shape.window_elements) == (full_layers * 256, windowed_layers * 256)
    assert (shape.exact, shape.without_windows().cache_elements) == (True, (full_layers + windowed_layers) * 256)


@pytest.mark.parametrize(("window", "cells"), [(128, 768), (1024, 1536), (4096, 4608)])
def test_a_window_holds_a_batch_as_well_and_is_padded(window: int, cells: int) -> None:
    shape = shape_of(windowed("gptoss", 2, window), 1)
    assert shape.cache_bytes(32768, "f16") == 2 * 256 * (32768 + cells)
    assert shape.cache_bytes(512, "f16") == 2 * 256 * (512 + 512)


def test_layers_with_a_window_may_have_heads_of_another_length_and_share_their_cache() -> None:
    flags = [True, True, False, True, True, False]
    lengths = {"key_length_swa": 16, "value_length_swa": 16, "shared_kv_layers": 2}
    shape = shape_of(windowed("gemma4", 6, 512, sliding_window_pattern=flags, **lengths), 1)
    assert (shape.cache_elements, shape.window_elements) == (2 * 128, 3 * 2 * 32)


@pytest.mark.parametrize("pattern", [0, -1, "2", [True]])
def test_a_pattern_that_makes_no_sense_is_not_believed(pattern: Any) -> None:
    shape = shape_of(windowed("new", 4, 512, sliding_window_pattern=pattern), 1)
    assert (shape.cache_elements, shape.window_elements, shape.exact) == (4 * 256, 0, False)


def test_embedding_models_are_recognised() -> None:
    assert shape_of({**QWEN_7B, "qwen2.pooling_type": 1}, 1).embedding_only


def test_an_unknown_cache_type_is_refused() -> None:
    with pytest.raises(OllamaError, match="expected OLLAMA_KV_CACHE_TYPE as one of f32, f16"):
        shape_of(QWEN_7B, 1).cache_bytes(1, "q3")


def test_long_vocabularies_are_walked_over(tmp_path: Path) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    words = b"".join(text(f"w{number}") for number in range(2000))
    pairs = [
        text("a") + struct.pack("<IIQ", 9, 8, 2000) + words,
        text("b") + struct.pack("<IIQ", 9, 4, 5000) + bytes(4 * 5000),
        text("c") + struct.pack("<II", 4, 7),
    ]
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + b"".join(pairs))
    assert read_metadata(path) == {"a": None, "b": None, "c": 7}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "expected a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 2 or 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 9), "cut off or damaged"),
        *((ONE_PAIR + rest, "cut off or damaged") for rest in LYING_LENGTHS),
    ],
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(OllamaError, match=message):
        read_metadata(path)


@pytest.mark.parametrize(
    "extra",
    [
        {"qwen2.block_count": 2**32 - 1},
        {"qwen2.block_count": "many"},
        {"qwen2.block_count": 2.5},
        {"qwen2.attention.head_count": []},
        {"qwen2.context_length": "long"},
        {"qwen2.full_attention_interval": "x"},
    ],
)
def test_metadata_that_makes_no_sense_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(OllamaError, match="expected "):
        shape_of({**QWEN_7B, **extra}, 1)


@given(changes=st.dictionaries(st.integers(4, 2000), st.integers(0, 255), max_size=4), kept=st.integers(0, 4000))
def test_a_damaged_header_is_read_or_refused(tiny_gguf: Path, changes: dict[int, int], kept: int) -> None:
    data = bytearray(tiny_gguf.read_bytes()[:4000])
    for position, byte in changes.items():
        data[position] = byte
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[:kept])
        file.flush()
        with contextlib.suppress(OllamaError):
            read_shape(Path(file.name))


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(OllamaError, match="block_count"):
        shape_of({"general.architecture": "x"}, 1)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("tiny", "tiny:latest"),
        ("qwen2.5:7b", "qwen2.5:7b"),
        ("library/tiny", "tiny:latest"),
        ("team/tiny", "team/tiny:latest"),
        ("host:5000/team/tiny", "host:5000/team/tiny:latest"),
        ("registry.ollama.ai/library/tiny:x", "tiny:x"),
    ],
)
def test_names_as_the_server_lists_them(name: str, full: str) -> None:
    assert store.full_name(name) == full


def put(models_dir: Path, name: str, layers: dict[str, bytes]) -> None:
    manifest = models_dir.joinpath("manifests", *store.split_name(name))
    manifest.parent.mkdir(parents=True)
    (models_dir / "blobs").mkdir()
    entries = []
    for number, (kind, data) in enumerate(layers.items()):
        (models_dir / "blobs" / f"sha256-{number}").write_bytes(data)
        entries.append({"mediaType": kind, "digest": f"sha256:{number}", "size": len(data)})
    manifest.write_text(json.dumps({"layers": entries}))


def test_a_stored_model_has_its_parameters_and_companions(tmp_path: Path, tiny_gguf: Path) -> None:
    parameters = json.dumps({"num_ctx": 2048}).encode()
    layers = {store.MODEL: tiny_gguf.read_bytes(), store.PARAMETERS: parameters, store.COMPANIONS[0]: bytes(77)}
    put(tmp_path, "tiny", layers)
    stored = store.read_stored(tmp_path, "tiny:latest")
    assert stored is not None
    assert (stored.shape.layers, stored.parameters, stored.companion_bytes) == (2, {"num_ctx": 2048}, 77)


def test_a_model_that_is_not_stored(tmp_path: Path) -> None:
    assert store.read_stored(tmp_path, "tiny") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"layers": null}',
        '{"layers": [{}]}',
        json.dumps({"layers": [{"mediaType": store.MODEL, "digest": 5}]}),
        json.dumps({"layers": [{"mediaType": store.MODEL, "digest": "sha256:lost"}]}),
    ],
)
def test_a_damaged_manifest_says_what_to_do(tmp_path: Path, tiny_gguf: Path, text: str) -> None:
    put(tmp_path, "tiny", {store.MODEL: tiny_gguf.read_bytes()})
    tmp_path.joinpath("manifests", *store.split_name("tiny")).write_text(text)
    with pytest.raises(OllamaError, match="pull tiny again"):
        store.read_stored(tmp_path, "tiny")

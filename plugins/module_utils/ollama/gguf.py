"""What a GGUF file says about its model, read from its header alone.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Long arrays (vocabularies) are walked
over, not kept.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from .values import OllamaError

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
KEPT_ARRAY_ITEMS = 1024  # per-layer arrays are shorter, vocabularies longer
MOST_LAYERS = KEPT_ARRAY_ITEMS
BUFFER_BYTES = 1 << 20
F16_BYTES = 2.0
# Every n-th layer sees everything, the others a window, by llama.cpp's own defaults (src/models/*.cpp of its b10488,
# which Ollama 0.32 runs). Ollama's own files write gptoss.
WINDOW_PERIODS: Mapping[str, int] = {
    "afmoe": 4,
    "cohere2": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "gptoss": 2,
    "olmo2": 4,
    "plamo3": 8,
}
# num_batch of the server, which takes more only where by its estimate, which knows no windows, a quarter of the memory
# stays free (automaticGenerationBatch of server/sched.go).
BATCH_TOKENS = 512
WINDOW_PADDING_TOKENS = 256
# Bytes per element of llama.cpp's cache types: block bytes / elements of a block.
CACHE_TYPE_BYTES: Mapping[str, float] = {
    "": F16_BYTES,
    "f32": 4.0,
    "f16": F16_BYTES,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}


@dataclass(frozen=True)
class ModelShape:
    """What sizing needs of a model.

    cache_elements: keys and values that one token adds to the KV cache, over the layers that keep every token.
    window_elements: the same over the layers that keep the last `window` tokens only.
    exact: False where cache_elements is an upper bound, since which layers have a window is not known.
    context: what the model was trained with, in tokens. layers: repeating ones.
    """

    architecture: str
    layers: int
    cache_elements: int
    context: int
    weights_bytes: int
    embedding_only: bool = False
    exact: bool = True
    window: int = 0
    window_elements: int = 0

    @property
    def window_cells(self) -> int:
        """Tokens that a layer with a window keeps of one request: the window and a batch, padded.

        size_swa of llama.cpp's src/llama-kv-cache-iswa.cpp; Ollama sets -np, so each request has a cache of its own.
        """
        return -(-(self.window + BATCH_TOKENS) // WINDOW_PADDING_TOKENS) * WINDOW_PADDING_TOKENS

    def cache_bytes(self, context: int, cache_type: str) -> float:
        """Bytes of KV cache of one request of `context` tokens. Raises OllamaError for a type that is none."""
        elements = context * self.cache_elements + min(context, self.window_cells) * self.window_elements
        return elements * cache_type_bytes(cache_type)

    def without_windows(self) -> ModelShape:
        """The shape as if every layer kept every token."""
        return replace(self, cache_elements=self.cache_elements + self.window_elements, window_elements=0)


def cache_type_bytes(cache_type: str) -> float:
    """Bytes per element of a type of KV cache. Raises OllamaError for a type that llama.cpp does not have."""
    try:
        return CACHE_TYPE_BYTES[cache_type.lower()]
    except KeyError:
        known = ", ".join(name for name in CACHE_TYPE_BYTES if name)
        raise OllamaError(f"expected OLLAMA_KV_CACHE_TYPE as one of {known}, found {cache_type!r}") from None


def read_shape(path: Path) -> ModelShape:
    """Read a model's shape from its file. Raises OllamaError when it is no GGUF, OSError when unreadable."""
    return shape_of(read_metadata(path), path.stat().st_size)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the header's keys and values. Raises OllamaError when it is no GGUF."""
    with path.open("rb", buffering=BUFFER_BYTES) as file:
        if file.read(4) != MAGIC:
            raise OllamaError(f"expected a GGUF file, found something else in {path}")
        try:
            version, _tensors, pairs = _unpack(file, "<IQQ")
            if version < 2:
                raise OllamaError(f"expected GGUF version 2 or 3 in {path}, found {version}")
            return {_string(file): _value(file, _unpack(file, "<I")[0]) for _pair in range(pairs)}
        except (struct.error, KeyError, RecursionError) as error:
            raise OllamaError(f"the GGUF header of {path} is cut off or damaged ({error})") from error


def shape_of(metadata: Mapping[str, Any], weights_bytes: int) -> ModelShape:
    """Derive a model's shape from its metadata, be it a file's header or /api/show. Raises OllamaError."""
    try:
        return _shape_of(metadata, weights_bytes)
    except (TypeError, ValueError) as error:
        raise OllamaError(f"expected numbers in the model's metadata, found something else ({error})") from error


def _shape_of(metadata: Mapping[str, Any], weights_bytes: int) -> ModelShape:
    architecture = str(metadata.get("general.architecture", ""))

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"{architecture}.{key}", default)

    layers = get("block_count")
    heads = get("attention.head_count")
    if not layers or heads is None:
        raise OllamaError(
            f"expected block_count and attention.head_count of {architecture or 'a model'}, found neither"
        )
    if not 0 < layers <= MOST_LAYERS:
        raise OllamaError(f"expected block_count of {architecture} as 1 to {MOST_LAYERS}, found {layers}")
    kv_heads = _per_layer(get("attention.head_count_kv") or heads, layers)
    embedding = get("embedding_length", 0)
    head_count = max(_per_layer(heads, layers))
    default_length = embedding // head_count if head_count else 0
    key_length, value_length = (get(f"attention.{part}_length", default_length) for part in ("key", "value"))
    window_lengths = get("attention.key_length_swa", key_length) + get("attention.value_length_swa", value_length)
    # Hybrid models keep keys and values in every n-th layer only; others share those of earlier layers at their end.
    interval, own = get("full_attention_interval", 0), layers - get("attention.shared_kv_layers", 0)
    keeps = [layer < own and (not interval or (layer + 1) % interval == 0) for layer in range(layers)]
    window = get("attention.sliding_window", 0)
    has_window = isinstance(window, int) and window > 0
    windowed = _windowed(architecture, get("attention.sliding_window_pattern"), layers) if has_window else []
    is_windowed = windowed or [False] * layers
    kept = [(count, seen) for count, seen, has_cache in zip(kv_heads, is_windowed, keeps) if has_cache]
    return ModelShape(
        architecture=architecture,
        layers=layers,
        cache_elements=sum(count for count, seen in kept if not seen) * (key_length + value_length),
        context=int(get("context_length", 0)),
        weights_bytes=weights_bytes,
        embedding_only=get("pooling_type") is not None,
        exact=not window or bool(windowed),
        window=window if windowed else 0,
        window_elements=sum(count for count, seen in kept if seen) * window_lengths,
    )


def _windowed(architecture: str, pattern: Any, layers: int) -> list[bool]:
    """Which layers keep a window only, by a flag each or by a period; empty where that is not known."""
    if isinstance(pattern, list) and len(pattern) == layers:
        return [bool(flag) for flag in pattern]
    period = WINDOW_PERIODS.get(architecture, 0)
    if period and isinstance(pattern, int):
        period = pattern
    return [layer % period < period - 1 for layer in range(layers)] if period > 0 else []


def _per_layer(value: Any, layers: int) -> list[int]:
    return [int(item) for item in value] if isinstance(value, list) else [int(value)] * layers


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _string(file: BinaryIO) -> str:
    length = _unpack(file, "<Q")[0]
    _expect(file, length)
    return file.read(length).decode("utf-8", "replace")


def _expect(file: BinaryIO, length_bytes: int) -> None:
    """Refuse a length that the file does not have: to read or skip it would take memory, or lose the end."""
    if length_bytes > os.fstat(file.fileno()).st_size - file.tell():
        raise struct.error(f"{length_bytes} bytes are announced, and the file ends before")


def _skip(file: BinaryIO, length_bytes: int) -> None:
    _expect(file, length_bytes)
    file.seek(length_bytes, os.SEEK_CUR)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        return _array(file)
    return _unpack(file, f"<{SCALARS[kind]}")[0]


def _array(file: BinaryIO) -> list[Any] | None:
    """A short array; None for a long one, which is skipped."""
    kind, count = _unpack(file, "<IQ")
    if count <= KEPT_ARRAY_ITEMS:
        return [_value(file, kind) for _item in range(count)]
    if kind in SCALARS:
        _skip(file, count * struct.calcsize(f"<{SCALARS[kind]}"))
        return None
    for _item in range(count):
        if kind != STRING:
            _value(file, kind)
            continue
        _skip(file, _unpack(file, "<Q")[0])
    return None

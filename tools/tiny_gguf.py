#!/usr/bin/env python3
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a tiny, random, deterministic Llama chat model as a GGUF file that a real Ollama serves on a CPU.

The standard library is enough. The same options give the same bytes. Its replies are words without sense:
one constant residual channel holds byte, control and end tokens down, so that a reply always runs to its limit
of tokens and takes a time that tests can count on.
"""

from __future__ import annotations

import argparse
import random
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WORD_LIST = (
    "the a and or but if then when while river stone tree bird cloud wind rain sun moon star red blue green "
    "small large old new quick slow quiet loud soft hard bright dark warm cold walks runs sings sleeps waits "
    "falls rises turns opens closes over under near far with without in on at by from to of for . , ! ?"
)
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALIGNMENT_BYTES = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # value types of the format
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # token types of the format
CONTROL_TOKENS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
BOS_ID, EOS_ID, UNKNOWN_ID = 1, 4, 0
CONSTANT_CHANNEL = 4.0


@dataclass(frozen=True)
class Shape:
    """The model's dimensions."""

    layers: int = 2
    embedding: int = 128
    feed_forward: int = 256
    heads: int = 4
    kv_heads: int = 2
    context: int = 8192
    seed: int = 1

    @property
    def head_dim(self) -> int:
        """Elements per attention head."""
        return self.embedding // self.heads


@dataclass(frozen=True)
class Token:
    """An entry of the vocabulary."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of 32-bit floats; `sizes` begins with the fastest dimension."""

    name: str
    sizes: tuple[int, ...]
    data: bytes


def vocabulary() -> list[Token]:
    """Control tokens, the 256 bytes, printable characters and the words, as SentencePiece has them."""
    tokens = [Token("<unk>", 0, UNKNOWN), *(Token(text, 0, CONTROL) for text in CONTROL_TOKENS)]
    tokens += [Token(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]
    tokens += [Token(chr(code), -1000.0 - code, NORMAL) for code in range(33, 127)]
    tokens.append(Token("▁", -900, NORMAL))
    known = {token.text for token in tokens}
    pieces = (word if word in ".,!?" else f"▁{word}" for word in WORD_LIST.split())
    tokens += [Token(piece, -10.0 - rank, NORMAL) for rank, piece in enumerate(pieces) if piece not in known]
    return tokens


def text(value: str) -> bytes:
    """A string of the format."""
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def many(kind: int, items: Iterable[bytes], count: int) -> bytes:
    """An array of the format."""
    return struct.pack("<IQ", kind, count) + b"".join(items)


def pair(key: str, kind: int, payload: bytes) -> bytes:
    """A key and its value."""
    return text(key) + struct.pack("<I", kind) + payload


def metadata(shape: Shape, tokens: Sequence[Token]) -> list[bytes]:
    """The header's key/value pairs."""
    count = len(tokens)
    numbers = {
        "general.file_type": 0,
        "general.quantization_version": 2,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.embedding,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.rope.dimension_count": shape.head_dim,
        "llama.vocab_size": count,
        "tokenizer.ggml.bos_token_id": BOS_ID,
        "tokenizer.ggml.eos_token_id": EOS_ID,
        "tokenizer.ggml.unknown_token_id": UNKNOWN_ID,
        "tokenizer.ggml.padding_token_id": UNKNOWN_ID,
    }
    texts = {
        "general.architecture": "llama",
        "general.name": f"tiny-random-{shape.seed}",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    return [
        *(pair(key, STRING, text(value)) for key, value in texts.items()),
        *(pair(key, UINT32, struct.pack("<I", value)) for key, value in numbers.items()),
        pair("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        pair("llama.rope.freq_base", FLOAT32, struct.pack("<f", 10000.0)),
        pair("tokenizer.ggml.tokens", ARRAY, many(STRING, (text(token.text) for token in tokens), count)),
        pair(
            "tokenizer.ggml.scores",
            ARRAY,
            many(FLOAT32, (struct.pack("<f", token.score) for token in tokens), count),
        ),
        pair(
            "tokenizer.ggml.token_type",
            ARRAY,
            many(INT32, (struct.pack("<i", token.kind) for token in tokens), count),
        ),
        pair("tokenizer.ggml.add_bos_token", BOOL, b"\1"),
        pair("tokenizer.ggml.add_eos_token", BOOL, b"\0"),
    ]


def tensors(shape: Shape, tokens: Sequence[Token]) -> Iterator[Tensor]:
    """The weights. Channel 0 of the residual stream is a constant, by which the head scores the kinds of tokens."""
    source = random.Random(shape.seed)

    def ones(name: str) -> Tensor:
        return Tensor(name, (shape.embedding,), array("f", [1.0] * shape.embedding).tobytes())

    def noise(name: str, rows: int, columns: int, deviation: float, constant: Sequence[float] = ()) -> Tensor:
        values = array("f", (source.gauss(0, deviation) for _ in range(rows * columns)))
        for row, value in enumerate(constant):
            values[row * columns] = value
        return Tensor(name, (columns, rows), values.tobytes())

    def silent_row(tensor: Tensor) -> Tensor:
        row_bytes = 4 * tensor.sizes[0]
        return Tensor(tensor.name, tensor.sizes, bytes(row_bytes) + tensor.data[row_bytes:])

    width, keys = shape.embedding, shape.kv_heads * shape.head_dim
    usual = width**-0.5
    readable = [
        CONSTANT_CHANNEL if token.kind == NORMAL and token.score > -900 else -4 * CONSTANT_CHANNEL for token in tokens
    ]
    yield noise("token_embd.weight", len(tokens), width, 1.0, [CONSTANT_CHANNEL] * len(tokens))
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        yield ones(f"{block}attn_norm.weight")
        yield noise(f"{block}attn_q.weight", width, width, usual)
        yield noise(f"{block}attn_k.weight", keys, width, usual)
        yield noise(f"{block}attn_v.weight", keys, width, usual)
        yield silent_row(noise(f"{block}attn_output.weight", width, width, usual))
        yield ones(f"{block}ffn_norm.weight")
        yield noise(f"{block}ffn_gate.weight", shape.feed_forward, width, usual)
        yield noise(f"{block}ffn_up.weight", shape.feed_forward, width, usual)
        yield silent_row(noise(f"{block}ffn_down.weight", width, shape.feed_forward, shape.feed_forward**-0.5))
    yield ones("output_norm.weight")
    yield noise("output.weight", len(tokens), width, 2 * usual, readable)


def padding(size_bytes: int) -> bytes:
    """Zeros up to the format's alignment."""
    return bytes(-size_bytes % ALIGNMENT_BYTES)


def gguf(shape: Shape) -> bytes:
    """The whole file."""
    tokens = vocabulary()
    pairs = metadata(shape, tokens)
    infos: list[bytes] = []
    blobs: list[bytes] = []
    offset_bytes = 0
    for tensor in tensors(shape, tokens):
        sizes = struct.pack(f"<I{len(tensor.sizes)}Q", len(tensor.sizes), *tensor.sizes)
        infos.append(text(tensor.name) + sizes + struct.pack("<IQ", 0, offset_bytes))
        blobs.append(tensor.data + padding(len(tensor.data)))
        offset_bytes += len(blobs[-1])
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    return header + padding(len(header)) + b"".join(blobs)


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("path", type=Path)
    for name, default in Shape().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    options = vars(parser.parse_args())
    path = options.pop("path")
    path.write_bytes(gguf(Shape(**options)))


if __name__ == "__main__":
    main()

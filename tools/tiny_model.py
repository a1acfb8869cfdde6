#!/usr/bin/env python3
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a tiny, random, deterministic Qwen2 chat model that a real vLLM serves on a CPU.

The standard library is enough: the tokenizer is a byte-level BPE learnt here from made-up text, the weights
come from a seeded generator. The same options give the same bytes. Its replies are noise; its files are those
of a real repository, so downloads, checks, plans and engines can be tried on it. `--pad-bytes` adds tensors
that engines ignore and that make the files as large as a download test wants them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import random
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TEXT = (
    "a host that serves a language model keeps its weights in memory and reads all of them for every token "
    "it writes; the longer the conversation, the more room its keys and values take; the answer to a question "
    "comes one token after the other, and many users share one pass over the weights"
)
BF16_BYTES = 2
PAD_NAME = "rotary_emb.inv_freq"  # vLLM and transformers both skip tensors of this name
CHUNK_BYTES = 1 << 20
MIN_HEAD_DIM = 32  # vLLM's CPU attention takes no smaller one


@dataclass(frozen=True)
class Shape:
    """The sizes that make a Qwen2 model."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    max_pos: int
    tied: bool

    @property
    def hidden(self) -> int:
        """The width of the residual stream."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class Tensor:
    """One tensor to write: `fill` None means random values, else that constant everywhere."""

    name: str
    dims: tuple[int, ...]
    fill: float | None = None
    dtype: str = "BF16"

    @property
    def size_bytes(self) -> int:
        """What its values take in the file."""
        return math.prod(self.dims) * (BF16_BYTES if self.dtype == "BF16" else 1)


def seeded(seed: str) -> random.Random:
    """Return a generator that yields the same numbers on every Python."""
    return random.Random(seed)


def byte_alphabet() -> dict[int, str]:
    """Map each byte to the printable character that stands for it in byte-level BPE vocabularies."""
    ranges = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))
    printable = [byte for first, last in ranges for byte in range(ord(first), ord(last) + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def learn_merges(words: Counter[tuple[str, ...]], count: int) -> list[tuple[str, str]]:
    """Learn `count` byte-pair merges: the commonest neighbours first, ties in alphabetical order."""
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        if not pairs:
            raise SystemExit(f"The text holds only {len(merges)} merges: --vocab is too large.")
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({merge_pair(word, best): times for word, times in words.items()})
    return merges


def merge_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join every occurrence of `pair` in `word`."""
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def sample_words(rng: random.Random, alphabet: dict[int, str], wanted: int) -> Counter[tuple[str, ...]]:
    """Count the words to learn from: those of TEXT, and enough made-up ones for the vocabulary wanted."""
    invented = (
        "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
        for _ in range(max(64, wanted))
    )
    counts = Counter(TEXT.split() * 50) + Counter(invented)
    return Counter({tuple(alphabet[b] for b in f" {word}".encode()): times for word, times in counts.items()})


def tokenizer(vocab_size: int, rng: random.Random) -> dict[str, object]:
    """Build tokenizer.json, the format of Hugging Face's `tokenizers`."""
    alphabet = byte_alphabet()
    merge_count = vocab_size - len(alphabet) - len(SPECIAL_TOKENS)
    if merge_count < 0:
        raise SystemExit(f"--vocab must be at least {len(alphabet) + len(SPECIAL_TOKENS)}: every byte is a token.")
    merges = learn_merges(sample_words(rng, alphabet, merge_count), merge_count)
    symbols = [*SPECIAL_TOKENS, *(alphabet[b] for b in sorted(alphabet)), *(a + b for a, b in merges)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(i, token) for i, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {symbol: i for i, symbol in enumerate(symbols)},
            "merges": [list(pair) for pair in merges],
        },
    }


def added_token(token_id: int, content: str) -> dict[str, object]:
    """Describe a special token for tokenizer.json."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": content, **flags}


def tokenizer_config(shape: Shape) -> dict[str, object]:
    """Build tokenizer_config.json with the chat template."""
    return {
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": shape.max_pos,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def model_config(shape: Shape) -> dict[str, object]:
    """Build config.json."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "dtype": "bfloat16",
        "eos_token_id": SPECIAL_TOKENS.index("<|im_end|>"),
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.max_pos,
        "model_type": "qwen2",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "tie_word_embeddings": shape.tied,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocab,
    }


def generation_config() -> dict[str, object]:
    """Build generation_config.json."""
    return {"do_sample": True, "eos_token_id": [2, 0], "pad_token_id": 0, "temperature": 0.7, "top_p": 0.8}


def tensors(shape: Shape) -> Iterator[Tensor]:
    """Name every tensor of a Qwen2 model, in the order of its layers."""
    kv_width = shape.kv_heads * shape.head_dim
    yield Tensor("model.embed_tokens.weight", (shape.vocab, shape.hidden))
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield Tensor(f"{prefix}.input_layernorm.weight", (shape.hidden,), fill=1.0)
        for name, width in (("q", shape.hidden), ("k", kv_width), ("v", kv_width)):
            yield Tensor(f"{prefix}.self_attn.{name}_proj.weight", (width, shape.hidden))
            yield Tensor(f"{prefix}.self_attn.{name}_proj.bias", (width,), fill=0.0)
        yield Tensor(f"{prefix}.self_attn.o_proj.weight", (shape.hidden, shape.hidden))
        yield Tensor(f"{prefix}.post_attention_layernorm.weight", (shape.hidden,), fill=1.0)
        for name in ("gate", "up"):
            yield Tensor(f"{prefix}.mlp.{name}_proj.weight", (shape.intermediate, shape.hidden))
        yield Tensor(f"{prefix}.mlp.down_proj.weight", (shape.hidden, shape.intermediate))
    yield Tensor("model.norm.weight", (shape.hidden,), fill=1.0)
    if not shape.tied:
        yield Tensor("lm_head.weight", (shape.vocab, shape.hidden))


def padding(pad_bytes: int, shard_count: int) -> Iterator[Tensor]:
    """Split the padding into one tensor per shard."""
    for i in range(shard_count):
        size_bytes = pad_bytes * (i + 1) // shard_count - pad_bytes * i // shard_count
        if size_bytes:
            yield Tensor(f"model.layers.{i}.self_attn.{PAD_NAME}", (size_bytes,), dtype="U8")


def split(all_tensors: Sequence[Tensor], shard_count: int) -> list[list[Tensor]]:
    """Spread tensors over shards of about the same size, in order."""
    if shard_count > len(all_tensors):
        raise SystemExit(f"--shards must be at most {len(all_tensors)}: the model has no more tensors.")
    total_bytes = sum(t.size_bytes for t in all_tensors)
    shards: list[list[Tensor]] = [[] for _ in range(shard_count)]
    done_bytes = 0
    for i, tensor in enumerate(all_tensors):
        by_size = done_bytes * shard_count // total_bytes
        # Every shard gets a tensor: neither run ahead of the count of tensors left nor skip a shard.
        lowest = shard_count - (len(all_tensors) - i)
        first_empty = next((n for n, shard in enumerate(shards) if not shard), shard_count - 1)
        shards[min(max(by_size, lowest), first_empty)].append(tensor)
        done_bytes += tensor.size_bytes
    return shards


def values(tensor: Tensor, rng: random.Random) -> Iterator[bytes]:
    """Make a tensor's bytes, in pieces: bf16 is the upper half of an IEEE float32 (little-endian here)."""
    if tensor.dtype == "U8":
        for start in range(0, tensor.size_bytes, CHUNK_BYTES):
            yield rng.randbytes(min(CHUNK_BYTES, tensor.size_bytes - start))
        return
    count = math.prod(tensor.dims)
    floats = array("f", (rng.gauss(0.0, 0.02) if tensor.fill is None else tensor.fill for _ in range(count)))
    yield array("H", floats.tobytes())[1::2].tobytes()


def write_safetensors(path: Path, shard: Sequence[Tensor], seed: int) -> str:
    """Write one safetensors file; return its SHA-256."""
    offsets = list(itertools.accumulate((t.size_bytes for t in shard), initial=0))
    header = {
        "__metadata__": {"format": "pt"},
        **{
            t.name: {"dtype": t.dtype, "shape": list(t.dims), "data_offsets": [start, start + t.size_bytes]}
            for t, start in zip(shard, offsets)
        },
    }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        pieces = [struct.pack("<Q", len(encoded)), encoded]
        # A generator per tensor: a model's values do not depend on how it is cut into shards.
        drawn = (piece for t in shard for piece in values(t, seeded(f"{seed}/{t.name}")))
        for piece in itertools.chain(pieces, drawn):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as repositories have them: indented, with a newline at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(out: Path, shape: Shape, shard_count: int, seed: int, pad_bytes: int) -> dict[str, str]:
    """Write the safetensors files, and their index when there are several; return each one's SHA-256."""
    shards = split(list(tensors(shape)), shard_count)
    for shard, pad in zip(shards, padding(pad_bytes, shard_count)):
        shard.append(pad)
    if shard_count == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{i:05}-of-{shard_count:05}.safetensors" for i in range(1, shard_count + 1)]
        index = {
            "metadata": {"total_size": sum(t.size_bytes for shard in shards for t in shard)},
            "weight_map": {t.name: name for name, shard in zip(names, shards) for t in shard},
        }
        write_json(out / "model.safetensors.index.json", index)
    return {name: write_safetensors(out / name, shard, seed) for name, shard in zip(names, shards)}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("out", type=Path, help="directory to write into; created when missing")
    sizes = {
        "layers": (2, "transformer layers"),
        "heads": (2, "attention heads"),
        "kv-heads": (1, "key/value heads; must divide the heads"),
        "head-dim": (32, f"width of a head, at least {MIN_HEAD_DIM}"),
        "intermediate": (128, "width of the feed-forward layer"),
        "vocab": (512, "tokens of the vocabulary"),
        "max-pos": (2048, "longest context in tokens"),
        "shards": (1, "safetensors files"),
        "seed": (0, "another seed, other weights and another tokenizer"),
        "pad-bytes": (0, "bytes of ballast, spread over the shards"),
    }
    for name, (default, text) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--tied", action="store_true", help="share the embedding with the output layer")
    arguments = parser.parse_args(argv)
    if arguments.head_dim < MIN_HEAD_DIM:
        parser.error(f"--head-dim must be at least {MIN_HEAD_DIM}: vLLM's CPU attention refuses less")
    if arguments.heads % arguments.kv_heads:
        parser.error("--kv-heads must divide --heads")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Write the model and print what was written, as JSON."""
    arguments = parse_arguments(argv)
    out: Path = arguments.out
    shape = Shape(
        layers=arguments.layers,
        heads=arguments.heads,
        kv_heads=arguments.kv_heads,
        head_dim=arguments.head_dim,
        intermediate=arguments.intermediate,
        vocab=arguments.vocab,
        max_pos=arguments.max_pos,
        tied=arguments.tied,
    )
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("model*.safetensors*"):
        old.unlink()
    write_json(out / "config.json", model_config(shape))
    write_json(out / "generation_config.json", generation_config())
    write_json(out / "tokenizer.json", tokenizer(shape.vocab, seeded(str(arguments.seed))))
    write_json(out / "tokenizer_config.json", tokenizer_config(shape))
    hashes = write_weights(out, shape, arguments.shards, arguments.seed, arguments.pad_bytes)
    summary = {
        "path": str(out),
        "parameters": sum(math.prod(t.dims) for t in tensors(shape)),
        "weight_bytes": sum(t.size_bytes for t in tensors(shape)),
        "total_bytes": sum(f.stat().st_size for f in out.iterdir() if f.is_file()),
        "sha256": hashes,
    }
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()

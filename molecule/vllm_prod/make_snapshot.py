#!/usr/bin/env python3
"""Make what hf_model would leave of Qwen2.5-32B-Instruct: real configuration, real headers, and holes for weights.

usage: make_snapshot.py ROOT REPOSITORY COMMIT
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

SHARDS = 17
BF16_BYTES = 2
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE, VOCAB = 64, 5120, 40, 8, 128, 27648, 152064
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": 32768,
    "max_window_layers": 70,
    "model_type": "qwen2",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCAB,
}


def tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name every tensor and its shape, in the order of the real checkpoint."""
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (HIDDEN,)
        yield f"{at}.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
        yield f"{at}.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{at}.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{at}.post_attention_layernorm.weight", (HIDDEN,)
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{at}.self_attn.{name}_proj.bias", (heads * HEAD_DIM,)
            yield f"{at}.self_attn.{name}_proj.weight", (heads * HEAD_DIM, HIDDEN)
        yield f"{at}.self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def write_shard(path: Path, members: list[tuple[str, tuple[int, ...]]]) -> None:
    """Write a shard's header, and make the file as long as its weights would be."""
    header, offset = {}, 0
    for name, shape in members:
        end = offset + math.prod(shape) * BF16_BYTES
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def write_snapshot(folder: Path) -> None:
    """Write the files of the repository."""
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}})
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer"}))
    every = list(tensors())
    each = math.ceil(len(every) / SHARDS)
    weight_map = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        members = every[number * each : (number + 1) * each]
        write_shard(folder / name, members)
        weight_map.update({tensor: name for tensor, _ in members})
    total = sum(math.prod(shape) * BF16_BYTES for _, shape in every)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_manifest(folder: Path, repository: str, commit: str) -> None:
    """State what a download would have proved. Nobody hashes 65 GB of holes here."""
    files = []
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        status = path.stat()
        digest = {"algorithm": "sha256", "hex": "0" * 64}
        files.append(
            {"path": path.name, "size_bytes": status.st_size, "digest": digest, "mtime_ns": status.st_mtime_ns}
        )
    manifest = {
        "format": 1,
        "repo": repository,
        "commit": commit,
        "endpoint": "https://huggingface.co",
        "selection": {"allow": [], "ignore": [], "allow_pickle": False},
        "files": files,
    }
    (folder / ".llm-serving.json").write_text(json.dumps(manifest))


def main() -> None:
    """Entry point."""
    root, repository, commit = sys.argv[1:]
    folder = Path(root) / repository / commit
    folder.mkdir(parents=True, mode=0o755)
    write_snapshot(folder)
    write_manifest(folder, repository, commit)


if __name__ == "__main__":
    main()

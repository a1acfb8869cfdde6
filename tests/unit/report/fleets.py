"""Hosts and models for the tests of reports; the browser tests use them too."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.report.fleet import FoundModel, Group, plan_fleet
from ansible_collections.llm.serving.plugins.module_utils.sizing.known_models import KNOWN_MODELS
from ansible_collections.llm.serving.plugins.module_utils.sizing.plans import ModelFiles
from ansible_collections.llm.serving.plugins.module_utils.sizing.shape import parse_shape

GIB = 1024**3
H100_BYTES, L4_BYTES = 85520809984, 24152899584
QWEN_32B = "Qwen/Qwen2.5-32B-Instruct"
QWEN_7B = "Qwen/Qwen2.5-7B-Instruct"


def known(model: str, _revision: str) -> FoundModel:
    """Any model of the table; the others do not exist."""
    if model not in KNOWN_MODELS:
        return FoundModel(None, problem={"message": f"no model {model}", "remedy": "name another"})
    return FoundModel(ModelFiles(parse_shape(KNOWN_MODELS[model])), "a test")


def gpu(count: int, name: str = "NVIDIA H100 80GB HBM3", total: int = H100_BYTES, **more: Any) -> dict[str, Any]:
    """Facts about cards that nobody uses."""
    devices = [
        {
            "index": index,
            "uuid": f"GPU-{index}",
            "name": name,
            "memory_total_bytes": total,
            "memory_free_bytes": total - 100_000_000,
            "compute_capability": "9.0",
            "pci_address": f"0000:{index:02x}:00.0",
            "numa_node": 0,
            "unified_memory": False,
            "mig_enabled": False,
            "mig_devices": [],
            **more,
        }
        for index in range(count)
    ]
    return {"vendor": "nvidia", "devices": devices, "topology": None, "problem": None}


def host(name: str, facts: Mapping[str, Any], *models: Mapping[str, Any], **vllm: Any) -> dict[str, Any]:
    """A host of the group vllm."""
    wishes = [{"port": 8000 + number, **model} for number, model in enumerate(models)]
    return {
        "name": name,
        "gpu": dict(facts),
        "memory_total_bytes": 512 * GIB,
        "cpu_count": 64,
        "numa_nodes": 1,
        "vllm": {
            "version": "0.33.0",
            "running": [],
            "wishes": {"models": wishes, "warnings": {"half": ["swap_space is a dead option."]}},
            **vllm,
        },
    }


def ollama_host(name: str, fits: bool = True) -> dict[str, Any]:
    """A host of the group ollama, with what ollama_plan returned."""
    model = {
        "name": "qwen2.5:7b",
        "weights_bytes": 4683073184,
        "kv_cache_bytes_per_token": 57344.0,
        "context": 8192,
        "parallel": 6,
        "need_bytes": 4683073184 + 6 * 8192 * 57344 + GIB,
        "exact": True,
    }
    memory = {
        "pool": "NVIDIA L4",
        "total_bytes": L4_BYTES,
        "usable_bytes": L4_BYTES - GIB,
        "fits": fits,
        "models": [model],
    }
    return {
        "name": name,
        "gpu": gpu(1, "NVIDIA L4", L4_BYTES),
        "memory_total_bytes": 64 * GIB,
        "cpu_count": 24,
        "ollama": {
            "environment": {"OLLAMA_MAX_LOADED_MODELS": "1"},
            "memory": memory,
            "reasons": ["OLLAMA_NUM_PARALLEL=6: one per 4 cores, of 24"],
            "remarks": [],
        },
    }


def fleet() -> list[Group]:
    """One of each: alike hosts, several models on a card, a CPU, Ollama, refusals, names that are no good."""
    nasty = {"name": '<script>alert("x")</script>', "model": QWEN_7B, "max_model_len": 4096}
    return plan_fleet(
        [
            *(host(f"gpu{number:02}", gpu(4), {"name": "qwen32b", "model": QWEN_32B}) for number in range(12)),
            host("shared", gpu(1), {"name": "a", "model": QWEN_7B}, {"name": "b", "model": "Qwen/Qwen3-8B"}),
            host("small", gpu(1, "NVIDIA L4", L4_BYTES), {"name": "too-big", "model": QWEN_32B}, nasty),
            host("cpu", {"devices": []}, {"name": "half", "model": "Qwen/Qwen2.5-0.5B-Instruct"}, version="0.32.0"),
            host("unknown", gpu(1), {"name": "nobody", "model": "acme/<b>nothing</b>"}),
            ollama_host("edge"),
        ],
        known,
    )


def write_checkpoint(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, int]]) -> None:
    """A model directory whose weights are holes: right headers, right sizes, no content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    header, start = {}, 0
    for name, (dtype, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [size // 2], "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + start)


def qwen_tensors(layers: int, hidden: int, columns: int, vocabulary: int) -> dict[str, tuple[str, int]]:
    """Tensors of a Qwen2 with as many key/value heads as an eighth of its width."""
    found = {
        "model.embed_tokens.weight": ("BF16", 2 * vocabulary * hidden),
        "lm_head.weight": ("BF16", 2 * vocabulary * hidden),
        "model.norm.weight": ("BF16", 2 * hidden),
    }
    for layer in range(layers):
        start = f"model.layers.{layer}."
        for name, size in {
            "self_attn.q_proj.weight": hidden * hidden,
            "self_attn.k_proj.weight": hidden * hidden // 5,
            "self_attn.v_proj.weight": hidden * hidden // 5,
            "self_attn.o_proj.weight": hidden * hidden,
            "mlp.gate_proj.weight": hidden * columns,
            "mlp.up_proj.weight": hidden * columns,
            "mlp.down_proj.weight": hidden * columns,
            "input_layernorm.weight": hidden,
        }.items():
            found[start + name] = ("BF16", 2 * size)
    return found

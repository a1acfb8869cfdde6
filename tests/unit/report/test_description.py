"""What a host tells about a model gives the same plan as the model itself."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.llm.serving.plugins.module_utils.sizing.description import (
    describe,
    describe_directory,
    find_directory,
    from_description,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing.hardware import KNOWN_CARDS, imagined_devices
from ansible_collections.llm.serving.plugins.module_utils.sizing.known_models import KNOWN_MODELS
from ansible_collections.llm.serving.plugins.module_utils.sizing.model_files import read_model
from ansible_collections.llm.serving.plugins.module_utils.sizing.plan import Host, plan_host
from ansible_collections.llm.serving.plugins.module_utils.sizing.safetensors import CheckpointSize, TensorInfo
from ansible_collections.llm.serving.plugins.module_utils.sizing.wishes import parse_wishes

from .fleets import QWEN_32B, qwen_tensors, write_checkpoint

COMMIT = "a" * 40


def test_told_model_is_planned_like_the_model_itself(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, KNOWN_MODELS[QWEN_32B], qwen_tensors(64, 5120, 27648, 152064))
    told = json.loads(json.dumps(describe_directory(str(tmp_path))))
    wishes = parse_wishes([{"name": "q", "model": str(tmp_path)}])
    for count in (2, 8):
        host = Host(devices=imagined_devices(KNOWN_CARDS["A100-80GB"], count))
        (ours,) = plan_host(wishes, [from_description(told)], host)
        (direct,) = plan_host(wishes, [read_model(str(tmp_path))], host)
        assert ours.as_dict() == direct.as_dict()
        assert ours.estimate.weights.source.startswith("headers of")


def test_description_is_small(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, KNOWN_MODELS[QWEN_32B], qwen_tensors(64, 5120, 27648, 152064))
    assert len(json.dumps(describe_directory(str(tmp_path)))) < 4000


def test_experts_of_a_layer_are_told_as_one() -> None:
    tensors = {
        f"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight": TensorInfo("F8_E4M3", (2, 2), 1000 + expert)
        for layer in range(3)
        for expert in range(256)
    }
    told = describe(KNOWN_MODELS[QWEN_32B], CheckpointSize(1, tensors, "x"))
    assert len(told["checkpoint"]["tensors"]) == 1
    files = from_description(told)
    assert files.checkpoint is not None
    assert sum(tensor.size_bytes for tensor in files.checkpoint.tensors.values()) == sum(
        tensor.size_bytes for tensor in tensors.values()
    )


def test_experts_of_two_dtypes_stay_apart() -> None:
    tensors = {
        "model.layers.0.mlp.experts.0.up_proj.weight": TensorInfo("F8_E4M3", (), 8),
        "model.layers.0.mlp.experts.1.up_proj.weight": TensorInfo("BF16", (), 16),
    }
    files = from_description(describe(KNOWN_MODELS[QWEN_32B], CheckpointSize(24, tensors, "x")))
    assert files.checkpoint is not None
    assert sorted(tensor.size_bytes for tensor in files.checkpoint.tensors.values()) == [8, 16]


def test_model_is_found_by_its_commit_or_by_what_a_branch_meant(tmp_path: Path) -> None:
    snapshot = tmp_path / "acme" / "tiny" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "acme" / "tiny" / ".refs.json").write_text(json.dumps({"main": COMMIT}), "utf-8")
    assert find_directory("acme/tiny", COMMIT, str(tmp_path)) == str(snapshot)
    assert find_directory("acme/tiny", "main", str(tmp_path)) == str(snapshot)
    assert find_directory("acme/tiny", "other", str(tmp_path)) is None
    assert find_directory("acme/none", "main", str(tmp_path)) is None
    assert find_directory("no repository", "main", str(tmp_path)) is None
    assert find_directory(str(snapshot), "main", "/nowhere") == str(snapshot)

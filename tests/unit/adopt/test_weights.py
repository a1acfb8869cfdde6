"""Where models lie, what is known of them, and where they come to lie."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.adopt.errors import AdoptError
from ansible_collections.llm.serving.plugins.module_utils.adopt.weights import (
    Places,
    Sought,
    find_weights,
    read_ollama_store,
)

COMMIT = "0123456789" * 4
FILES = {"config.json": b"{}", "tokenizer.json": b"{}"}


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, data in {**FILES, "model.safetensors": safetensors()}.items():
        (folder / name).write_bytes(data)
    return folder


def etag(data: bytes, name: str) -> str:
    if name.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - what git uses


def note(folder: Path, commit: str = COMMIT, without: str = "") -> None:
    notes = folder / ".cache/huggingface/download"
    notes.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_file() and path.name != without:
            (notes / f"{path.name}.metadata").write_text(f"{commit}\n{etag(path.read_bytes(), path.name)}\n1.0\n")


def sought(root: Path, model: str, **changes: Any) -> Sought:
    return Sought(model, Path("/home/ps/vllm"), changes.pop("environment", {}), Path("/home/ps"), **changes)


def places(root: Path, **repos: str) -> Places:
    return Places(root / "srv/models", repos, root)


def test_a_directory_without_a_repository_keeps_its_name(tmp_path: Path) -> None:
    make_model(tmp_path / "home/ps/vllm/models/Qwen")
    found = find_weights(sought(tmp_path, "models/Qwen"), places(tmp_path))
    assert found is not None
    assert (found.model, found.revision, found.manifest) == ("/srv/models/local/Qwen", "", None)
    assert sorted(p.target.name for p in found.placements) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert {p.digest for p in found.placements} == {None}


def test_a_noted_download_becomes_a_snapshot(tmp_path: Path) -> None:
    note(make_model(tmp_path / "home/ps/m"))
    found = find_weights(sought(tmp_path, "/home/ps/m"), places(tmp_path, **{"/home/ps/m": "Qwen/Q"}))
    assert found is not None
    assert (found.model, found.revision) == ("Qwen/Q", COMMIT)
    assert found.target == tmp_path / f"srv/models/Qwen/Q/{COMMIT}"
    assert found.manifest is not None
    assert {str(entry.digest).partition(":")[0] for entry in found.manifest.files} == {"sha256", "git-sha1"}


def test_a_file_of_unknown_content_is_no_part_of_a_snapshot(tmp_path: Path) -> None:
    note(make_model(tmp_path / "home/ps/m"), without="config.json")
    with pytest.raises(AdoptError, match=r"config\.json should be"):
        find_weights(sought(tmp_path, "/home/ps/m"), places(tmp_path, **{"/home/ps/m": "Qwen/Q"}))


def test_a_model_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    (make_model(tmp_path / "home/ps/m") / "tokenizer.json").unlink()
    with pytest.raises(AdoptError, match="no tokenizer"):
        find_weights(sought(tmp_path, "/home/ps/m"), places(tmp_path))


def make_cache(root: Path, cache: str = "home/ps/.cache/huggingface/hub") -> Path:
    folder = root / cache / "models--acme--tiny"
    snapshot = folder / "snapshots" / COMMIT
    for place in (snapshot, folder / "blobs", folder / "refs"):
        place.mkdir(parents=True)
    (folder / "refs/main").write_text(COMMIT)
    for name, data in {**FILES, "model.safetensors": safetensors()}.items():
        blob = folder / "blobs" / etag(data, name)
        blob.write_bytes(data)
        (snapshot / name).symlink_to(blob)
    return snapshot


@pytest.mark.parametrize(
    ("cache", "environment"),
    [
        ("home/ps/.cache/huggingface/hub", {}),
        ("home/ps/hf/hub", {"HF_HOME": "/home/ps/hf"}),
        ("home/ps/c", {"HF_HUB_CACHE": "/home/ps/c"}),
    ],
)
def test_the_hub_clients_cache(tmp_path: Path, cache: str, environment: dict[str, str]) -> None:
    make_cache(tmp_path, cache)
    found = find_weights(sought(tmp_path, "acme/tiny", environment=environment), places(tmp_path))
    assert found is not None
    assert (found.model, found.revision) == ("acme/tiny", COMMIT)
    assert all(p.source.parent.name == "blobs" and p.digest for p in found.placements)


def test_a_path_into_the_cache_names_its_repository(tmp_path: Path) -> None:
    snapshot = make_cache(tmp_path)
    found = find_weights(sought(tmp_path, f"/{snapshot.relative_to(tmp_path)}"), places(tmp_path))
    assert found is not None
    assert (found.model, found.revision) == ("acme/tiny", COMMIT)


def test_what_is_where_models_are_kept_stays(tmp_path: Path) -> None:
    make_model(tmp_path / "srv/models/local/m")
    found = find_weights(sought(tmp_path, "/srv/models/local/m"), places(tmp_path))
    assert found is not None
    assert (found.stays, found.model, found.placements) == (True, "/srv/models/local/m", [])


def test_nothing_there(tmp_path: Path) -> None:
    assert find_weights(sought(tmp_path, "acme/absent"), places(tmp_path)) is None


def make_store(folder: Path, weights: bytes = b"GGUF") -> Path:
    (folder / "blobs").mkdir(parents=True)
    layers = []
    for kind, data in (("model", weights), ("config", b"{}")):
        digest = hashlib.sha256(data).hexdigest()
        (folder / f"blobs/sha256-{digest}").write_bytes(data)
        layers.append({"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)})
    manifest = folder / "manifests/registry.ollama.ai/library/tiny/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers[:1], "config": layers[1]}))
    return folder


def test_a_store_in_a_home_moves(tmp_path: Path) -> None:
    source = make_store(tmp_path / "home/ps/.ollama/models")
    store = read_ollama_store(source, tmp_path / "usr/share/ollama/.ollama/models", tmp_path)
    (model,) = store.models
    manifest = source / "manifests/registry.ollama.ai/library/tiny/latest"
    assert (model.name, model.digest) == ("tiny:latest", hashlib.sha256(manifest.read_bytes()).hexdigest())
    assert len(store.placements) == 3
    assert not store.stays
    assert store.problems == []


def test_a_store_elsewhere_stays(tmp_path: Path) -> None:
    source = make_store(tmp_path / "data/ollama")
    assert read_ollama_store(source, tmp_path / "usr/share/ollama/.ollama/models", tmp_path).stays


def test_a_model_without_its_blob_is_told(tmp_path: Path) -> None:
    source = make_store(tmp_path / "home/ps/.ollama/models")
    next(path for path in (source / "blobs").iterdir() if path.stat().st_size == 4).write_bytes(b"GGU")
    (problem,) = read_ollama_store(source, tmp_path / "x", tmp_path).problems
    assert problem.startswith("tiny:latest: expected")
    assert "ollama rm" in problem

"""Models as the server's folder holds them: manifests and blobs, readable while no server runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .gguf import ModelShape, read_shape
from .values import OllamaError

DEFAULT_REGISTRY = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
MODEL = "application/vnd.ollama.image.model"
PARAMETERS = "application/vnd.ollama.image.params"
# Loaded beside the weights.
COMPANIONS = ("application/vnd.ollama.image.projector", "application/vnd.ollama.image.adapter")


@dataclass(frozen=True)
class StoredModel:
    """A model of the store: shape and parameters, and the bytes of its projectors and adapters."""

    shape: ModelShape
    parameters: Mapping[str, Any] = field(default_factory=dict)
    companion_bytes: int = 0


def split_name(name: str) -> tuple[str, str, str, str]:
    """Split into registry, namespace, model and tag. Raises OllamaError for what is no name."""
    path, _separator, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    parts = [part for part in path.split("/") if part]
    if not parts or len(parts) > 3 or any(part in {".", ".."} for part in [*parts, tag]):
        raise OllamaError(f"expected a model name such as qwen2.5:7b or host:5000/team/model:tag, found {name!r}")
    registry, namespace, model = [DEFAULT_REGISTRY, DEFAULT_NAMESPACE][: 3 - len(parts)] + parts
    return registry, namespace, model, tag or DEFAULT_TAG


def full_name(name: str) -> str:
    """The name as the server lists it: with a tag, without the default registry and namespace."""
    registry, namespace, model, tag = split_name(name)
    if registry != DEFAULT_REGISTRY:
        return f"{registry}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace == DEFAULT_NAMESPACE else f"{namespace}/{model}:{tag}"


def read_stored(models_dir: Path, name: str) -> StoredModel | None:
    """Read a model of the store; None where there is none. Raises OllamaError or OSError when it is damaged."""
    manifest = models_dir.joinpath("manifests", *split_name(name))
    try:
        text = manifest.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _read(models_dir / "blobs", json.loads(text)["layers"])
    except FileNotFoundError as error:
        raise OllamaError(f"{name} lacks a file, {error.filename}: pull {name} again, or delete it") from error
    except OllamaError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OllamaError(f"the manifest {manifest} is damaged: pull {name} again") from error


def _read(blobs_dir: Path, layers: Sequence[Mapping[str, Any]]) -> StoredModel | None:
    def blobs(*kinds: str) -> list[Path]:
        found = [layer["digest"] for layer in layers if layer["mediaType"] in kinds]
        return [blobs_dir / digest.replace(":", "-") for digest in found]

    weights = blobs(MODEL)
    if not weights:
        return None  # safetensors and cloud models: the server sizes those itself
    parameters: dict[str, Any] = {}
    for blob in blobs(PARAMETERS):
        parameters.update(json.loads(blob.read_text("utf-8")))
    companions = sum(blob.stat().st_size for blob in blobs(*COMPANIONS))
    return StoredModel(read_shape(weights[0]), parameters, companions)

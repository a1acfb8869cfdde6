"""Reading a model directory: the only part of sizing that touches the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import SizingError
from .plans import ModelFiles
from .safetensors import INDEX_NAME, CheckpointSize, from_index, read_checkpoint
from .shape import parse_shape


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SizingError(
            f"{path} does not exist",
            expected="a model directory with a config.json",
            found=_what_is_there(path.parent),
            remedy="correct the path, or let hf_model download the model first",
        ) from error
    except (OSError, ValueError) as error:
        raise SizingError(
            f"{path} cannot be read as JSON: {error}",
            expected="the model's configuration",
            remedy="download it again (hf_model)",
        ) from error
    if not isinstance(data, dict):
        raise SizingError(f"{path} holds no object", expected="a JSON object", found=type(data).__name__)
    return data


def _what_is_there(directory: Path) -> str:
    if not directory.is_dir():
        return f"no directory {directory}"
    names = sorted(entry.name for entry in directory.iterdir())[:5]
    return "a directory with " + (", ".join(names) if names else "nothing in it")


def read_model(directory: str) -> ModelFiles:
    """Shape and weight sizes of a downloaded model. Raises SizingError when something is missing."""
    config, checkpoint = read_files(directory)
    return ModelFiles(parse_shape(config), checkpoint)


def read_files(directory: str) -> tuple[dict[str, Any], CheckpointSize | None]:
    """Configuration and weight sizes of a downloaded model. Raises SizingError when something is missing."""
    path = Path(directory)
    config = _read_json(path / "config.json")
    quantization = path / "hf_quant_config.json"
    if quantization.is_file() and not config.get("quantization_config"):
        # ModelOpt's checkpoints describe their format in a file of its own.
        config["quantization_config"] = _read_json(quantization)
    checkpoint = read_checkpoint(path)
    if checkpoint is None and (path / INDEX_NAME).is_file():
        checkpoint = from_index(_read_json(path / INDEX_NAME))
    return config, checkpoint

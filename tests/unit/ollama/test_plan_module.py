"""What the module makes of an operator's entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError
from ansible_collections.llm.serving.plugins.modules.ollama_plan import gpus_from, model_from


def entry(**options: Any) -> dict[str, Any]:
    return {"name": "m", "path": None, "base": None, "parameters": None, **options}


def test_numbers_may_be_written_as_text(tiny_gguf: Path, tmp_path: Path) -> None:
    found = model_from(entry(path=str(tiny_gguf), parameters={"num_ctx": "4096", "num_gpu": 0}), tmp_path)
    assert (found.context, found.layers, found.shape is not None) == (4096, 0, True)


@pytest.mark.parametrize("name", ["num_ctx", "num_gpu"])
@pytest.mark.parametrize("value", ["8k", "", [4096], {}])
@pytest.mark.parametrize("is_there", [True, False])
def test_parameters_that_are_no_numbers_are_refused(
    tiny_gguf: Path, tmp_path: Path, name: str, value: Any, is_there: bool
) -> None:
    path = str(tiny_gguf) if is_there else None
    with pytest.raises(OllamaError, match=f"m: expected {name} as a whole number"):
        model_from(entry(path=path, parameters={name: value}), tmp_path)


def test_a_card_that_is_split_counts_by_its_instances() -> None:
    part = {"name": "MIG 1g.10gb", "memory_total_bytes": 10, "uuid": "MIG-a"}
    whole_card = {"index": 1, "name": "H100", "memory_total_bytes": 80, "uuid": "GPU-b", "mig_devices": []}
    cards = gpus_from({"devices": [{"index": 0, "mig_devices": [part, part]}, whole_card]})
    assert [(card.index, card.memory_total_bytes) for card in cards] == [(0, 10), (0, 10), (1, 80)]

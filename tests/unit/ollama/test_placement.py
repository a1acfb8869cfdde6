"""Which models are meant for the CPU."""

from __future__ import annotations

from ansible_collections.llm.serving.plugins.module_utils.ollama.placement import cpu_models

MODELS = [
    {"name": "plain"},
    {"name": "none", "parameters": None},
    {"name": "cpu", "parameters": {"num_gpu": 0}},
    {"name": "text", "parameters": {"num_gpu": "0"}},
    {"name": "some", "parameters": {"num_gpu": 20, "num_ctx": 0}},
]


def test_only_models_without_layers_on_gpus_are() -> None:
    assert cpu_models(MODELS) == ["cpu", "text"]


def test_a_default_counts_for_models_that_set_none() -> None:
    assert cpu_models(MODELS, 0) == ["plain", "none", "cpu", "text"]
    assert cpu_models(MODELS, 33) == ["cpu", "text"]

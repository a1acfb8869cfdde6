"""How much of Ollama's models has to be on GPUs, from inventories."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.template import trust_as_template
from ansible_collections.llm.serving.plugins.filter.monitoring import monitoring_ollama_shares

from .roles import ROLES, derive

EMBED = {"name": "embed", "parameters": {"num_gpu": 0}}
GROUPS = {"ollama": ["edge", "plain", "gone"], "vllm": ["gpu"]}


def fleet(**edge: Any) -> dict[str, dict[str, Any]]:
    return {"edge": edge, "plain": {"ollama_models": [{"name": "chat"}]}, "gone": {"ollama_state": "absent"}}


def test_where_all_has_to_be_on_gpus_nothing_is_said() -> None:
    assert monitoring_ollama_shares(GROUPS, fleet(ollama_gpu_percent=100)) == []
    assert monitoring_ollama_shares({}, {}) == []


def test_hosts_and_models_that_need_less() -> None:
    assert monitoring_ollama_shares(GROUPS, fleet(ollama_gpu_percent="80", ollama_models=[EMBED])) == [
        {"host": "edge", "percent": 80},
        {"host": "edge", "model": "embed:latest", "percent": 0},
    ]
    found = monitoring_ollama_shares(GROUPS, fleet(ollama_models=[{"name": "a:1b"}], ollama_gpu_layers=0))
    assert found == [{"host": "edge", "model": "a:1b", "percent": 0}]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ollama_gpu_percent": "most"}, "ollama_gpu_percent of edge: expected a number from 0 to 100, found 'most'"),
        ({"ollama_models": [{**EMBED, "name": "a/b/c/d"}]}, "expected a model name such as .* found 'a/b/c/d'"),
    ],
)
def test_what_is_none_is_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=told):
        monitoring_ollama_shares(GROUPS, fleet(**values))


def test_the_rules_take_them_from_the_inventory() -> None:
    rules = derive(
        "monitoring",
        trust_as_template("{{ __monitoring_rules }}"),
        ansible_search_path=[str(ROLES / "monitoring")],
        groups=GROUPS,
        hostvars=fleet(ollama_gpu_percent=80),
        ansible_managed="",
    )
    (expression,) = [
        rule["expr"] for group in rules["groups"] for rule in group["rules"] if rule["alert"] == "OllamaUsesCpu"
    ]
    assert expression.endswith(' unless ollama_model_vram_bytes{host="edge"} / ollama_model_size_bytes >= 0.76')

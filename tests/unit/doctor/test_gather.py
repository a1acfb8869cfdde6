"""What is gathered on a host is held against what the inventory means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.llm.serving.plugins.module_utils.doctor import gather
from ansible_collections.llm.serving.plugins.module_utils.doctor.evaluate import evaluate
from ansible_collections.llm.serving.plugins.module_utils.engines.sockets import Socket
from ansible_collections.llm.serving.plugins.module_utils.engines.systemd import UnitState
from ansible_collections.llm.serving.plugins.module_utils.ollama.api import Loaded

PLAYBOOK = Path(__file__).resolve().parents[3] / "playbooks" / "doctor.yml"
LOADED = [Loaded("chat:latest", 100, 85, 4096), Loaded("embed:latest", 10, 0, 512)]


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A host with a card whose Ollama has two models in memory; returns the codes of what is found there."""
    unit = UnitState("ollama.service", load="loaded", active="active", sub="running", enabled="enabled")
    monkeypatch.setattr(gather.gpu_facts, "gather", lambda *_: {"vendor": "nvidia", "devices": [{"name": "L4"}]})
    monkeypatch.setattr(gather, "listening", lambda _run: [Socket("127.0.0.1", 11434, "ollama", 7)])
    monkeypatch.setattr(gather, "unit_of", lambda _pid: unit.unit)
    monkeypatch.setattr(gather, "unit_states", lambda _run, _names: {unit.unit: unit})
    monkeypatch.setattr(gather, "recent_journal", lambda _run, _unit: [])
    monkeypatch.setattr(gather, "get", lambda _server, _path: None)
    monkeypatch.setattr(gather.api, "loaded", lambda _server: LOADED)

    def found(**meant: Any) -> list[str]:
        evidence = gather.gather(lambda _command: (0, "", ""), gather.Places(models_root=tmp_path, **meant))
        return [finding.code for finding in evaluate({**evidence, "disks": []})]

    return found


def test_models_that_are_meant_for_the_cpu_are_no_finding(edge: Any) -> None:
    assert edge() == ["silent_cpu_fallback"]
    assert edge(cpu_models=["embed"]) == ["partly_on_the_cpu"]
    assert edge(gpu_percent=80.0, cpu_models=["embed"]) == []
    assert edge(gpu_percent=0.0) == []


def test_the_playbook_passes_what_the_inventory_means() -> None:
    play = DataLoader().load_from_file(str(PLAYBOOK), trusted_as_template=True)[0]
    (options,) = [task["llm.serving.llm_doctor"] for task in play["tasks"] if "llm.serving.llm_doctor" in task]
    meant = {name: options[name] for name in ("ollama_gpu_percent", "ollama_cpu_models")}
    models = [{"name": "chat"}, {"name": "embed", "parameters": {"num_gpu": 0}}]

    def passed(**variables: Any) -> Any:
        return Templar(DataLoader(), variables).template(meant)

    assert passed() == {"ollama_gpu_percent": 100, "ollama_cpu_models": []}
    told = passed(ollama_gpu_percent=80, ollama_models=models)
    assert told == {"ollama_gpu_percent": 80, "ollama_cpu_models": ["embed"]}
    assert passed(ollama_gpu_layers=0, ollama_models=models)["ollama_cpu_models"] == ["chat", "embed"]

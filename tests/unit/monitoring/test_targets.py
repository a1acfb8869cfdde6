"""What Prometheus scrapes, from inventories."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.filter.monitoring import monitoring_problems
from ansible_collections.llm.serving.plugins.module_utils.monitoring.targets import (
    TargetError,
    consoles,
    ollama_url,
    targets,
)

GROUPS = {"gateway": ["gate"], "vllm": ["gpu"], "ollama": ["edge"], "monitoring": ["mon"], "monitored": ["nas"]}


def fleet(**changes: Any) -> dict[str, dict[str, Any]]:
    hosts: dict[str, dict[str, Any]] = {
        "gate": {
            "gateway_metrics_address": "10.0.0.1", "monitoring_agent_address": "10.0.0.1", "ansible_host": "gate.x",
        },
        "gpu": {
            "vllm_host": "10.0.0.2", "monitoring_agent_address": "10.0.0.2",
            "vllm_models": [{"name": "a", "port": 8010}, {"name": "b", "port": 8011}, {"name": "c", "state": "absent"}],
        },
        "edge": {"monitoring_agent_address": "*", "ansible_host": "10.0.0.3"},
        "mon": {},
        "nas": {"monitoring_agent_address": "fd00::5", "monitoring_agent_port": 9200},
    }  # fmt: skip
    for host, values in changes.items():
        hosts[host].update(values)
    return hosts


def addresses(found: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["targets"][0]: entry["labels"]["host"] for entry in found}


def test_every_job() -> None:
    found = targets("mon", GROUPS, fleet().__getitem__)
    assert addresses(found["node"]) == {
        "10.0.0.1:9100": "gate", "10.0.0.2:9100": "gpu", "10.0.0.3:9100": "edge", "127.0.0.1:9100": "mon",
        "[fd00::5]:9200": "nas",
    }  # fmt: skip
    assert found["vllm"] == [
        {"targets": ["10.0.0.2:8010"], "labels": {"host": "gpu", "model": "a"}},
        {"targets": ["10.0.0.2:8011"], "labels": {"host": "gpu", "model": "b"}},
    ]
    assert addresses(found["ollama"]) == {"10.0.0.3:9435": "edge"}
    assert addresses(found["gateway"]) == {"10.0.0.1:8405": "gate"}
    assert addresses(found["door"]) == {"gate.x:443": "gate"}


def test_one_host_is_all() -> None:
    groups = {"gateway": ["one"], "vllm": ["one"], "monitoring": ["one"]}
    found = targets("one", groups, lambda host: {"vllm_models": [{"name": "a", "port": 8010}]})
    every = {address for job in found.values() for address in addresses(job)}
    assert every == {"127.0.0.1:9100", "127.0.0.1:8010", "127.0.0.1:8405", "127.0.0.1:443"}


@pytest.mark.parametrize(
    ("host", "values", "variable"),
    [
        ("gpu", {"monitoring_agent_address": None}, "monitoring_agent_address"),
        ("gpu", {"vllm_host": "127.0.0.1"}, "vllm_host"),
        ("gate", {"gateway_metrics_address": "127.0.0.1"}, "gateway_metrics_address"),
    ],
)
def test_what_cannot_be_reached_is_refused(host: str, values: dict[str, Any], variable: str) -> None:
    with pytest.raises(TargetError, match=rf"{variable}: {host} listens on 127.0.0.1, where the monitor mon cannot"):
        targets("mon", GROUPS, fleet(**{host: values}).__getitem__)


def test_consoles() -> None:
    values = {"mon": {"monitoring_address": "10.0.0.9", "monitoring_grafana": True}}
    groups = {"gateway": ["gate"], "monitoring": ["mon"]}
    found = consoles("gate", groups, values.__getitem__)
    assert [(console["name"], console["path"], console["port"]) for console in found] == [
        ("alertmanager", "/alertmanager/", 9093), ("prometheus", "/prometheus/", 9090), ("grafana", "/", 3000),
    ]  # fmt: skip
    assert {console["address"] for console in found} == {"10.0.0.9"}
    assert consoles("gate", {"gateway": ["gate"]}, values.__getitem__) == []
    assert [c["address"] for c in consoles("mon", groups, lambda host: {})] == ["127.0.0.1"] * 2
    with pytest.raises(TargetError, match=r"monitoring_address: mon listens on 127\.0\.0\.1, where the gateway gate"):
        consoles("gate", groups, lambda host: {})


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("10.0.0.3", "http://10.0.0.3:11434"),
        ("[fd00::1]:99", "http://[fd00::1]:99"),
    ],
)
def test_ollama_url(listen: str, url: str) -> None:
    assert ollama_url(listen) == url


def test_what_the_monitor_could_not_reach_is_said_before_anything_is_changed() -> None:
    assert monitoring_problems("mon", GROUPS, fleet()) == []
    (problem,) = monitoring_problems("mon", GROUPS, fleet(gpu={"monitoring_agent_address": "127.0.0.1"}))
    assert problem.startswith(
        "monitoring_agent_address: gpu listens on 127.0.0.1, where the monitor mon cannot reach it"
    )


def test_an_ollama_that_is_removed_is_not_scraped() -> None:
    assert targets("mon", GROUPS, fleet(edge={"ollama_state": "absent"}).__getitem__)["ollama"] == []

"""What an inventory's engines look like from the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gateway.discover import routes
from ansible_collections.llm.serving.plugins.module_utils.gateway.errors import GatewayError

QWEN = {"name": "qwen32b", "model": "Qwen/Qwen2.5-32B-Instruct", "port": 8010}


def discover(**hosts: dict[str, Any]) -> list[tuple[str, str, str, str, int]]:
    groups = {"vllm": [name for name in hosts if name.startswith("gpu")], "ollama": [n for n in hosts if n[0] == "e"]}
    found = routes("gate", groups, lambda host: hosts[host])
    return [(r["model"], r["engine"], r["host"], r["address"], r["port"]) for r in found]


def test_vllm_hosts() -> None:
    assert discover(
        gpu1={"vllm_host": "10.0.0.1", "vllm_models": [QWEN, {"name": "old", "state": "absent"}]},
        gpu2={"vllm_host": "0.0.0.0", "ansible_host": "10.0.0.2", "vllm_models": [QWEN]},  # noqa: S104
        gpu3={"vllm_host": "::", "vllm_models": [{**QWEN, "served_model_name": "other", "host": "10.0.9.3"}]},
    ) == [
        ("qwen32b", "vllm", "gpu1", "10.0.0.1", 8010),
        ("qwen32b", "vllm", "gpu2", "10.0.0.2", 8010),
        ("other", "vllm", "gpu3", "10.0.9.3", 8010),
    ]


def test_model_defaults_count() -> None:
    values = {"vllm_host": "10.0.0.1", "vllm_model_defaults": {"port": 8123}, "vllm_models": [{"name": "a"}]}
    assert discover(gpu1=values) == [("a", "vllm", "gpu1", "10.0.0.1", 8123)]


@pytest.mark.parametrize(
    ("values", "address", "port"),
    [
        ({"ollama_host": "10.0.0.3"}, "10.0.0.3", 11434),
        ({"ollama_host": "10.0.0.3:11500"}, "10.0.0.3", 11500),
        ({"ollama_host": "0.0.0.0:11501", "ansible_host": "10.0.0.4"}, "10.0.0.4", 11501),
        ({"ollama_host": "fd00::3"}, "fd00::3", 11434),
        ({"ollama_host": "[fd00::3]:11500"}, "fd00::3", 11500),
        ({"ollama_host": "http://10.0.0.3:80"}, "10.0.0.3", 80),
    ],
)
def test_ollama_hosts(values: dict[str, Any], address: str, port: int) -> None:
    assert discover(edge1={**values, "ollama_models": [{"name": "tiny:1b"}]}) == [
        ("tiny:1b", "ollama", "edge1", address, port)
    ]


def test_an_engine_on_the_gateway_itself_may_stay_on_loopback() -> None:
    (route,) = routes("both", {"vllm": ["both"]}, lambda host: {"vllm_models": [QWEN]})
    assert route["address"] == "127.0.0.1"


@pytest.mark.parametrize("bind", [None, "127.0.0.1", "localhost", "::1"])
def test_an_engine_that_cannot_be_reached_is_named(bind: str | None) -> None:
    with pytest.raises(GatewayError, match=r"vllm_host: gpu1 listens on .*, where the gateway gate cannot reach it"):
        discover(gpu1={"vllm_host": bind, "vllm_models": [QWEN]})


def test_an_engine_that_is_removed_has_no_routes() -> None:
    gpu = {"vllm_host": "10.0.0.1", "vllm_models": [QWEN]}
    edge = {"ollama_host": "10.0.0.3", "ollama_models": [{"name": "tiny:1b"}]}
    assert [route[0] for route in discover(gpu1=gpu, edge1={**edge, "ollama_state": "absent"})] == ["qwen32b"]
    assert [route[0] for route in discover(gpu1={**gpu, "vllm_state": "absent"}, edge1=edge)] == ["tiny:1b"]


def test_hosts_without_models() -> None:
    assert discover(gpu1={}, edge1={}) == []

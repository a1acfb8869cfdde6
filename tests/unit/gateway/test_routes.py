"""From routes to backends."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gateway.errors import GatewayError
from ansible_collections.llm.serving.plugins.module_utils.gateway.routes import Server, backends


def route(model: str, host: str = "gpu1", engine: str = "vllm", port: int = 8010) -> dict[str, object]:
    return {"model": model, "engine": engine, "host": host, "address": "10.0.0.1", "port": port}


def test_hosts_of_a_model_share_a_backend() -> None:
    (backend,) = backends([route("qwen32b", "gpu2"), route("qwen32b", "gpu1")])
    assert backend.name == "model-qwen32b"
    assert [server.name for server in backend.servers] == ["gpu1", "gpu2"]
    assert backend.servers[0] == Server("gpu1", "vllm", "10.0.0.1", 8010)


def test_names_that_look_alike_get_backends_of_their_own() -> None:
    found = backends([route("a/b"), route("a@b"), route("a_b")])
    assert [(backend.model, backend.name) for backend in found] == [
        ("a/b", "model-a_b"),
        ("a@b", "model-a_b-2"),
        ("a_b", "model-a_b-3"),
    ]


def test_no_routes_no_backends() -> None:
    assert backends([]) == []


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a|b", "a\nb", "-a", "ü", "a,b", "a'b", "a{b}"])
def test_names_that_would_break_out_of_the_configuration_are_refused(name: str) -> None:
    with pytest.raises(GatewayError, match="gateway_routes: the model name"):
        backends([route(name)])


@pytest.mark.parametrize("host", ["", "a b", "a\nserver evil 1.2.3.4:80", "a/b"])
def test_hosts_that_would_break_out_of_the_configuration_are_refused(host: str) -> None:
    with pytest.raises(GatewayError, match="is no name for a server"):
        backends([route("a", host)])


def test_a_model_on_two_engines_is_refused() -> None:
    with pytest.raises(GatewayError, match=r"'a' is served by ollama and vllm"):
        backends([route("a", "gpu1", "vllm"), route("a", "edge1", "ollama")], mixed=["b"])


def test_a_model_on_two_engines_on_purpose() -> None:
    (backend,) = backends([route("a", "gpu1", "vllm"), route("a", "edge1", "ollama", 11434)], mixed=["a"])
    assert backend.as_dict() == {
        "name": "model-a",
        "model": "a",
        "engines": ["ollama", "vllm"],
        "servers": [
            {"name": "edge1", "engine": "ollama", "address": "10.0.0.1", "port": 11434},
            {"name": "gpu1", "engine": "vllm", "address": "10.0.0.1", "port": 8010},
        ],
    }


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(GatewayError, match="'tgi' of 'a' is none of vllm, ollama"):
        backends([route("a", engine="tgi")])


def test_a_model_twice_on_a_host_is_refused() -> None:
    with pytest.raises(GatewayError, match="'a' stands twice on host gpu1"):
        backends([route("a"), route("a", port=8011)])


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"address": "10.0.0.1 check"}, "at a name or an address"),
        ({"port": 0}, "at a port"),
        ({"port": 65536}, "at a port"),
    ],
)
def test_a_server_that_cannot_be_reached_is_refused(part: dict[str, object], told: str) -> None:
    with pytest.raises(GatewayError, match=told):
        backends([{**route("a"), **part}])

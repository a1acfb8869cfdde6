"""Settings of the gateway: what would make no door, or another one than was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llm.serving.plugins.module_utils.gateway.settings import problems

ROLE = Path(__file__).resolve().parents[3] / "roles/gateway"
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
LOOKED_AT = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__gateway_settings"]


def settings(**others: Any) -> dict[str, Any]:
    """Return the role's own defaults, with others put in."""
    defaults = {name: DEFAULTS[f"gateway_{name}"] for name in LOOKED_AT}
    return {**defaults, "hostname": "llm.example.com", "engine_key": "", **others}


def test_the_defaults_make_a_door() -> None:
    assert problems(settings()) == []


def test_every_number_of_the_role_is_looked_at() -> None:
    numbers = {name.removeprefix("gateway_") for name, value in DEFAULTS.items() if isinstance(value, int)}
    assert numbers <= set(LOOKED_AT)


@pytest.mark.parametrize(
    "others",
    [
        {"hostname": "gpu_1"},
        {"hostname": "10.0.0.1"},
        {"bind_addresses": ["::"]},
        {"bind_addresses": ["10.0.0.1", "fd00::1"]},
        {"http_port": 0},
        {"drain_seconds": 0},
        {"tls_names": ["*.example.com", "10.0.0.2"]},
        {"paths": ["/v1/audio/transcriptions"]},
        {"engine_key": "sk-aB3._~+/-9=="},
    ],
)
def test_what_works_is_taken(others: dict[str, Any]) -> None:
    assert problems(settings(**others)) == []


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"hostname": "a b"}, "gateway_hostname: expected a host's name or an address, found a b"),
        ({"hostname": "10.0.0.300"}, "gateway_hostname: expected a host's name or an address, found 10.0.0.300"),
        ({"bind_addresses": []}, "gateway_bind_addresses: expected at least one address, found none"),
        ({"bind_addresses": ["eth0"]}, "gateway_bind_addresses: expected IP addresses of the gateway, or * for all"),
        ({"metrics_address": "*"}, "gateway_metrics_address: expected an IP address"),
        ({"tls_names": ["a/b"]}, "gateway_tls_names: expected names"),
        ({"paths": ["/v1/a b"]}, "gateway_paths: expected paths such as /v1/completions, found /v1/a b"),
        ({"paths": ["/v1/%[env(HOME)]"]}, "gateway_paths"),
        ({"paths": ["v1"]}, "gateway_paths"),
        ({"https_port": 0}, "gateway_https_port: expected a port from 1 to 65535, found 0"),
        ({"http_port": 70000}, "gateway_http_port: expected a port from 1 to 65535, or 0 for none, found 70000"),
        ({"metrics_port": -1}, "gateway_metrics_port"),
        ({"http_port": 443}, "gateway_https_port: expected another port than gateway_http_port, found 443"),
        ({"max_connections": 0}, "gateway_max_connections: expected 1 or more, found 0"),
        ({"drain_seconds": -1}, "gateway_drain_seconds: expected 0 or more, found -1"),
        ({"check_interval_seconds": 0}, "gateway_check_interval_seconds: expected 1 or more"),
    ],
)
def test_what_does_not_is_refused_by_its_name(others: dict[str, Any], told: str) -> None:
    (problem,) = problems(settings(**others))
    assert told in problem


@pytest.mark.parametrize("key", ["aB%dE", "with space", "back\\slash", '"quoted"', "${HOME}"])
def test_a_key_that_haproxy_or_systemd_would_read_otherwise_is_refused_and_not_shown(key: str) -> None:
    (problem,) = problems(settings(engine_key=key))
    assert "gateway_engine_key: expected only" in problem
    assert key not in problem


def test_one_key_cannot_be_that_of_engines_with_different_ones() -> None:
    assert problems(settings(engine_key="one"), ["one", "one", ""]) == []
    assert problems(settings(engine_key="shared"), ["one", "two"]) == []
    (problem,) = problems(settings(engine_key="one"), ["one", "two"])
    assert problem == (
        "gateway_engine_key: expected one vllm_api_key for all vLLM hosts, since the gateway sends one, found 2"
    )

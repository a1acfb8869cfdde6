"""What the inventory says of its engines, as routes for the gateway."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engines.members import is_head
from .errors import GatewayError

OLLAMA_PORT = 11434
EVERY_ADDRESS = ("0.0.0.0", "::", "*")  # noqa: S104 - recognized, not bound

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """An engine's model and where it listens, in the engine's own words."""

    model: str
    bind: str
    port: int


def routes(
    gateway: str, groups: Mapping[str, Sequence[str]], variables: Callable[[str], Variables]
) -> list[dict[str, Any]]:
    """Return a route for every model of every vLLM and Ollama host.

    variables returns a host's variables. Raises GatewayError when the gateway could not reach an engine.
    """
    found = []
    for engine, endpoints in (("vllm", _vllm), ("ollama", _ollama)):
        for host in serving(engine, groups, variables):
            values = variables(host)
            for endpoint in endpoints(host, values):
                address = _address(gateway, host, engine, endpoint.bind, values)
                found.append(
                    {
                        "model": endpoint.model,
                        "engine": engine,
                        "host": host,
                        "address": address,
                        "port": endpoint.port,
                    }
                )
    return found


def serving(engine: str, groups: Mapping[str, Sequence[str]], variables: Callable[[str], Variables]) -> list[str]:
    """Return the hosts of an engine's group, but for those from which it is removed."""
    return [host for host in groups.get(engine, ()) if variables(host).get(f"{engine}_state") != "absent"]


def _present(models: Any) -> Iterable[Mapping[str, Any]]:
    return (model for model in models or () if model.get("state", "present") != "absent")


def _vllm(host: str, values: Variables) -> Iterable[Endpoint]:
    defaults = values.get("vllm_model_defaults") or {}
    for model in _present(values.get("vllm_models")):
        if not is_head(model, host):
            continue
        merged = {**defaults, **model}
        yield Endpoint(
            model=str(merged.get("served_model_name") or merged["name"]),
            bind=str(merged.get("host") or values.get("vllm_host") or "127.0.0.1"),
            port=int(merged.get("port") or 8000),
        )


def _ollama(_host: str, values: Variables) -> Iterable[Endpoint]:
    bind, port = split_listen(str(values.get("ollama_host") or "127.0.0.1"))
    for model in _present(values.get("ollama_models")):
        yield Endpoint(str(model["name"]), bind, int(port or OLLAMA_PORT))


def split_listen(listen: str) -> tuple[str, str]:
    """Split OLLAMA_HOST's forms (address, address:port, [IPv6]:port, with or without http://) into address and port."""
    text = listen.removeprefix("http://")
    if text.startswith("["):
        bind, _dummy, rest = text[1:].partition("]")
        return bind, rest.lstrip(":")
    bind, _dummy, port = text.partition(":")
    return (text, "") if ":" in port else (bind, port)


def _address(gateway: str, host: str, engine: str, bind: str, values: Variables) -> str:
    """Return where the gateway reaches an engine that listens on bind."""
    if bind not in EVERY_ADDRESS and not is_loopback(bind):
        return bind
    if host == gateway:
        return "127.0.0.1"
    if bind in EVERY_ADDRESS:
        return str(values.get("ansible_host") or host)
    raise GatewayError(
        f"{engine}_host: {host} listens on {bind}, where the gateway {gateway} cannot reach it; set {engine}_host of "
        f"{host} to its private address (the firewall role lets in the gateway alone)"
    )


def is_loopback(bind: str) -> bool:
    """Tell whether an address is of the host itself."""
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"

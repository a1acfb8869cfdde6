"""From an inventory to routes: which model is served where.

A model that several hosts serve has one backend with one server for each of them. Where both engines serve it, each
server's health is that of a second backend, which takes no requests and knows how its engine is asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..support.addresses import HIGHEST_PORT, is_host, is_port
from .errors import GatewayError

ENGINES = ("vllm", "ollama")
# What may stand in a client's JSON, in a map file and in a HAProxy rule without quoting.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


@dataclass(frozen=True)
class Server:
    """One engine that serves a model."""

    name: str
    engine: str
    address: str
    port: int


@dataclass(frozen=True)
class Backend:
    """All servers of one model."""

    name: str
    model: str
    servers: tuple[Server, ...]

    @property
    def engines(self) -> list[str]:
        """The engines that serve the model, one or both."""
        return sorted({server.engine for server in self.servers})

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a template."""
        return {
            "name": self.name,
            "model": self.model,
            "engines": self.engines,
            "servers": [asdict(server) for server in self.servers],
        }


def backends(routes: Iterable[Mapping[str, Any]], mixed: Collection[str] = ()) -> list[Backend]:
    """Group routes (model, engine, host, address, port) by model, in order of the models' names.

    mixed names the models that may be on both engines. Raises GatewayError for a name that cannot be routed, any other
    model on both engines, and a server named twice.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for route in routes:
        by_model.setdefault(str(route["model"]), []).append(route)
    names: set[str] = set()
    found = []
    for model in sorted(by_model):
        if not MODEL_NAME.fullmatch(model):
            raise GatewayError(
                f"gateway_routes: the model name {model!r} cannot be routed; use letters, digits and . _ : / @ + -"
            )
        name = _backend_name(model, names)
        names.add(name)
        found.append(_backend(name, model, by_model[model], model in mixed))
    return found


def _backend(name: str, model: str, routes: list[Mapping[str, Any]], is_mixed: bool) -> Backend:
    servers: dict[str, Server] = {}
    for route in routes:
        host, engine = str(route["host"]), str(route["engine"])
        if engine not in ENGINES:
            raise GatewayError(f"gateway_routes: the engine {engine!r} of {model!r} is none of {', '.join(ENGINES)}")
        if not SERVER_NAME.fullmatch(host):
            raise GatewayError(f"gateway_routes: {host!r} is no name for a server; use letters, digits and . _ : -")
        if host in servers:
            raise GatewayError(f"gateway_routes: the model {model!r} stands twice on host {host}")
        address, port = str(route["address"]), route["port"]
        if not is_host(address):
            raise GatewayError(
                f"gateway_routes: expected {model!r} on {host} at a name or an address, found {address!r}"
            )
        if not is_port(port):
            raise GatewayError(
                f"gateway_routes: expected {model!r} on {host} at a port up to {HIGHEST_PORT}, found {port}"
            )
        servers[host] = Server(host, engine, address, int(port))
    backend = Backend(name, model, tuple(servers[host] for host in sorted(servers)))
    if len(backend.engines) > 1 and not is_mixed:
        raise GatewayError(
            f"gateway_routes: the model {model!r} is served by {' and '.join(backend.engines)}; answers would differ "
            "from one request to the next. Give one of them another name, or add the model to gateway_mixed_models."
        )
    return backend


def _backend_name(model: str, taken: set[str]) -> str:
    """Return a HAProxy proxy name for a model that no other model has."""
    base = "model-" + re.sub(r"[^A-Za-z0-9._:-]", "_", model)
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name

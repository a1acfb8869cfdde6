"""From an inventory to what Prometheus scrapes: one list of targets for each job."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..gateway.discover import EVERY_ADDRESS, OLLAMA_PORT, is_loopback, routes, serving, split_listen
from ..gateway.errors import GatewayError

AGENT_PORT, OLLAMA_EXPORTER_PORT, GATEWAY_METRICS_PORT, HTTPS_PORT = 9100, 9435, 8405, 443
# Hosts with an agent: those of the fleet, and whatever else somebody wants to watch.
AGENT_GROUPS = ("gateway", "vllm", "ollama", "monitoring", "monitored")

Variables = Callable[[str], Mapping[str, Any]]


class TargetError(Exception):
    """The message names the variable to correct."""


def targets(monitor: str, groups: Mapping[str, Sequence[str]], variables: Variables) -> dict[str, list[dict[str, Any]]]:
    """Return `[{targets: [address:port], labels: {host, …}}]` by job, as Prometheus' file_sd wants them.

    Jobs are node, vllm, ollama, gateway and door (what clients see of a gateway). Raises TargetError for a target that
    the monitor could not reach.
    """
    agents = _unique(host for group in AGENT_GROUPS for host in groups.get(group, ()))
    gateways = groups.get("gateway", ())
    return {
        "node": [_agent(monitor, host, variables(host), "monitoring_agent_port", AGENT_PORT) for host in agents],
        "vllm": _vllm(monitor, groups, variables),
        "ollama": [
            _agent(monitor, host, variables(host), "monitoring_agent_ollama_port", OLLAMA_EXPORTER_PORT)
            for host in serving("ollama", groups, variables)
        ],
        "gateway": [_gateway(monitor, host, variables(host)) for host in gateways],
        "door": [_door(monitor, host, variables(host)) for host in gateways],
    }


def _unique(hosts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(hosts))


def _target(address: str, port: Any, host: str, **labels: str) -> dict[str, Any]:
    shown = f"[{address}]" if ":" in address else address
    return {"targets": [f"{shown}:{int(port)}"], "labels": {"host": host, **labels}}


def _reachable(monitor: str, host: str, bind: str, variable: str, values: Mapping[str, Any]) -> str:
    """Return where the monitor reaches what listens on `bind`."""
    if host == monitor:
        return "127.0.0.1" if bind in EVERY_ADDRESS else bind
    if bind in EVERY_ADDRESS:
        return str(values.get("ansible_host") or host)
    if is_loopback(bind):
        raise TargetError(
            f"{variable}: {host} listens on {bind}, where the monitor {monitor} cannot reach it; set {variable} of "
            f"{host} to its private address (the firewall role lets in the monitor alone)"
        )
    return bind


def _agent(monitor: str, host: str, values: Mapping[str, Any], port: str, default: int) -> dict[str, Any]:
    bind = str(values.get("monitoring_agent_address") or "127.0.0.1")
    address = _reachable(monitor, host, bind, "monitoring_agent_address", values)
    return _target(address, values.get(port) or default, host)


def _vllm(monitor: str, groups: Mapping[str, Sequence[str]], variables: Variables) -> list[dict[str, Any]]:
    try:
        found = routes(monitor, {"vllm": groups.get("vllm", ())}, variables)
    except GatewayError as error:
        raise TargetError(str(error).replace("the gateway", "the monitor", 1)) from error
    return [_target(route["address"], route["port"], route["host"], model=route["model"]) for route in found]


def _gateway(monitor: str, host: str, values: Mapping[str, Any]) -> dict[str, Any]:
    bind = str(values.get("gateway_metrics_address") or "127.0.0.1")
    address = _reachable(monitor, host, bind, "gateway_metrics_address", values)
    return _target(address, values.get("gateway_metrics_port") or GATEWAY_METRICS_PORT, host)


def _door(monitor: str, host: str, values: Mapping[str, Any]) -> dict[str, Any]:
    binds = [str(bind) for bind in values.get("gateway_bind_addresses") or ["*"]]
    address = _reachable(monitor, host, binds[0], "gateway_bind_addresses", values)
    return _target(address, values.get("gateway_https_port") or HTTPS_PORT, host)


def consoles(gateway: str, groups: Mapping[str, Sequence[str]], variables: Variables) -> list[dict[str, Any]]:
    """Return what a gateway shows to operators, `[{name, path, address, port}]`, longest path first.

    Empty without a monitor in the inventory. Raises TargetError when the gateway could not reach it.
    """
    monitors = groups.get("monitoring", ())
    if not monitors:
        return []
    values = variables(monitors[0])
    bind = str(values.get("monitoring_address") or "127.0.0.1")
    if monitors[0] != gateway and is_loopback(bind):
        raise TargetError(
            f"monitoring_address: {monitors[0]} listens on {bind}, where the gateway {gateway} cannot reach it; set "
            "monitoring_address to its private address (the firewall role lets in the gateway alone)"
        )
    address = _reachable(gateway, monitors[0], bind, "monitoring_address", values)
    found = [
        ("alertmanager", "/alertmanager/", values.get("monitoring_alertmanager_port") or 9093),
        ("prometheus", "/prometheus/", values.get("monitoring_prometheus_port") or 9090),
    ]
    if values.get("monitoring_grafana"):
        found.append(("grafana", "/", values.get("monitoring_grafana_port") or 3000))
    return [{"name": name, "path": path, "address": address, "port": int(port)} for name, path, port in found]


def ollama_url(listen: str) -> str:
    """Return where a host reaches its own Ollama, from OLLAMA_HOST's forms."""
    bind, port = split_listen(listen or "127.0.0.1")
    address = "127.0.0.1" if bind in EVERY_ADDRESS else bind
    return f"http://{f'[{address}]' if ':' in address else address}:{port or OLLAMA_PORT}"

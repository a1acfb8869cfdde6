"""What the gateway's own settings may be: whatever HAProxy would refuse, or read otherwise than the operator does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..support.addresses import HIGHEST_PORT, is_address, is_host, is_port
from .clients import TOKEN

# A path as it stands in a rule: nothing that HAProxy takes for a quote, a comment, a variable or the next word.
PATH = re.compile(r"/[A-Za-z0-9._~!@:+=/-]*")
EVERY_ADDRESS = "*"
# Settings where nothing is a meaning of its own: no port, no waiting, no queue.
MAY_BE_ZERO = ("http_port", "tls_renew_days", "queue_length", "drain_seconds")
COUNTED = ("_seconds", "_days", "_bytes", "_connections", "_length", "_per_server")


def problems(settings: Mapping[str, Any], engine_keys: Collection[str] = ()) -> list[str]:
    """Return a sentence for each setting that makes no door; the keys are the role's variables without `gateway_`.

    engine_keys are those that the vLLM hosts ask for.
    """
    found = []
    if not is_host(str(settings["hostname"])):
        found.append(_told("hostname", "a host's name or an address", settings["hostname"]))
    if not settings["bind_addresses"]:
        found.append(_told("bind_addresses", "at least one address", "none"))
    found += [
        _told("bind_addresses", "IP addresses of the gateway, or * for all", address)
        for address in settings["bind_addresses"]
        if str(address) != EVERY_ADDRESS and not is_address(str(address))
    ]
    if not is_address(str(settings["metrics_address"])):
        found.append(_told("metrics_address", "an IP address of the gateway", settings["metrics_address"]))
    found += [
        _told("tls_names", "names of hosts and addresses", name)
        for name in settings["tls_names"]
        if not is_host(str(name).removeprefix("*."))
    ]
    found += [
        _told("paths", "paths such as /v1/completions", path)
        for path in settings["paths"]
        if not PATH.fullmatch(str(path))
    ]
    found += _engine_key_problems(str(settings["engine_key"]), engine_keys)
    found += _number_problems(settings)
    return found + _shared_ports(settings)


def _engine_key_problems(key: str, keys: Collection[str]) -> list[str]:
    """Return what keeps the engines from taking the gateway's key. Never the key itself."""
    if key and not TOKEN.fullmatch(key):
        what = "only A-Z a-z 0-9 . _ ~ + / - (vllm_api_key of the vLLM hosts, unless set)"
        return [_told("engine_key", what, "another character")]
    different = len({other for other in keys if other})
    if different > 1 and key in keys:
        return [_told("engine_key", "one vllm_api_key for all vLLM hosts, since the gateway sends one", different)]
    return []


def _number_problems(settings: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in settings.items():
        may_be_zero = name in MAY_BE_ZERO
        if name.endswith("_port") and not (is_port(value) or (may_be_zero and value == 0)):
            or_zero = ", or 0 for none" if may_be_zero else ""
            found.append(_told(name, f"a port from 1 to {HIGHEST_PORT}{or_zero}", value))
        elif name.endswith(COUNTED) and int(value) < (0 if may_be_zero else 1):
            found.append(_told(name, "0 or more" if may_be_zero else "1 or more", value))
    return found


def _shared_ports(settings: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each port that two of the gateway's listeners want."""
    wanted: dict[int, str] = {}
    found = []
    for name in sorted(name for name in settings if name.endswith("_port")):
        port = int(settings[name])
        if port in wanted:
            found.append(_told(name, f"another port than gateway_{wanted[port]}", port))
        elif port:
            wanted[port] = name
    return found


def _told(name: str, expected: str, value: Any) -> str:
    return f"gateway_{name}: expected {expected}, found {value}"

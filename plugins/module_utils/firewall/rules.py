"""Who may reach which port: rules with names in them, made into rules with addresses.

A source is an address, a network, the name of a host or of a group in the inventory, or «any».
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..support.addresses import HIGHEST_PORT

ANY = "any"
RULE_NAME = re.compile(r"[A-Za-z0-9 ._-]+")
PROTOCOLS = ("tcp", "udp")

Variables = Callable[[str], Mapping[str, Any]]


class FirewallError(Exception):
    """The message names the variable to correct."""


@dataclass(frozen=True)
class Rule:
    """One line to let something in. No sources means from everywhere; no ports, all of them."""

    name: str
    protocol: str
    ports: tuple[int, ...]
    sources_v4: tuple[str, ...]
    sources_v6: tuple[str, ...]
    everywhere: bool


def compile_rules(
    rules: Iterable[Mapping[str, Any]], groups: Mapping[str, Sequence[str]], variables: Variables
) -> list[Rule]:
    """Return the rules with every name replaced by addresses. variables returns a host's variables.

    A rule whose groups are all empty lets nobody in and is left out. Raises FirewallError.
    """
    compiled = []
    for rule in rules:
        name = str(rule["name"])
        if not RULE_NAME.fullmatch(name):
            raise FirewallError(f"firewall_rules: the name {name!r} is not made of letters, digits, blanks and . _ -")
        protocol = str(rule.get("protocol") or "tcp")
        if protocol not in PROTOCOLS:
            raise FirewallError(f"firewall_rules: the protocol of {name!r} is {protocol!r}; expected tcp or udp")
        sources = [str(source) for source in rule.get("from") or []]
        everywhere = ANY in sources
        addresses = [] if everywhere else _addresses(sources, name, groups, variables)
        if everywhere or addresses:
            networks = sorted({_network(address, name) for address in addresses}, key=str)
            compiled.append(
                Rule(
                    name,
                    protocol,
                    _ports(rule.get("ports") or [], name),
                    tuple(str(network) for network in networks if network.version == 4),
                    tuple(str(network) for network in networks if network.version == 6),
                    everywhere,
                )
            )
    return compiled


def _ports(ports: Iterable[Any], rule: str) -> tuple[int, ...]:
    numbers = sorted({int(port) for port in ports})
    if numbers and (numbers[0] < 1 or numbers[-1] > HIGHEST_PORT):
        raise FirewallError(f"firewall_rules: the ports of {rule!r} are {numbers}; expected 1 to {HIGHEST_PORT}")
    return tuple(numbers)


def _addresses(
    sources: Iterable[str], rule: str, groups: Mapping[str, Sequence[str]], variables: Variables
) -> list[str]:
    found: list[str] = []
    for source in sources:
        if _is_network(source):
            found.append(source)
        elif source in groups:
            for host in groups[source]:
                found += host_addresses(host, variables(host))
        elif any(source in members for members in groups.values()):
            found += host_addresses(source, variables(source))
        else:
            raise FirewallError(
                f"firewall_rules: {source!r} in the rule {rule!r} is no address, network, group or host here"
            )
    return found


def host_addresses(host: str, variables: Mapping[str, Any]) -> list[str]:
    """Return the addresses that a host's connections come from.

    firewall_addresses decides where it is set. Otherwise they are ansible_host, if that is an address, and those of the
    host's default routes, if its facts are known.
    """
    stated = variables.get("firewall_addresses")
    if stated:
        return [str(address) for address in stated]
    facts = variables.get("ansible_facts") or {}
    candidates = [
        str(variables.get("ansible_host") or host),
        str((facts.get("default_ipv4") or {}).get("address") or ""),
        str((facts.get("default_ipv6") or {}).get("address") or ""),
    ]
    found = [address for address in candidates if _is_network(address)]
    if not found:
        raise FirewallError(
            f"no address of {host} is known, so the firewall cannot let it in: set firewall_addresses for it, write an "
            "address in ansible_host, or gather its facts in the same run"
        )
    return sorted(set(found))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _network(text: str, rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(text, strict=False)
    if network.prefixlen == 0:
        raise FirewallError(f"firewall_rules: {text} in the rule {rule!r} is everybody; write «any» if you mean that")
    return network

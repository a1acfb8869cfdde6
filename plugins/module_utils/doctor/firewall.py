"""Whether a host's nftables rules let a client reach a TCP port: a reading of `nft --json list ruleset`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rules = Sequence[Mapping[str, Any]]
MAX_JUMPS = 16
# What other conditions of a rule may be without keeping a new connection from another host out.
HARMLESS = {"l4proto", "protocol", "nfproto"}


@dataclass(frozen=True)
class Verdict:
    """What becomes of a new connection, and by which rule or policy."""

    blocked: bool
    why: str = ""


def verdict(ruleset: Mapping[str, Any], port: int, client: str) -> Verdict:
    """Say whether a new TCP connection from an address to a port of this host is let in."""
    items = ruleset.get("nftables") or []
    chains = [item["chain"] for item in items if "chain" in item]
    for chain in sorted(
        (chain for chain in chains if chain.get("hook") == "input" and chain.get("type") == "filter"),
        key=lambda chain: int(chain.get("prio") or 0),
    ):
        name = f"{chain['family']} {chain['table']} {chain['name']}"
        found = _walk(items, chain, port, client, 0)
        if found in {"drop", "reject"}:
            return Verdict(True, f"a rule of chain {name} refuses TCP port {port} for {client}")
        if found is None and chain.get("policy") == "drop":
            return Verdict(
                True, f"chain {name} has the policy drop and no rule that accepts TCP port {port} from {client}"
            )
    return Verdict(False)


def _walk(items: Rules, chain: Mapping[str, Any], port: int, client: str, depth: int) -> str | None:
    """Return accept, drop or reject as the chain decides, None when it does not."""
    for rule in (item["rule"] for item in items if "rule" in item):
        if any(rule.get(key) != chain.get(other) for key, other in _SAME):
            continue
        expressions = rule.get("expr") or []
        if not all(_holds(expression, port, client) for expression in expressions):
            continue
        for expression in expressions:
            for end in ("accept", "drop", "reject"):
                if end in expression:
                    return end
            if "return" in expression:
                return None
            jump = expression.get("jump") or expression.get("goto")
            target = _chain(items, chain, jump["target"]) if jump else None
            if target and depth < MAX_JUMPS:
                found = _walk(items, target, port, client, depth + 1)
                if found or "goto" in expression:
                    return found
    return None


_SAME = (("family", "family"), ("table", "table"), ("chain", "name"))


def _chain(items: Rules, beside: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    for item in items:
        chain = item.get("chain")
        if chain and (chain["family"], chain["table"], chain["name"]) == (beside["family"], beside["table"], name):
            return dict(chain)
    return None


def _holds(expression: Mapping[str, Any], port: int, client: str) -> bool:
    """Whether a condition holds for a new connection; one that is not understood does not."""
    match = expression.get("match")
    if match is None:
        return not {"limit", "xt"} & set(expression)
    field, right, negated = _field(match.get("left")), match.get("right"), match.get("op") == "!="
    values = _values(right)
    truths = {
        "dport": lambda: any(_in_range(value, port) for value in values),
        "saddr": lambda: any(_covers(value, client) for value in values),
        "state": lambda: "new" in values,
        "iifname": lambda: "lo" not in values,
        "iif": lambda: "lo" not in values,
        **dict.fromkeys(HARMLESS, lambda: any(str(value) in {"tcp", "6", "ipv4", "ipv6"} for value in values)),
    }
    return field in truths and truths[field]() != negated


def _field(left: Any) -> str:
    if not isinstance(left, Mapping):
        return ""
    if "payload" in left:
        payload = left["payload"]
        if payload.get("field") in {"dport", "sport"} and payload.get("protocol") not in {"tcp", "th"}:
            return "other"
        return str(payload.get("field"))
    inner = left.get("meta") or left.get("ct") or {}
    return str(inner.get("key")) if isinstance(inner, Mapping) else ""


def _values(right: Any) -> list[Any]:
    if isinstance(right, Mapping) and "set" in right:
        return list(right["set"])
    return right if isinstance(right, list) else [right]


def _in_range(value: Any, port: int) -> bool:
    if isinstance(value, Mapping) and "range" in value:
        low, high = value["range"]
        return bool(low <= port <= high)
    return bool(value == port)


def _covers(value: Any, client: str) -> bool:
    address = ipaddress.ip_address(client)
    try:
        if isinstance(value, Mapping) and "prefix" in value:
            prefix = value["prefix"]
            return address in ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
        if isinstance(value, Mapping) and "range" in value:
            low, high = (ipaddress.ip_address(end) for end in value["range"])
            return bool(low.version == address.version and int(low) <= int(address) <= int(high))
        return ipaddress.ip_address(str(value)) == address
    except ValueError:
        return False


def blocked_clients(ruleset: Mapping[str, Any], port: int, clients: Iterable[str]) -> list[str]:
    """Return why each client that is kept out is kept out."""
    found = [verdict(ruleset, port, client) for client in clients]
    return [entry.why for entry in found if entry.blocked]

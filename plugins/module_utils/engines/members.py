"""Models that several hosts share: which part a host has, and how the parts find each other.

vLLM's own multi-node mode joins them: the first member answers clients, every member loads its part. What holds them
together is guard.py; it uses the port 10000 above the one that is chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..support.addresses import HIGHEST_PORT

PORT_OFFSET = 10000

Variables = Callable[[str], Mapping[str, Any]]


def is_shared(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry of `vllm_models` is served by several hosts together."""
    return bool(entry.get("members"))


def is_head(entry: Mapping[str, Any], host: str) -> bool:
    """Tell whether a host is the one that answers for an entry."""
    return not is_shared(entry) or str(entry["members"][0]) == host


def others(entries: Sequence[Mapping[str, Any]], host: str) -> list[str]:
    """Return the hosts that a host shares models with."""
    found = [str(member) for entry in entries if is_shared(entry) for member in entry["members"]]
    return sorted({member for member in found if member != host})


def problems(entry: Mapping[str, Any], host: str, fleet: Sequence[str]) -> list[str]:
    """Return what is wrong with an entry's members, as sentences without its name."""
    if not is_shared(entry):
        return []
    members = [str(member) for member in entry["members"]]
    strangers = [member for member in members if member not in fleet]
    found = [f"expected members of the group vllm, found {', '.join(strangers)}"] if strangers else []
    if len(set(members)) != len(members) or len(members) < 2:
        found.append(f"expected two or more different members, found {', '.join(members)}")
    if host not in members:
        found.append(f"expected {host} to be one of its members, found {', '.join(members)}")
    if int(entry.get("port") or 0) > HIGHEST_PORT - 2 * PORT_OFFSET:
        found.append(f"expected a port up to {HIGHEST_PORT - 2 * PORT_OFFSET}, since members meet at others above it")
    return found


def address(host: str, variables: Variables) -> str:
    """Return where the other members reach a host."""
    values = variables(host)
    return str(values.get("vllm_member_address") or values.get("ansible_host") or host)


def part(entry: Mapping[str, Any], host: str, port: int, variables: Variables) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what to plan with, and vLLM's options, for the part of an entry that a host has."""
    members = [str(member) for member in entry["members"]]
    rank = members.index(host)
    plan: dict[str, Any] = {"nodes": len(members)}
    if not any(entry.get(key) for key in ("tensor_parallel_size", "pipeline_parallel_size")):
        # Hosts are joined by a network: stages send it less than ranks that share every layer.
        plan["pipeline_parallel_size"] = len(members)
    options = {
        "distributed-executor-backend": "mp",
        "nnodes": len(members),
        "node-rank": rank,
        "master-addr": address(members[0], variables),
        "master-port": port + PORT_OFFSET,
    }
    return plan, {**options, "headless": True} if rank else options

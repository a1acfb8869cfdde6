"""Which hosts are changed together: those that share a model serve it together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engines import members

Entries = Callable[[str], Sequence[Mapping[str, Any]]]


def crews(hosts: Sequence[str], entries: Entries) -> list[list[str]]:
    """Return the hosts in groups that share models, each where its first host stands; most are of one host."""
    found: list[list[str]] = []
    for host in hosts:
        fellows = {host, *members.others(entries(host), host)}
        joined = [crew for crew in found if fellows.intersection(crew)]
        if not joined:
            found.append([host])
            continue
        first = joined[0]
        for crew in joined[1:]:
            first += crew
            found.remove(crew)
        first.append(host)
    return found


def sizes(found: Sequence[Sequence[str]], serial: Sequence[int | str]) -> list[int | str]:
    """Return what `serial` means when no group may be parted: itself where all groups are of one host."""
    if all(len(crew) == 1 for crew in found):
        return list(serial)
    total = sum(len(crew) for crew in found)
    counts: list[int | str] = []
    left = list(found)
    while left:
        wanted = hosts_of(serial[min(len(counts), len(serial) - 1)], total)
        taken = 0
        while left and taken < wanted:
            taken += len(left.pop(0))
        counts.append(taken)
    return counts


def hosts_of(size: int | str, total: int) -> int:
    """Return how many hosts a size means, a number or a percentage; at least one."""
    text = str(size).strip()
    return max(1, total * int(text[:-1]) // 100 if text.endswith("%") else int(text))

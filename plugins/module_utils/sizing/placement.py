"""Which instance gets which devices: whole cards first, shares of a card where there are too few."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .hardware import Device, link_cost

# Above this many ways to choose, cards are taken along the best links from each starting point instead.
EXHAUSTIVE_LIMIT = 3000


@dataclass
class Board:
    """The devices of a host and what is still to be had of each, in bytes of the engine's budget."""

    devices: Sequence[Device]
    topology: Sequence[Sequence[str]] | None
    left_bytes: list[int]
    users: dict[int, list[str]] = field(default_factory=dict)

    def is_empty(self, position: int) -> bool:
        """Whether nobody uses the device yet."""
        return not self.users.get(position)

    def take(self, name: str, positions: Sequence[int], needed_bytes: int) -> None:
        """Book a share of each device for an instance."""
        for position in positions:
            self.users.setdefault(position, []).append(name)
            self.left_bytes[position] -= needed_bytes


def _spread(board: Board, positions: Sequence[int]) -> tuple[int, int, int]:
    """How far apart devices are: worst link, sum of links, NUMA nodes."""
    costs = [
        link_cost(board.topology, board.devices[a].index, board.devices[b].index)
        for a, b in itertools.combinations(positions, 2)
    ]
    nodes = {board.devices[position].numa_node for position in positions}
    return max(costs, default=0), sum(costs), len(nodes)


def best_group(board: Board, candidates: Sequence[int], size: int) -> tuple[int, ...] | None:
    """The `size` devices of one kind that are linked best; None when there are not as many.

    Cards of different models do not form a group: the smallest would bound all of them, and vLLM expects
    the ranks of an instance to be alike.
    """
    groups: list[tuple[int, ...]] = []
    kinds: dict[tuple[str, int], list[int]] = {}
    for position in candidates:
        device = board.devices[position]
        kinds.setdefault((device.name, device.total_bytes), []).append(position)
    for members in kinds.values():
        if len(members) < size:
            continue
        groups.extend(_candidate_groups(board, members, size))
    if not groups:
        return None
    return min(groups, key=lambda group: (*_spread(board, group), group))


def _candidate_groups(board: Board, members: Sequence[int], size: int) -> list[tuple[int, ...]]:
    count = 1
    for index in range(size):
        count = count * (len(members) - index) // (index + 1)
    if count <= EXHAUSTIVE_LIMIT:
        return list(itertools.combinations(members, size))
    groups = []
    for start in members:
        chosen = [start]
        while len(chosen) < size:
            rest = [position for position in members if position not in chosen]
            chosen.append(min(rest, key=lambda position: (_spread(board, [*chosen, position]), position)))
        groups.append(tuple(sorted(chosen)))
    return groups


def place(
    board: Board, count: int, needed_bytes: Callable[[Device], int | None], only_empty: bool
) -> tuple[int, ...] | None:
    """`count` devices for one instance; None when there are none.

    `needed_bytes(device)` is the share of each device that the instance needs, or None when it does not run
    there at all. Among the kinds of device that do, the smallest is taken.
    """
    fitting = []
    for position, device in enumerate(board.devices):
        needed = needed_bytes(device)
        if needed is None or needed > board.left_bytes[position]:
            continue
        if board.is_empty(position) or not only_empty:
            fitting.append(position)
    return best_group(board, _smallest_first(board, fitting, count), count)


def _smallest_first(board: Board, positions: Sequence[int], size: int) -> list[int]:
    """The positions of the least capable kind of device of which there are enough."""
    by_total: dict[int, list[int]] = {}
    for position in positions:
        by_total.setdefault(board.devices[position].total_bytes, []).append(position)
    for total in sorted(by_total):
        if len(by_total[total]) >= size:
            return by_total[total]
    return list(positions)

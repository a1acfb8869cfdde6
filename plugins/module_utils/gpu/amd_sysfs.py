"""AMD GPUs from sysfs: the amdgpu driver's files and the topology of its compute part (KFD)."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .model import Device, Matrix, Report
from .pci import Card

# io_link types of the kernel's KFD
_XGMI = 11


@dataclass(frozen=True)
class _Node:
    """One GPU as ROCm counts them; a partitioned card has several."""

    number: int
    address: str
    gfx_version: str | None
    uuid: str | None
    memory_bytes: int | None
    xgmi_peers: frozenset[int]


def parse_properties(text: str) -> dict[str, int]:
    """Return a KFD properties file, lines of «name number»."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def gfx_name(target_version: int) -> str | None:
    """Return «gfx90a» for 90010: major, minor and stepping, two decimal digits each, the last two in hex."""
    major, minor, stepping = target_version // 10000, target_version // 100 % 100, target_version % 100
    return f"gfx{major}{minor:x}{stepping:x}" if target_version else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None


def _memory_bytes(node: Path) -> int | None:
    """Return the size of a node's own memory: heap types 1 (visible to the host) and 2 (private)."""
    banks = [parse_properties(_read(bank)) for bank in node.glob("mem_banks/*/properties")]
    sizes = [bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in (1, 2)]
    return sum(sizes) or None


def _nodes(root: Path) -> tuple[_Node, ...]:
    found = []
    folders = (root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*")
    for folder in sorted(folders, key=lambda path: int(path.name)):
        properties = parse_properties(_read(folder / "properties"))
        if not properties.get("simd_count"):  # a processor
            continue
        location, domain = properties.get("location_id", 0), properties.get("domain", 0)
        bus, device, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 7
        links = [parse_properties(_read(link)) for link in folder.glob("io_links/*/properties")]
        unique = properties.get("unique_id")
        found.append(
            _Node(
                number=int(folder.name),
                address=f"{domain:04x}:{bus:02x}:{device:02x}.{function}",
                gfx_version=gfx_name(properties.get("gfx_target_version", 0)),
                uuid=f"{unique:#x}" if unique else None,
                memory_bytes=_memory_bytes(folder),
                xgmi_peers=frozenset(link["node_to"] for link in links if link.get("type") == _XGMI),
            )
        )
    return tuple(found)


def parse_names(text: str, device_id: int, revision: int) -> str | None:
    """Return a card's name from libdrm's amdgpu.ids, lines of «66AF, C1, AMD Radeon VII»."""
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and fields[0].upper() == f"{device_id:04X}" and fields[1].upper() == f"{revision:02X}":
            return fields[2]
    return None


def _name(card: Card, root: Path) -> str | None:
    own = _read(card.path / "product_name")
    return own or parse_names(_read(root / "usr/share/libdrm/amdgpu.ids"), card.device_id, card.revision)


def _device(card: Card, node: _Node | None, index: int, shares_card: bool, root: Path) -> Device:
    # A partition of a card has a part of its memory, and its use is not told apart.
    whole = None if shares_card else _number(card.path / "mem_info_vram_total")
    used = None if shares_card else _number(card.path / "mem_info_vram_used")
    total = whole or (node.memory_bytes if node else None)
    return Device(
        index=index,
        uuid=(node.uuid if node else None) or _read(card.path / "unique_id") or None,
        name=_name(card, root),
        memory_total_bytes=total,
        memory_free_bytes=total - used if total is not None and used is not None else None,
        gfx_version=node.gfx_version if node else None,
        pci_address=card.address,
        numa_node=card.numa_node,
    )


def _topology(nodes: Sequence[_Node]) -> Matrix:
    def link(one: _Node, other: _Node) -> str:
        if one is other:
            return "X"
        return "XGMI" if other.number in one.xgmi_peers else "PCIE"

    return tuple(tuple(link(one, other) for other in nodes) for one in nodes)


def read(root: Path, cards: Sequence[Card]) -> Report:
    """Return the AMD GPUs that the amdgpu driver runs, in ROCm's order where KFD tells it."""
    by_address = {card.address: card for card in cards if card.driver == "amdgpu"}
    nodes = [node for node in _nodes(root) if node.address in by_address]
    addresses = [node.address for node in nodes]
    pairs = [(by_address[node.address], node) for node in nodes]
    devices = tuple(
        _device(card, node, index, addresses.count(card.address) > 1, root) for index, (card, node) in enumerate(pairs)
    )
    return Report(
        source="sysfs",
        driver_version=_read(root / "sys/module/amdgpu/version") or None,
        devices=devices,
        topology=_topology(nodes) if nodes else None,
    )

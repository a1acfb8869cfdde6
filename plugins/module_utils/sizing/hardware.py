"""Graphics cards: what the driver reports, what CUDA leaves of it, and well-known ones for what-if plans.

vLLM multiplies gpu_memory_utilization with the total of cudaMemGetInfo. That is less than the total that NVML
and nvidia-smi print, by what the driver keeps for itself. An H100 shows 81,559 MiB there and 79.18 GiB in
vLLM's log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .units import GIB, MIB

# What the driver keeps of a card that is not in the table. Over the NVIDIA cards in it the difference of
# both totals is 320 to 870 MiB; 400 MiB and a 512th of the card meets each to 0.5 % of its memory.
RESERVED_BASE_BYTES = 400 * MIB
RESERVED_SHARE = 512


@dataclass(frozen=True)
class KnownCard:
    """A well-known card: the driver's total in MiB, CUDA's in GiB, compute capability, vendor."""

    name: str
    driver_mib: int
    cuda_gib: float
    capability: tuple[int, int] | None
    vendor: str = "nvidia"
    unified: bool = False
    # A variant that nobody means by the bare name.
    is_rare: bool = False


# Totals as start-up logs and out-of-memory messages of PyTorch print them. They vary by a few tens of MiB
# between driver versions; the lower one is listed.
KNOWN_CARDS: Mapping[str, KnownCard] = {
    card.name: card
    for card in (
        KnownCard("T4", 15360, 14.56, (7, 5)),
        KnownCard("V100-16GB", 16384, 15.77, (7, 0)),
        KnownCard("V100-32GB", 32768, 31.73, (7, 0)),
        KnownCard("A10", 23028, 22.06, (8, 6)),
        KnownCard("A10G", 23028, 22.06, (8, 6)),
        KnownCard("A30", 24576, 23.49, (8, 0)),
        KnownCard("A40", 46068, 44.34, (8, 6)),
        KnownCard("A100-40GB", 40960, 39.39, (8, 0)),
        KnownCard("A100-80GB", 81920, 79.25, (8, 0)),
        KnownCard("L4", 23034, 22.03, (8, 9)),
        KnownCard("L40", 46068, 44.39, (8, 9)),
        KnownCard("L40S", 46068, 44.39, (8, 9)),
        KnownCard("H100-80GB", 81559, 79.18, (9, 0)),
        KnownCard("H100-NVL", 95830, 93.11, (9, 0)),
        KnownCard("GH200-96GB", 97871, 94.50, (9, 0)),
        KnownCard("H20-96GB", 97871, 95.22, (9, 0)),
        KnownCard("H200-141GB", 143771, 139.81, (9, 0)),
        KnownCard("B200-180GB", 183359, 178.35, (10, 0)),
        KnownCard("B300-288GB", 275040, 267.6, (10, 3)),
        KnownCard("GB200-186GB", 189471, 184.3, (10, 0)),
        KnownCard("RTX2060-12GB", 12288, 11.63, (7, 5)),
        KnownCard("RTX2080Ti-11GB", 11264, 10.57, (7, 5)),
        KnownCard("RTX3060-12GB", 12288, 11.63, (8, 6)),
        KnownCard("RTX3080-10GB", 10240, 9.64, (8, 6)),
        KnownCard("RTX3090-24GB", 24576, 23.57, (8, 6)),
        KnownCard("RTX4060Ti-16GB", 16380, 15.57, (8, 9)),
        KnownCard("RTX4080-16GB", 16376, 15.57, (8, 9)),
        KnownCard("RTX4090-24GB", 24564, 23.52, (8, 9)),
        KnownCard("RTX4090-48GB", 49140, 47.37, (8, 9), is_rare=True),
        KnownCard("RTX5060Ti-16GB", 16311, 15.48, (12, 0)),
        KnownCard("RTX5080-16GB", 16303, 15.47, (12, 0)),
        KnownCard("RTX5090-32GB", 32607, 31.36, (12, 0)),
        KnownCard("RTXA5000-24GB", 24564, 23.57, (8, 6)),
        KnownCard("RTXA6000-48GB", 49140, 47.41, (8, 6)),
        KnownCard("RTX6000Ada-48GB", 49140, 47.38, (8, 9)),
        KnownCard("RTXPRO6000-96GB", 97887, 94.97, (12, 0)),
        KnownCard("GB10", 122570, 119.70, (12, 1), unified=True),
        KnownCard("JetsonThor-128GB", 125771, 122.82, (11, 0), unified=True),
        KnownCard("JetsonOrin-64GB", 62841, 61.37, (8, 7), unified=True),
        KnownCard("MI50-32GB", 32752, 31.98, None, "amd"),
        KnownCard("MI210-64GB", 65520, 63.98, None, "amd"),
        KnownCard("MI250X-64GB", 65520, 63.98, None, "amd"),
        KnownCard("MI300X-192GB", 196592, 191.69, None, "amd"),
        KnownCard("MI325X-256GB", 262128, 255.69, None, "amd"),
        KnownCard("MI355X-288GB", 294896, 287.69, None, "amd"),
    )
}

_COUNT = re.compile(r"^\s*\d+\s*[x×*]\s*")
_SIZE = re.compile(r"(?<![a-z0-9])(\d{1,3})\s?gi?b\b")
_NOISE = re.compile(
    r"nvidia|geforce|tesla|quadro|amd|instinct|graphics|generation|blackwell|workstation|server|edition|"
    r"dgx|spark|hbm\d?e?|sxm\d?|pcie|laptop|gpu|[\s_()/-]+"
)


def _family(name: str) -> tuple[str, int | None]:
    """A card's name without vendor, form factor and size; and the size in GB where the name has it."""
    lowered = _COUNT.sub("", name.lower())
    size = _SIZE.search(lowered)
    return _NOISE.sub("", _SIZE.sub("", lowered)), int(size.group(1)) if size else None


def find_card(name: str, memory_bytes: int | None = None) -> KnownCard | None:
    """The known card that a driver's or a person's name means; memory tells variants apart.

    A bare family name that stands for several sizes decides nothing.
    """
    family, size_gb = _family(name)
    members = [card for card in KNOWN_CARDS.values() if family and _family(card.name)[0] == family]
    if memory_bytes is not None:
        members = [card for card in members if abs(card.driver_mib * MIB / memory_bytes - 1) < 0.06]
    elif size_gb is not None:
        members = [card for card in members if abs(card.driver_mib / 1000 / size_gb - 1) < 0.12]
    if memory_bytes is None and size_gb is None:
        members = [card for card in members if not card.is_rare]
    return members[0] if len(members) == 1 else None


def cuda_total_bytes(name: str, reported_bytes: int, vendor: str | None, unified: bool) -> int:
    """What cudaMemGetInfo will report as total, from what the driver's tools report.

    AMD cards and unified memory have one figure. A reported total that is not the driver's (a MIG
    device's, a container's) is reduced by the general rule.
    """
    if unified or vendor not in (None, "nvidia"):
        return reported_bytes
    card = find_card(name, reported_bytes)
    if card is not None and abs(card.driver_mib * MIB - reported_bytes) < 64 * MIB:
        return int(card.cuda_gib * GIB)
    return reported_bytes - RESERVED_BASE_BYTES - reported_bytes // RESERVED_SHARE


@dataclass(frozen=True)
class Device:
    """One card, or one MIG device of a card, that an instance can use.

    total_bytes: as CUDA reports it, the figure that gpu_memory_utilization multiplies.
    selector: its entry in CUDA_VISIBLE_DEVICES.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int | None = None
    capability: tuple[int, int] | None = None
    numa_node: int | None = None
    vendor: str = "nvidia"
    unified: bool = False
    is_mig: bool = False
    selector: str = ""


def _capability(text: Any) -> tuple[int, int] | None:
    match = re.match(r"^(\d+)\.(\d+)$", str(text or ""))
    return (int(match.group(1)), int(match.group(2))) if match else None


def devices_from_facts(gpu: Mapping[str, Any]) -> tuple[Device, ...]:
    """The usable devices of `ansible_facts.gpu`: whole cards, or the MIG devices of cards split up."""
    vendor = str(gpu.get("vendor") or "nvidia")
    found: list[Device] = []
    for entry in gpu.get("devices") or ():
        if entry.get("memory_total_bytes") is None:
            continue
        unified = bool(entry.get("unified_memory"))
        device = Device(
            index=int(entry["index"]),
            name=str(entry.get("name") or ""),
            total_bytes=cuda_total_bytes(
                str(entry.get("name") or ""), int(entry["memory_total_bytes"]), vendor, unified
            ),
            free_bytes=entry.get("memory_free_bytes"),
            capability=_capability(entry.get("compute_capability")),
            numa_node=entry.get("numa_node"),
            vendor=vendor,
            unified=unified,
            selector=str(entry["index"]),
        )
        if not entry.get("mig_enabled"):
            found.append(device)
            continue
        for part in entry.get("mig_devices") or ():
            total = cuda_total_bytes("", int(part["memory_total_bytes"]), vendor, unified=False)
            found.append(
                replace(
                    device,
                    name=str(part.get("name") or part.get("profile") or device.name),
                    total_bytes=total,
                    free_bytes=part.get("memory_free_bytes"),
                    is_mig=True,
                    selector=str(part["uuid"]),
                )
            )
    return tuple(found)


def imagined_devices(card: KnownCard, count: int) -> tuple[Device, ...]:
    """`count` cards of a known kind, for a plan without a host."""
    return tuple(
        Device(
            index=index,
            name=card.name,
            total_bytes=int(card.cuda_gib * GIB),
            capability=card.capability,
            vendor=card.vendor,
            unified=card.unified,
            selector=str(index),
        )
        for index in range(count)
    )


# Links of `nvidia-smi topo -m`, best first: NVLink, one PCIe switch, several, a host bridge, a NUMA node's
# interconnect, the one between sockets.
_LINK_COST = {"PIX": 2, "PXB": 3, "PHB": 4, "NODE": 5, "SYS": 6}


def link_cost(topology: Sequence[Sequence[str]] | None, first: int, second: int) -> int:
    """0 for NVLink or the same card, up to 6; 4 where nothing is known."""
    try:
        link = str(topology[first][second]) if topology else ""
    except IndexError:
        link = ""
    if link == "X" or link.startswith(("NV", "XGMI")):
        return 0
    return _LINK_COST.get(link, 4)


def is_linked(topology: Sequence[Sequence[str]] | None, indices: Sequence[int]) -> bool:
    """Whether NVLink joins all of these cards; taken for granted where the topology is not known."""
    pairs = [(first, second) for first in indices for second in indices if first < second]
    return not topology or all(link_cost(topology, first, second) == 0 for first, second in pairs)

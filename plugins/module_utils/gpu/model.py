"""What detection finds, as values."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Why a card that is there cannot be used, and what to do about it."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class MigDevice:
    """One MIG instance: a device of its own, with memory of its own."""

    index: int
    uuid: str | None = None
    name: str | None = None
    profile: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    compute_capability: str | None = None


@dataclass(frozen=True)
class Device:
    """One GPU. `mig_enabled` is None where the card has no MIG; absent knowledge is None."""

    index: int
    uuid: str | None = None
    name: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    compute_capability: str | None = None
    gfx_version: str | None = None
    pci_address: str | None = None
    numa_node: int | None = None
    unified_memory: bool = False
    mig_enabled: bool | None = None
    mig_devices: tuple[MigDevice, ...] = ()


Matrix = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What one source says."""

    source: str
    driver_version: str | None = None
    cuda_version: str | None = None
    devices: tuple[Device, ...] = ()
    topology: Matrix | None = None
    problem: Problem | None = None


def plain(value: Any) -> Any:
    """Return a dataclass as dictionaries and lists that can be printed."""
    return json.loads(json.dumps(asdict(value)))


def report_from_plain(data: Mapping[str, Any]) -> Report:
    """Return the report that `plain` was made from."""
    devices = tuple(
        Device(**{**device, "mig_devices": tuple(MigDevice(**mig) for mig in device["mig_devices"])})
        for device in data["devices"]
    )
    topology = data["topology"]
    problem = data["problem"]
    return Report(
        source=data["source"],
        driver_version=data["driver_version"],
        cuda_version=data["cuda_version"],
        devices=devices,
        topology=tuple(tuple(row) for row in topology) if topology else None,
        problem=Problem(**problem) if problem else None,
    )

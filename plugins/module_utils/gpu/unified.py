"""Machines whose GPU shares the host's memory: GB10, Jetson and other Tegra systems."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from .model import Device, Report

# NVIDIA's table of CUDA GPUs; Thor's sm_101 became sm_110 with CUDA 13.
_TEGRA_CAPABILITIES = {
    "tegra210": "5.3",
    "tegra186": "6.2",
    "tegra194": "7.2",
    "tegra234": "8.7",
    "tegra264": "11.0",
}


@dataclass(frozen=True)
class HostMemory:
    """The host's RAM: all of it, and what is available without swapping."""

    total_bytes: int
    available_bytes: int


def parse_meminfo(text: str) -> HostMemory | None:
    """Return the host's memory from /proc/meminfo's text (its kB are KiB)."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    if "MemTotal" not in values:
        return None
    available = values.get("MemAvailable") or values.get("MemFree") or "0"
    return HostMemory(int(values["MemTotal"]) * 1024, int(available) * 1024)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def fill(report: Report, root: Path) -> Report:
    """Give the devices that have no memory of their own the host's."""
    memory = parse_meminfo(_read(root / "proc/meminfo"))
    if memory is None:
        return report
    devices = tuple(
        replace(device, memory_total_bytes=memory.total_bytes, memory_free_bytes=memory.available_bytes)
        if device.unified_memory and device.memory_total_bytes is None
        else device
        for device in report.devices
    )
    return replace(report, devices=devices)


def read_tegra(root: Path) -> Report | None:
    """Return the integrated GPU of a Jetson from its device tree; None on any other machine.

    JetPack before 6 has no NVML, and its GPU is not on the PCI bus.
    """
    compatible = _read(root / "proc/device-tree/compatible").split("\0")
    chips = [name.partition(",")[2] for name in compatible if name.startswith("nvidia,tegra")]
    if not chips:
        return None
    capability = next((_TEGRA_CAPABILITIES[chip] for chip in chips if chip in _TEGRA_CAPABILITIES), None)
    name = _read(root / "proc/device-tree/model").strip("\0\n ") or None
    device = Device(index=0, name=name, compute_capability=capability, unified_memory=True)
    return Report(source="sysfs", devices=(device,))

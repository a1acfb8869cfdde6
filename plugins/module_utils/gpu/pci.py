"""Cards on the PCI bus, from sysfs: what is there, whether or not a driver is."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"
_VENDORS = {NVIDIA: "nvidia", AMD: "amd", INTEL: "intel"}
_DISPLAY = 0x03
# AMD's Instinct cards call themselves processing accelerators.
_ACCELERATOR = 0x12
_NVSWITCH = 0x0680


@dataclass(frozen=True)
class Card:
    """One GPU or NVSwitch on the bus. `driver` is the bound kernel driver's name, None when there is none."""

    address: str
    vendor: str
    device_id: int
    revision: int
    numa_node: int | None
    driver: str | None
    is_nvswitch: bool
    path: Path


def read_hex(path: Path) -> int:
    """Return a sysfs attribute like «0x10de» as a number, 0 when it is not there."""
    try:
        return int(path.read_text().strip(), 16)
    except (OSError, ValueError):
        return 0


def read_numa_node(device: Path) -> int | None:
    """Return the NUMA node of a sysfs device; None when the firmware names none (-1)."""
    try:
        node = int((device / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _card(device: Path, vendor: str) -> Card | None:
    pci_class = read_hex(device / "class") >> 8
    is_nvswitch = vendor == NVIDIA and pci_class == _NVSWITCH
    is_gpu = pci_class >> 8 == _DISPLAY or (vendor == AMD and pci_class >> 8 == _ACCELERATOR)
    # Graphics that is part of an Intel processor sits on the root bus and serves no models.
    is_integrated = vendor == INTEL and device.name.startswith("0000:00:")
    if is_integrated or not (is_gpu or is_nvswitch):
        return None
    driver = device / "driver"
    return Card(
        address=device.name,
        vendor=_VENDORS[vendor],
        device_id=read_hex(device / "device"),
        revision=read_hex(device / "revision"),
        numa_node=read_numa_node(device),
        driver=driver.resolve().name if driver.exists() else None,
        is_nvswitch=is_nvswitch,
        path=device,
    )


def scan(root: Path) -> tuple[Card, ...]:
    """Return the GPUs and NVSwitches of the three vendors, in the order of their addresses."""
    bus = root / "sys/bus/pci/devices"
    cards = []
    for device in sorted(bus.iterdir()) if bus.is_dir() else []:
        vendor = f"0x{read_hex(device / 'vendor'):04x}"
        card = _card(device, vendor) if vendor in _VENDORS else None
        if card:
            cards.append(card)
    return tuple(cards)

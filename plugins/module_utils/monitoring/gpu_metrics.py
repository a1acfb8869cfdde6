"""GPU health for the node exporter's textfile collector.

As a program (roles/monitoring_agent): python3 -m llm.monitoring.gpu_metrics FILE
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..gpu import health, isolate, kernel_log, nvml, pci, xid
from .exposition import Exposition

TIMEOUT_SECONDS = 10.0
_GAUGES = {
    "memory_total_bytes": "Memory of the card.",
    "memory_used_bytes": "Memory in use.",
    "utilization_ratio": "Part of the last sample period in which the card computed.",
    "temperature_celsius": "Temperature of the chip.",
    "power_watts": "Power drawn.",
    "power_limit_watts": "Power that the card may draw.",
}
_FAMILIES = (
    ("llm_gpu_devices", "gauge", "Cards that answer."),
    ("llm_gpu_pci_devices", "gauge", "NVIDIA cards on the PCI bus."),
    ("llm_gpu_problem", "gauge", "1 for what keeps a card from being used, by the codes of gpu_facts."),
    ("llm_gpu_info", "gauge", "Which card it is."),
    *((f"llm_gpu_{name}", "gauge", text) for name, text in _GAUGES.items()),
    ("llm_gpu_ecc_errors_total", "counter", "Memory errors since the driver was loaded."),
    ("llm_gpu_remapped_rows", "gauge", "Rows of memory replaced by spare ones."),
    ("llm_gpu_row_remap_pending", "gauge", "1 while a row waits for a reset to be replaced."),
    ("llm_gpu_row_remap_failed", "gauge", "1 when a row could not be replaced: the card is to be exchanged."),
    ("llm_gpu_throttled", "gauge", "1 while the clocks are held back, by reason."),
    ("llm_gpu_xid_errors_total", "counter", "Xid errors in the kernel's log since the host started."),
    ("llm_gpu_xid_last_timestamp_seconds", "gauge", "When the last of these Xid errors was logged."),
)


def look(libraries: Iterable[str] = nvml.LIBRARIES, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return health.Look as plain values. A library that hangs or crashes is a problem of the cards."""
    try:
        return dict(isolate.call(lambda: asdict(health.read(tuple(libraries))), timeout_seconds))
    except isolate.ChildTimeoutError:
        return asdict(health.Look(problems=("not_answering",)))
    except isolate.ChildCrashError:
        return asdict(health.Look(problems=("library_crashed",)))


def render(seen: Mapping[str, Any], *, bus_count: int, xids: Iterable[xid.XidCount], started_seconds: float) -> str:
    """Return the metrics. `started_seconds` is when the host started, in seconds since the epoch."""
    out = Exposition()
    for family in _FAMILIES:
        out.family(*family)
    out.add("llm_gpu_devices", len(seen["cards"]))
    out.add("llm_gpu_pci_devices", bus_count)
    for code in seen["problems"]:
        out.add("llm_gpu_problem", 1, code=code)
    for card in seen["cards"]:
        _add_card(out, card)
    for error in xids:
        labels = {"pci": error.address, "xid": error.number, "class": error.kind}
        out.add("llm_gpu_xid_errors_total", error.count, **labels)
        out.add("llm_gpu_xid_last_timestamp_seconds", started_seconds + error.last_seconds, **labels)
    return out.text()


def _add_card(out: Exposition, card: Mapping[str, Any]) -> None:
    gpu = card["index"]
    out.add("llm_gpu_info", 1, gpu=gpu, uuid=card["uuid"], name=card["name"], pci=card["pci_address"])
    for name in _GAUGES:
        out.add(f"llm_gpu_{name}", card[name], gpu=gpu)
    for kind, count in card["ecc_errors"].items():
        out.add("llm_gpu_ecc_errors_total", count, gpu=gpu, kind=kind)
    for reason, active in card["throttled"].items():
        out.add("llm_gpu_throttled", active, gpu=gpu, reason=reason)
    rows = card["remapped_rows"]
    if rows:
        for kind in ("corrected", "uncorrected"):
            out.add("llm_gpu_remapped_rows", rows[kind], gpu=gpu, kind=kind)
        out.add("llm_gpu_row_remap_pending", rows["pending"], gpu=gpu)
        out.add("llm_gpu_row_remap_failed", rows["failed"], gpu=gpu)


def write(path: Path, text: str) -> None:
    """Replace a file in one step: the node exporter must not read half of it."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o644)
    part.replace(path)


def main(path: str, root: str = "/") -> None:
    """Look at the cards of this host, and write what there is to say."""
    host = Path(root)
    cards = [card for card in pci.scan(host) if card.vendor == "nvidia" and not card.is_nvswitch]
    uptime_seconds = float((host / "proc/uptime").read_text(encoding="ascii").split()[0])
    text = render(
        look(),
        bus_count=len(cards),
        xids=xid.count(kernel_log.read(host)),
        started_seconds=time.time() - uptime_seconds,
    )
    write(Path(path), text)


if __name__ == "__main__":
    main(*sys.argv[1:])

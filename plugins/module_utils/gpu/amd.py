"""Reading `rocm-smi --json` and `amd-smi --json` of every ROCm version."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .command import Completed, Run
from .model import Device, Matrix, Report
from .text import OutputError, known, pci_address, size_bytes

# Without --json: «GPU[0]		: VRAM Total Memory (B): 68702699520»
_LINE = re.compile(r"^GPU\[(\d+)\]\s*:\s*(\S.*?)\s*:\s+(\S.*?)\s*$", re.MULTILINE)
_DRIVER_LINE = re.compile(r"^Driver version:\s*(\S+)", re.MULTILINE)
_CARD = re.compile(r"card(\d+)$")
_LINK = re.compile(r"\(Topology\) Link type between DRM devices (\d+) and (\d+)$")
# 2**32 - 1 is how some versions print «-1».
_NO_NODE = ("-1", "4294967295")


def _documents(text: str) -> Iterator[Any]:
    """Yield the JSON documents in a text, passing over warnings before, between and after them."""
    decoder = json.JSONDecoder()
    position = 0
    while True:
        match = re.compile(r"^\s*[\[{]", re.MULTILINE).search(text, position)
        if not match:
            return
        try:
            document, position = decoder.raw_decode(text, match.end() - 1)
            yield document
        except ValueError:
            position = match.end()


def _text(value: object) -> str | None:
    """Return a leaf's text: «{"value": 196592, "unit": "MB"}», a number or a string."""
    if isinstance(value, Mapping):
        unit = value.get("unit")
        return known(f"{value.get('value', '')} {unit if unit else ''}")
    if isinstance(value, bool) or value is None or isinstance(value, (list, tuple)):
        return None
    return known(str(value))


def _node(value: object) -> int | None:
    text = _text(value)
    return int(text) if text and text.isdigit() and text not in _NO_NODE else None


def _name(*candidates: object) -> str | None:
    """Return the first candidate that is a name; some versions print a PCI id instead."""
    texts = (_text(candidate) for candidate in candidates)
    return next((text for text in texts if text and not text.lower().startswith("0x")), None)


def _gfx(value: object) -> str | None:
    text = _text(value)
    return text if text and re.fullmatch(r"gfx[0-9a-f]+", text) else None


def _free(total: int | None, used: int | None) -> int | None:
    return total - used if total is not None and used is not None else None


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a sub-record; a version that has nothing to say writes «N/A» in its place."""
    part = record.get(name)
    return part if isinstance(part, Mapping) else {}


def _rocm_device(card: Mapping[str, Any], index: int) -> Device:
    # «Card series» became «Card Series» with ROCm 6.1.
    fields = {key.lower(): value for key, value in card.items()}
    total = size_bytes(_text(fields.get("vram total memory (b)")), "B")
    used = size_bytes(_text(fields.get("vram total used memory (b)")), "B")
    return Device(
        index=index,
        uuid=_text(fields.get("unique id")),
        name=_name(fields.get("device name"), fields.get("card series"), fields.get("card model")),
        memory_total_bytes=total,
        memory_free_bytes=_free(total, used),
        gfx_version=_gfx(fields.get("gfx version")),
        pci_address=pci_address(_text(fields.get("pci bus"))),
        numa_node=_node(fields.get("(topology) numa node")),
    )


def _rocm_topology(system: Mapping[str, Any], indices: Sequence[int]) -> Matrix | None:
    links = {}
    for key, value in system.items():
        match = _LINK.match(key)
        if match:
            one, other = int(match[1]), int(match[2])
            links[one, other] = links[other, one] = str(value).upper()
    complete = all((one, other) in links for one in indices for other in indices if one != other)
    if not complete:
        return None
    return tuple(tuple("X" if i == j else links[i, j] for j in indices) for i in indices)


def _rocm_lines(text: str) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for number, name, value in _LINE.findall(text):
        cards.setdefault(f"card{number}", {})[name] = value
    driver = _DRIVER_LINE.search(text)
    return {**cards, "system": {"Driver version": driver[1]}} if driver else cards


def parse_rocm_smi(text: str) -> Report:
    """Return what `rocm-smi` reports, with --json or without; raises OutputError when the text holds no cards."""
    merged = _rocm_lines(text)
    for document in _documents(text):
        if isinstance(document, Mapping):
            for key, value in document.items():
                merged[key] = {**_part(merged, key), **value} if isinstance(value, Mapping) else value
    numbers = sorted(
        int(match[1]) for match in map(_CARD.match, merged) if match and isinstance(merged[match[0]], Mapping)
    )
    if not numbers:
        raise OutputError(f"expected rocm-smi's cards (card0 …, or GPU[0] …); found {text.strip()[:200]!r}")
    system = _part(merged, "system")
    return Report(
        source="rocm-smi",
        driver_version=_text(system.get("Driver version")),
        devices=tuple(_rocm_device(merged[f"card{number}"], number) for number in numbers),
        topology=_rocm_topology(system, numbers),
    )


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _amd_records(text: str) -> dict[int, dict[str, Any]]:
    """Return one record per GPU, merged from all documents (list, static, metric)."""
    records: dict[int, dict[str, Any]] = {}
    for document in _documents(text):
        # ROCm 6.4 and later wrap the list.
        found = document.get("gpu_data", document) if isinstance(document, Mapping) else document
        for record in found if isinstance(found, list) else [found]:
            if isinstance(record, Mapping) and str(record.get("gpu", "")).isdigit():
                _merge(records.setdefault(int(record["gpu"]), {}), record)
    return records


def _amd_device(record: Mapping[str, Any], index: int) -> Device:
    asic, bus, board = _part(record, "asic"), _part(record, "bus"), _part(record, "board")
    vram, usage, numa = _part(record, "vram"), _part(record, "mem_usage"), _part(record, "numa")
    sizes = (
        usage.get("total_vram"),
        vram.get("size"),
        vram.get("vram_size"),
        vram.get("vram_size_mb"),
        record.get("vram_total"),  # of `amd-smi monitor`
    )
    total = next((size for size in (size_bytes(_text(value)) for value in sizes) if size), None)
    used = size_bytes(_text(usage.get("used_vram"))) or size_bytes(_text(record.get("vram_used")))
    free = size_bytes(_text(usage.get("free_vram")))
    return Device(
        index=index,
        uuid=_text(record.get("uuid")) or _text(asic.get("asic_serial")),
        name=_name(asic.get("market_name"), board.get("product_name"), asic.get("name")),
        memory_total_bytes=total,
        memory_free_bytes=_free(total, used) if free is None else free,
        gfx_version=_gfx(asic.get("target_graphics_version")),
        pci_address=pci_address(_text(bus.get("bdf")) or _text(record.get("bdf"))),
        numa_node=_node(numa.get("node")),
    )


def _amd_topology(records: Mapping[int, Mapping[str, Any]]) -> Matrix | None:
    """Return the links that `amd-smi topology` tells, None where they were not asked for."""
    links: dict[tuple[int, int], str] = {}
    for index, record in records.items():
        found = record.get("links")
        for link in found if isinstance(found, list) else ():
            if isinstance(link, Mapping) and str(link.get("gpu", "")).isdigit() and _text(link.get("link_type")):
                links[index, int(link["gpu"])] = str(link["link_type"]).upper()
    indices = sorted(records)
    if any((one, other) not in links for one in indices for other in indices if one != other) or not links:
        return None
    return tuple(tuple("X" if i == j else links[i, j] for j in indices) for i in indices)


def parse_amd_smi(text: str) -> Report:
    """Return what `amd-smi list|static|metric|topology --json` report, one or several of them in one text.

    Raises OutputError when the text holds no GPUs.
    """
    records = _amd_records(text)
    if not records:
        raise OutputError(f"expected amd-smi's JSON with one record per GPU; found {text.strip()[:200]!r}")
    drivers = (_part(record, "driver") for record in records.values())
    versions = (_text(driver.get("version")) or _text(driver.get("driver_version")) for driver in drivers)
    return Report(
        source="amd-smi",
        driver_version=next(filter(None, versions), None),
        devices=tuple(_amd_device(record, index) for index, record in sorted(records.items())),
        topology=_amd_topology(records),
    )


def _output(completed: Completed) -> str:
    return completed.stdout if completed.returncode is not None else ""


def read_amd_smi(run: Run, program: str, timeout_seconds: float) -> Report:
    """Return what amd-smi reports; raises OutputError."""
    verbs = ("list", "static", "metric", "topology")
    each = timeout_seconds / len(verbs)
    return parse_amd_smi("\n".join(_output(run((program, verb, "--json"), each)) for verb in verbs))


def read_rocm_smi(run: Run, program: str, timeout_seconds: float) -> Report:
    """Return what rocm-smi reports; raises OutputError."""
    wanted = (
        "--showproductname", "--showuniqueid", "--showbus", "--showmeminfo", "vram", "--showdriverversion",
        "--showtopo", "--json",
    )  # fmt: skip
    return parse_rocm_smi(_output(run((program, *wanted), timeout_seconds)))

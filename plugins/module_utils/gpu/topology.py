"""Links between GPUs, from `nvidia-smi topo -m`."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass

from .model import Matrix
from .text import OutputError

# The header is underlined by escape sequences even when the output is a pipe; copied text has lost their first byte.
_ESCAPE = re.compile(r"\x1b?\[[0-9;]*[A-Za-z]")
_GPU = re.compile(r"GPU(\d+)")
_LINK = re.compile(r"X|SYS|NODE|PHB|PXB|PIX|PSB|SOC|NV\d+", re.IGNORECASE)
_AFFINITY = re.compile(r"N/A|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*", re.IGNORECASE)


@dataclass(frozen=True)
class Topology:
    """Links between GPUs i and j, and per GPU the CPUs and the NUMA node nearest to it."""

    links: Matrix
    cpu_affinity: tuple[str | None, ...]
    numa_nodes: tuple[int | None, ...]


def _header(lines: list[str]) -> tuple[int, list[str]]:
    for number, line in enumerate(lines):
        names = line.split()
        # A row begins with its own name followed by links; the header has names only.
        if names and _GPU.fullmatch(names[0]) and (len(names) == 1 or not _LINK.fullmatch(names[1])):
            return number, names
    raise OutputError("expected the matrix of `nvidia-smi topo -m`; found no header that begins with GPU0")


def _affinities(cells: list[str], titles: str) -> tuple[str | None, int | None]:
    """Return CPU and NUMA affinity from the cells behind the links; a cell may be missing or «N/A»."""
    values = [None if cell.upper() == "N/A" else cell for cell in cells if _AFFINITY.fullmatch(cell)]
    cpus = values[0] if values and "CPU Affinity" in titles else None
    numa = values[1] if len(values) > 1 and "NUMA Affinity" in titles else None
    return cpus, int(numa) if numa and numa.isdigit() else None


def parse(text: str) -> Topology:
    """Return the topology that `nvidia-smi topo -m` printed; raises OutputError when it is something else."""
    lines = _ESCAPE.sub("", text).splitlines()
    start, titles = _header(lines)
    # Titles of links come first, one word each; «CPU Affinity» ends them.
    names = titles[: titles.index("CPU")] if "CPU" in titles else titles
    columns = [position for position, name in enumerate(names) if _GPU.fullmatch(name)]
    rows: dict[str, list[str]] = {}
    for line in lines[start + 1 :]:
        label, *cells = line.split() or [""]
        if _GPU.fullmatch(label) and len(cells) >= len(names):
            rows[label] = cells
    gpus = [names[position] for position in columns]
    if any(gpu not in rows for gpu in gpus):
        missing = ", ".join(gpu for gpu in gpus if gpu not in rows)
        raise OutputError(f"expected a complete row for every GPU of the matrix; found none for {missing}")
    title_line = " ".join(titles)
    behind = [_affinities(rows[gpu][len(names) :], title_line) for gpu in gpus]
    return Topology(
        links=tuple(tuple(rows[gpu][position].upper() for position in columns) for gpu in gpus),
        cpu_affinity=tuple(pair[0] for pair in behind),
        numa_nodes=tuple(pair[1] for pair in behind),
    )

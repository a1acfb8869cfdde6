"""Reading `nvidia-smi`: XML, CSV, the table, the list, and what it says when it fails.

The fallback where NVML cannot be loaded. Parsers take text; `read` runs the tool.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from xml.etree import ElementTree

from . import problems, topology
from .command import Completed, Run
from .model import Device, MigDevice, Problem, Report
from .text import OutputError, bare, integer, known, not_applicable, pci_address, size_bytes, version

parse_topology = topology.parse

# Architectures with one compute capability only; the XML names no number.
_CAPABILITY_OF = {"turing": "7.5", "ada lovelace": "8.9", "hopper": "9.0"}
# Driver 610 renamed both: kernel mode and user mode driver.
_DRIVER_FIELDS = ("driver_version", "kmd_version")
_CUDA_FIELDS = ("cuda_version", "cuda_umd_version")


def _first(element: ElementTree.Element, paths: Sequence[str]) -> str | None:
    return next((text for text in (element.findtext(path) for path in paths) if text is not None), None)


def _mig_enabled(text: str | None) -> bool | None:
    value = (known(text) or "").lower()
    return {"enabled": True, "disabled": False}.get(value)


def _xml_mig(element: ElementTree.Element, position: int) -> MigDevice:
    index = integer(element.findtext("index"))
    return MigDevice(
        index=position if index is None else index,
        uuid=known(element.findtext("uuid")),
        memory_total_bytes=size_bytes(element.findtext("fb_memory_usage/total")),
        memory_free_bytes=size_bytes(element.findtext("fb_memory_usage/free")),
    )


def _xml_gpu(element: ElementTree.Element, index: int) -> Device:
    mig = _mig_enabled(element.findtext("mig_mode/current_mig"))
    architecture = (known(element.findtext("product_architecture")) or "").lower()
    total = element.findtext("fb_memory_usage/total")
    return Device(
        index=index,
        uuid=known(element.findtext("uuid")),
        name=known(element.findtext("product_name")),
        memory_total_bytes=size_bytes(total),
        memory_free_bytes=size_bytes(element.findtext("fb_memory_usage/free")),
        compute_capability=_CAPABILITY_OF.get(architecture),
        pci_address=pci_address(element.findtext("pci/pci_bus_id")) or pci_address(element.get("id")),
        unified_memory=not_applicable(total) and not mig,
        mig_enabled=mig,
        mig_devices=tuple(
            _xml_mig(mig_device, position)
            for position, mig_device in enumerate(element.findall("mig_devices/mig_device"))
        ),
    )


def _xml_problem(element: ElementTree.Element) -> str | None:
    """Return the problem's code of a card that is listed but gone: its values say so."""
    values = {bare(element.findtext(path)).lower() for path in ("product_name", "uuid", "fb_memory_usage/total")}
    if "gpu is lost" in values:
        return "gpu_lost"
    return "reset_required" if "gpu requires reset" in values else None


def parse_xml(text: str) -> Report:
    """Return what `nvidia-smi -q -x` reports; raises OutputError when there is no such document in the text.

    Warnings before and after the document are passed over.
    """
    match = re.search(r"<nvidia_smi_log>.*</nvidia_smi_log>", text, re.DOTALL)
    if not match:
        raise OutputError(f"expected <nvidia_smi_log>; found {text.strip()[:200]!r}")
    try:
        root = ElementTree.fromstring(match[0])  # noqa: S314 (the driver's own tool wrote it)
    except ElementTree.ParseError as error:
        raise OutputError(f"expected well-formed XML; found {error}") from error
    elements = list(enumerate(root.findall("gpu")))
    lost = [(element, code) for _index, element in elements for code in [_xml_problem(element)] if code]
    states = [(index, (element.findtext("fabric/state") or "").strip().lower()) for index, element in elements]
    waiting = ", ".join(f"GPU {index} {state}" for index, state in states if state in ("in progress", "not started"))
    problem = problems.make("fabric_not_ready", detail=waiting) if waiting else None
    if lost:
        problem = problems.make(lost[0][1], where=pci_address(lost[0][0].get("id")))
    return Report(
        source="nvidia-smi",
        driver_version=version(_first(root, _DRIVER_FIELDS)),
        cuda_version=version(_first(root, _CUDA_FIELDS)),
        devices=tuple(_xml_gpu(element, index) for index, element in elements if not _xml_problem(element)),
        problem=problem,
    )


# Query fields of --query-gpu, with the old names.
_CSV_NAMES = {
    "index": "index",
    "uuid": "uuid",
    "gpu_uuid": "uuid",
    "name": "name",
    "gpu_name": "name",
    "pci.bus_id": "pci",
    "gpu_bus_id": "pci",
    "memory.total": "total",
    "memory.used": "used",
    "memory.free": "free",
    "compute_cap": "capability",
    "driver_version": "driver",
    "mig.mode.current": "mig",
}


def _csv_columns(header: Sequence[str]) -> list[str]:
    """Return our names for a header such as «memory.total [MiB]»; unknown columns keep theirs."""
    bare = [re.sub(r"\s*\[.*\]$", "", title.strip()) for title in header]
    return [_CSV_NAMES.get(title, title) for title in bare]


def _csv_device(row: dict[str, str], position: int) -> Device:
    total, used, free = (size_bytes(row.get(column)) for column in ("total", "used", "free"))
    if free is None and total is not None and used is not None:
        free = total - used
    index = integer(row.get("index"))
    mig = _mig_enabled(row.get("mig"))
    return Device(
        index=position if index is None else index,
        uuid=known(row.get("uuid")),
        name=known(row.get("name")),
        memory_total_bytes=total,
        memory_free_bytes=free,
        compute_capability=version(row.get("capability")),
        pci_address=pci_address(row.get("pci")),
        unified_memory=not_applicable(row.get("total")) and not mig,
        mig_enabled=mig,
    )


def parse_csv(text: str, fields: Sequence[str] | None = None) -> Report:
    """Return what `nvidia-smi --query-gpu=… --format=csv` reports.

    `fields` names the columns of output without a header (`noheader`). Raises OutputError on anything else, which
    includes nvidia-smi's refusal of a field that it does not know.
    """
    rows = [row for row in csv.reader(text.strip().splitlines(), skipinitialspace=True) if row]
    columns = _csv_columns(fields if fields else rows.pop(0) if rows else [])
    if not set(columns) & set(_CSV_NAMES.values()):
        raise OutputError(f"expected the header of a GPU query; found {text.strip()[:200]!r}")
    # A card that cannot be opened is a message among the rows.
    messages = [", ".join(row) for row in rows if len(row) != len(columns)]
    problem = explain_error(_OTHER_ERROR, "\n".join(messages)) if messages else None
    if messages and not any(_FAILED.search(message) for message in messages):
        raise OutputError(f"expected {len(columns)} columns; found: {messages[0]}")
    records = [dict(zip(columns, row)) for row in rows if len(row) == len(columns)]
    return Report(
        source="nvidia-smi",
        driver_version=next(filter(None, (version(record.get("driver")) for record in records)), None),
        devices=tuple(_csv_device(record, position) for position, record in enumerate(records)),
        problem=problem,
    )


_BANNER_DRIVER = re.compile(r"\b(?:Driver|KMD)\s+Version:\s*(\S+)")
_BANNER_CUDA = re.compile(r"\bCUDA\s+(?:UMD\s+)?Version:\s*(\S+)")
_TABLE_GPU = re.compile(
    r"^\|\s*(?P<index>\d+)\s+(?P<name>\S.*?)\s+(?:On|Off|N/A|WDDM|TCC|MCDM|ERR!)\s*\|\s*"
    r"(?P<pci>[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])\s"
)
_TABLE_MEMORY = re.compile(r"\|\s*(?:(?P<used>\d+)MiB\s*/\s*(?P<total>\d+)MiB|(?P<none>Not Supported|N/A))\s*\|")
_TABLE_MIG = re.compile(
    r"^\|\s*(?P<gpu>\d+)\s+\d+\s+\d+\s+(?P<index>\d+)\s*\|\s*(?P<used>\d+)MiB\s*/\s*(?P<total>\d+)MiB"
)
_TABLE_MIG_MODE = re.compile(r"(Enabled|Disabled)\*?\s*\|\s*$")


def _table_memory(device: Device, line: str) -> Device:
    match = _TABLE_MEMORY.search(line)
    if not match or device.memory_total_bytes is not None:
        return device
    if match["none"]:
        return replace(device, unified_memory=True)
    total, used = int(match["total"]) * 2**20, int(match["used"]) * 2**20
    return replace(device, memory_total_bytes=total, memory_free_bytes=total - used)


def parse_table(text: str) -> Report:
    """Return what plain `nvidia-smi` prints as a table. Old drivers cut long names off («NVIDIA A100-SXM...»)."""
    driver, cuda = _BANNER_DRIVER.search(text), _BANNER_CUDA.search(text)
    devices: list[Device] = []
    for line in text.splitlines():
        gpu, mig, mode = _TABLE_GPU.match(line), _TABLE_MIG.match(line), _TABLE_MIG_MODE.search(line)
        if gpu:
            devices.append(Device(index=int(gpu["index"]), name=gpu["name"], pci_address=pci_address(gpu["pci"])))
        elif mig:
            total, used = int(mig["total"]) * 2**20, int(mig["used"]) * 2**20
            instance = MigDevice(int(mig["index"]), memory_total_bytes=total, memory_free_bytes=total - used)
            devices = [
                replace(device, mig_devices=(*device.mig_devices, instance))
                if device.index == int(mig["gpu"])
                else device
                for device in devices
            ]
        elif devices:
            devices[-1] = _table_memory(devices[-1], line)
            if mode:
                devices[-1] = replace(devices[-1], mig_enabled=mode[1] == "Enabled")
    if not driver:
        raise OutputError(f"expected nvidia-smi's table; found {text.strip()[:200]!r}")
    return Report(
        source="nvidia-smi",
        driver_version=version(driver[1]),
        cuda_version=version(cuda[1]) if cuda else None,
        devices=tuple(devices),
    )


_LIST_GPU = re.compile(r"^GPU (\d+): (.+?) \(UUID: ([^)]+)\)")
_LIST_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: ([^)]+)\)")


def parse_list(text: str) -> tuple[Device, ...]:
    """Return the GPUs and MIG instances that `nvidia-smi -L` names."""
    devices: list[Device] = []
    for line in text.splitlines():
        gpu, mig = _LIST_GPU.match(line), _LIST_MIG.match(line)
        if gpu:
            devices.append(Device(index=int(gpu[1]), name=gpu[2], uuid=gpu[3]))
        elif mig and devices:
            parent = devices[-1]
            instance = MigDevice(index=int(mig[2]), uuid=mig[3], name=f"{parent.name} MIG {mig[1]}", profile=mig[1])
            devices[-1] = replace(parent, mig_enabled=True, mig_devices=(*parent.mig_devices, instance))
    return tuple(devices)


_MISMATCH_LIBRARY = re.compile(r"NVML library version:\s*(\S+)")
# What nvidia-smi prints, which says more than the exit code: several drivers share one code for several causes.
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (r"version mismatch", "version_mismatch"),
        (r"couldn.t communicate with the NVIDIA driver|driver not loaded", "driver_not_loaded"),
        (r"couldn.t find libnvidia-ml|NVML Shared Library (couldn.t|not) ", "library_missing"),
        (r"is lost|fallen off the bus", "gpu_lost"),
        (r"insufficiently powered|power cables", "insufficient_power"),
        (r"insufficient permissions", "permission_denied"),
        (r"blocked by the operating system", "blocked_by_os"),
        (r"issue with GPU interrupts", "interrupt_issue"),
        (r"requires? (a )?reset", "reset_required"),
        (r"infoROM is corrupted", "inforom_corrupted"),
        (r"is not a valid field|invalid (combination|option|argument)|not recogni[sz]ed", "smi_bad_argument"),
        (r"no devices (were )?found", "no_devices"),
        (r"command not found|no such file or directory", "smi_missing"),
    )
)
_CODES = {
    2: "smi_bad_argument",
    3: "operation_not_available",
    4: "permission_denied",
    6: "no_devices",
    8: "insufficient_power",
    9: "driver_not_loaded",
    10: "interrupt_issue",
    12: "library_missing",
    13: "library_too_old",
    14: "inforom_corrupted",
    15: "gpu_lost",
    16: "reset_required",
    17: "blocked_by_os",
    18: "version_mismatch",
    126: "permission_denied",
    127: "smi_missing",
}
_OTHER_ERROR = 255
_FAILED = re.compile(r"failed to initialize NVML|unable to determine the device handle", re.IGNORECASE)


def explain_error(
    returncode: int | None,
    stdout: str = "",
    stderr: str = "",
    *,
    kernel: str | None = None,
    timeout_seconds: float = 0,
) -> Problem | None:
    """Return why nvidia-smi failed, None when it did not.

    Its error text goes to stdout. `returncode` None means that it did not answer within `timeout_seconds`;
    `kernel` is the loaded module's version, for the text.
    """
    if returncode is None:
        return problems.make("not_answering", tool="nvidia-smi", seconds=f"{timeout_seconds:g}")
    lines = f"{stdout}\n{stderr}".strip().splitlines()
    named = ((code, line) for pattern, code in _TEXTS for line in lines if pattern.search(line))
    code, line = next(named, (_CODES.get(returncode, "driver_error"), lines[0] if lines else ""))
    failed = any(_FAILED.search(line) for line in lines)
    if returncode == 0 and not failed and code not in ("no_devices", "inforom_corrupted"):
        return None
    library = _MISMATCH_LIBRARY.search(stdout)
    return problems.make(
        code,
        where=pci_address(line),
        kernel=kernel or "of unknown version",
        library=library[1] if library else "of another version",
        detail=line.strip() or f"nvidia-smi ended with status {returncode}",
    )


def _with_list(report: Report, listed: Sequence[Device]) -> Report:
    """Add the names and UUIDs of MIG instances, which the XML lacks."""
    by_uuid = {device.uuid: device for device in listed}

    def named(device: Device) -> Device:
        other = by_uuid.get(device.uuid)
        names = {mig.index: mig for mig in other.mig_devices} if other else {}
        return replace(
            device,
            mig_devices=tuple(
                replace(mig, uuid=names[mig.index].uuid, name=names[mig.index].name, profile=names[mig.index].profile)
                if mig.index in names
                else mig
                for mig in device.mig_devices
            ),
        )

    return replace(report, devices=tuple(named(device) for device in report.devices))


def _with_capabilities(report: Report, queried: Sequence[Device]) -> Report:
    """Add compute capabilities, to cards and to their MIG instances."""
    by_uuid = {device.uuid: device.compute_capability for device in queried}

    def capable(device: Device) -> Device:
        capability = by_uuid.get(device.uuid) or device.compute_capability
        migs = tuple(replace(mig, compute_capability=capability) for mig in device.mig_devices)
        return replace(device, compute_capability=capability, mig_devices=migs)

    return replace(report, devices=tuple(capable(device) for device in report.devices))


def _with_topology(report: Report, found: topology.Topology) -> Report:
    if len(found.links) != len(report.devices):
        return report
    devices = tuple(replace(device, numa_node=numa) for device, numa in zip(report.devices, found.numa_nodes))
    return replace(report, devices=devices, topology=found.links)


def read(run: Run, program: str, timeout_seconds: float, kernel: str | None = None) -> Report:
    """Return what nvidia-smi reports, in at most `timeout_seconds` over all its calls.

    The first call decides; what the later ones add is left out when they fail or time is up.
    """
    deadline = time.monotonic() + timeout_seconds
    first = run((program, "-q", "-x"), timeout_seconds)
    problem = explain_error(
        first.returncode, first.stdout, first.stderr, kernel=kernel, timeout_seconds=timeout_seconds
    )
    try:
        parsed = parse_xml(first.stdout)
        report = replace(parsed, problem=problem or parsed.problem)
    except OutputError as error:
        problem = problem or problems.make("driver_error", detail=str(error))
        return Report(source="nvidia-smi", driver_version=kernel, problem=problem)

    def also(add: Callable[[str], Report], *arguments: str) -> Report:
        remaining = deadline - time.monotonic()
        completed = run((program, *arguments), remaining) if remaining > 0 else Completed(None, "", "")
        try:
            return add(completed.stdout) if completed.returncode == 0 else report
        except OutputError:
            return report

    fields = ("uuid", "compute_cap")
    report = also(
        lambda text: _with_capabilities(report, parse_csv(text, fields).devices),
        f"--query-gpu={','.join(fields)}",
        "--format=csv,noheader",
    )
    if any(device.mig_devices for device in report.devices):
        report = also(lambda text: _with_list(report, parse_list(text)), "-L")
    return also(lambda text: _with_topology(report, parse_topology(text)), "topo", "-m")

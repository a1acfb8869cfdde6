"""Puts the facts together: which sources to ask, in which order, and why a card cannot be used."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import amd, amd_sysfs, command, fabric, isolate, kernel_log, nvidia_smi, nvml, pci, problems, proc, unified
from .model import Device, Problem, Report, plain, report_from_plain
from .text import OutputError

SOURCES = ("nvml", "nvidia-smi", "sysfs", "amd-smi", "rocm-smi")
# NVIDIA's device ids rise with the generations: Blackwell begins here, and needs the open kernel modules.
_FIRST_BLACKWELL_ID = 0x2900
_CONTAINER_MARKS = ("run/systemd/container", "run/.containerenv", ".dockerenv")


@dataclass(frozen=True)
class Host:
    """Where to look. Tests give a root of their own, a library and a stand-in for running commands."""

    root: Path = Path("/")
    nvml_libraries: Sequence[str] = nvml.LIBRARIES
    run: command.Run = command.run
    find: Callable[[str], str | None] = command.find


@dataclass(frozen=True)
class _Evidence:
    """What is known before any driver is asked."""

    cards: tuple[pci.Card, ...]
    module: proc.KernelModule | None

    @property
    def kernel(self) -> str | None:
        return self.module.version if self.module else None

    @property
    def needs_open_module(self) -> bool:
        proprietary = self.module is not None and not self.module.is_open
        return proprietary and any(card.device_id >= _FIRST_BLACKWELL_ID for card in self.cards)


def _is_container(host: Host) -> bool:
    return any((host.root / mark).exists() for mark in _CONTAINER_MARKS)


def _read_nvml(host: Host, evidence: _Evidence, timeout_seconds: float) -> Report | None:
    """Return NVML's report; None when there is no library."""

    def read() -> Any:
        try:
            return plain(nvml.read(host.nvml_libraries, evidence.kernel))
        except nvml.LibraryMissingError:
            return None

    try:
        data = isolate.call(read, timeout_seconds)
    except isolate.ChildTimeoutError:
        problem = problems.make("not_answering", tool="NVML", seconds=f"{timeout_seconds:g}")
    except isolate.ChildCrashError as error:
        problem = problems.make("library_crashed", tool="NVML", detail=error)
    else:
        return report_from_plain(data) if data else None
    return Report(source="nvml", driver_version=evidence.kernel, problem=problem)


def _read_nvidia_smi(host: Host, evidence: _Evidence, timeout_seconds: float) -> Report | None:
    program = host.find("nvidia-smi")
    return nvidia_smi.read(host.run, program, timeout_seconds, evidence.kernel) if program else None


def _without_driver(evidence: _Evidence, log: str) -> Problem | None:
    """Return why NVIDIA cards are there and no driver is loaded."""
    if not evidence.cards:
        return None
    where = evidence.cards[0].address
    drivers = {card.driver for card in evidence.cards}
    if drivers == {"vfio-pci"}:
        return problems.make("passed_through", where=where)
    if "nouveau" in drivers:
        return problems.make("nouveau_in_use", where=where)
    return kernel_log.explain(log) or problems.make("driver_not_loaded", where=where)


def _missing_cards(report: Report, evidence: _Evidence, log: str, in_container: bool) -> Problem | None:
    """Return why the loaded driver does not report every card of the bus.

    Inside a container the bus shows cards that belong to others, which is no fault.
    """
    reported = {device.pci_address for device in report.devices}
    expected = [card for card in evidence.cards if card.driver != "vfio-pci"]
    missing = [card.address for card in expected if card.address not in reported]
    if not missing or (in_container and report.devices):
        return None
    if evidence.needs_open_module:
        return problems.make("open_module_required", where=missing[0])
    explained = kernel_log.explain(log, missing[0], kernel=evidence.kernel)
    if explained:
        return explained
    if not report.devices:
        return problems.make("no_devices", where=missing[0])
    return problems.make("gpu_missing", expected=len(expected), detail=", ".join(missing))


def _without_instances(devices: Sequence[Device]) -> Problem | None:
    empty = next((device for device in devices if device.mig_enabled and not device.mig_devices), None)
    return problems.make("mig_without_instances", where=empty.pci_address) if empty else None


def _nvidia_problem(
    host: Host, report: Report | None, evidence: _Evidence, answers: Sequence[Report]
) -> Problem | None:
    """Return what is wrong; `answers` are those of sources that had nothing to say but that they found no driver."""
    if report and report.problem:
        return report.problem
    missing_any = len(report.devices if report else ()) < len(evidence.cards)
    log = kernel_log.read(host.root) if missing_any else ""
    if report is None:
        if evidence.module is None:
            return _without_driver(evidence, log)
        found_library = any(answer.problem.code == "driver_not_loaded" for answer in answers if answer.problem)
        return problems.make("device_files_missing" if found_library else "library_missing", remark=evidence.kernel)
    return _missing_cards(report, evidence, log, _is_container(host)) or _without_instances(report.devices)


def _with_numa_nodes(report: Report, cards: Sequence[pci.Card]) -> Report:
    """Prefer sysfs's NUMA nodes: they are the firmware's own words."""
    nodes = {card.address: card.numa_node for card in cards if card.numa_node is not None}
    devices = tuple(
        replace(device, numa_node=nodes.get(device.pci_address or "", device.numa_node)) for device in report.devices
    )
    return replace(report, devices=devices)


def _nvidia(host: Host, evidence: _Evidence, sources: Sequence[str], timeout_seconds: float) -> Report | None:
    readers = {"nvml": _read_nvml, "nvidia-smi": _read_nvidia_smi}
    report: Report | None = None
    silent: list[Report] = []
    for source in sources:
        if source in readers and report is None:
            report = readers[source](host, evidence, timeout_seconds)
            # What the source says then, the diagnosis says better: from the bus, the module and the kernel's log.
            if report and report.problem and report.problem.code in ("driver_not_loaded", "library_missing"):
                silent.append(report)
                report = None
    if report is None and "sysfs" in sources:
        report = unified.read_tegra(host.root)
    problem = _nvidia_problem(host, report, evidence, silent)
    if report is None:
        return Report("", driver_version=evidence.kernel, problem=problem) if problem else None
    if not report.devices and not problem:
        return None
    return _with_numa_nodes(unified.fill(replace(report, problem=problem), host.root), evidence.cards)


def _amd(host: Host, cards: Sequence[pci.Card], sources: Sequence[str], timeout_seconds: float) -> Report | None:
    readers = {"amd-smi": amd.read_amd_smi, "rocm-smi": amd.read_rocm_smi}
    for source in sources:
        if source == "sysfs" and cards:
            report = amd_sysfs.read(host.root, cards)
            if report.devices:
                return report
        program = host.find(source) if source in readers else None
        if program:
            try:
                return readers[source](host.run, program, timeout_seconds)
            except OutputError:
                continue
    if not cards or all(card.driver == "vfio-pci" for card in cards):
        return None
    code = "amd_kfd_missing" if any(card.driver == "amdgpu" for card in cards) else "amd_driver_not_loaded"
    return Report("", problem=problems.make(code, where=cards[0].address))


def _intel(cards: Sequence[pci.Card]) -> Report | None:
    devices = tuple(
        Device(index=index, pci_address=card.address, numa_node=card.numa_node) for index, card in enumerate(cards)
    )
    return Report("sysfs", devices=devices) if devices else None


def gather(host: Host, sources: Sequence[str] = SOURCES, timeout_seconds: float = 10.0) -> dict[str, Any]:
    """Return the contract's dictionary `ansible_facts.gpu`.

    `timeout_seconds` bounds each source. Of several vendors the first with usable devices is told, else the first with
    a problem, in the order NVIDIA, AMD, Intel.
    """
    cards = pci.scan(host.root)

    def of(vendor: str) -> tuple[pci.Card, ...]:
        return tuple(card for card in cards if card.vendor == vendor and not card.is_nvswitch)

    switches = sum(card.is_nvswitch for card in cards)
    evidence = _Evidence(of("nvidia"), proc.read_version(host.root))
    readers: dict[str, Callable[[], Report | None]] = {
        "nvidia": lambda: _nvidia(host, evidence, sources, timeout_seconds),
        "amd": lambda: _amd(host, of("amd"), sources, timeout_seconds),
        "intel": lambda: _intel(of("intel")),
    }
    vendor: str | None = None
    report = Report("")
    for name, read in readers.items():
        found = read()
        if found and (vendor is None or (found.devices and not report.devices)):
            vendor, report = name, found
        if report.devices:
            break
    manager = fabric.read(host.root, timeout_seconds) if switches and vendor == "nvidia" else None
    if manager and not report.problem:
        log = "" if manager.running else fabric.read_log(timeout_seconds)
        report = replace(report, problem=fabric.explain(manager, switches, report.driver_version, log))
    facts = plain(report)
    return {
        "vendor": vendor,
        "source": report.source or None,
        "driver_version": facts["driver_version"],
        "cuda_version": facts["cuda_version"],
        "devices": facts["devices"],
        "topology": facts["topology"],
        "nvswitch_count": switches,
        "fabric_manager": asdict(manager) if manager else None,
        "problem": facts["problem"],
    }

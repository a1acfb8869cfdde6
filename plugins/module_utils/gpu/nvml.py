"""NVIDIA's management library through ctypes: no Python package, no program, about a millisecond.

Functions, structures and numbers are those of NVIDIA's NVML API reference. Newer versions of a function are tried
first; a driver that lacks one is asked the older way.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from . import problems
from .model import Device, Matrix, MigDevice, Problem, Report
from .text import pci_address

LIBRARIES = (
    "libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
)

# nvmlReturn_t
NOT_SUPPORTED, NO_PERMISSION = 3, 4
INSUFFICIENT_POWER, DRIVER_NOT_LOADED, IRQ_ISSUE = 8, 9, 10
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, CORRUPTED_INFOROM = 12, 13, 14
GPU_IS_LOST, RESET_REQUIRED, OPERATING_SYSTEM, VERSION_MISMATCH = 15, 16, 17, 18

# nvmlGpuTopologyLevel_t, named as `nvidia-smi topo -m` does
_ANCESTORS = {0: "PSB", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
# The library answers INVALID_ARGUMENT beyond a card's last link.
_MAX_LINKS = 36
_LINK_TO_SWITCH = 2
_FABRIC_STATES = {1: "not started", 2: "in progress"}
_AFFINITY_SCOPE_NODE = 0
_NODE_SET_WORDS = 4

Result = TypeVar("Result")
Handle = ctypes.c_void_p


class _PciInfo(ctypes.Structure):
    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pci_device_id", ctypes.c_uint),
        ("pci_subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _MemoryV2(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint),
        ("total", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _FabricInfo(ctypes.Structure):
    _fields_ = (
        ("cluster_uuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_int),
        ("clique_id", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
    )


class _FabricInfoV2(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint),
        ("cluster_uuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_int),
        ("clique_id", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
        ("health_mask", ctypes.c_uint),
    )


def _tag(structure: type[ctypes.Structure], number: int) -> int:
    """Return the tag by which NVML knows a structure's version: its size, and the number in the top byte."""
    return ctypes.sizeof(structure) | number << 24


class NvmlError(Exception):
    """An NVML call failed with `code`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class LibraryMissingError(Exception):
    """There is no libnvidia-ml.so.1 that can be loaded."""


class _Library:
    """The loaded library; every call is checked."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._library = self._load(paths)

    @staticmethod
    def _load(paths: Sequence[str]) -> ctypes.CDLL:
        reasons = []
        for path in paths:
            try:
                return ctypes.CDLL(path)
            except OSError as error:
                reasons.append(str(error))
        raise LibraryMissingError("; ".join(reasons))

    def call(self, names: str | tuple[str, ...], *arguments: object) -> None:
        """Call the first of the named functions that this driver has; raises NvmlError."""
        for name in (names,) if isinstance(names, str) else names:
            function = getattr(self._library, name, None)
            if function is None:
                continue
            code = int(function(*arguments))
            if code == FUNCTION_NOT_FOUND:
                continue
            if code != 0:
                raise NvmlError(code, self._error_text(code))
            return
        raise NvmlError(FUNCTION_NOT_FOUND, f"this driver's library has no {names}")

    def _error_text(self, code: int) -> str:
        function = getattr(self._library, "nvmlErrorString", None)
        if function is None:
            return f"NVML error {code}"
        function.restype = ctypes.c_char_p
        return f"{(function(code) or b'').decode(errors='replace')} (NVML error {code})"

    def text(self, names: str | tuple[str, ...], *arguments: object) -> str:
        """Return the text that a function of the form f(…, buffer, length) writes."""
        buffer = ctypes.create_string_buffer(96)
        self.call(names, *arguments, buffer, ctypes.c_uint(len(buffer)))
        return buffer.value.decode(errors="replace")


def _optional(function: Callable[[], Result]) -> Result | None:
    """Return None for what a card or driver does not offer; a card that is gone still raises."""
    try:
        return function()
    except NvmlError as error:
        if error.code in (GPU_IS_LOST, RESET_REQUIRED):
            raise
        return None


def _cuda_version(library: _Library) -> str:
    number = ctypes.c_int()
    library.call(("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"), ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


@dataclass(frozen=True)
class _MemoryBytes:
    total: int | None = None
    free: int | None = None
    not_supported: bool = False


def _memory(library: _Library, handle: Handle) -> _MemoryBytes:
    newer = _MemoryV2(version=_tag(_MemoryV2, 2))
    older = _Memory()
    for name, memory in (("nvmlDeviceGetMemoryInfo_v2", newer), ("nvmlDeviceGetMemoryInfo", older)):
        try:
            library.call(name, handle, ctypes.byref(memory))
        except NvmlError as error:
            if error.code in (GPU_IS_LOST, RESET_REQUIRED):
                raise
            if error.code == NOT_SUPPORTED:
                return _MemoryBytes(not_supported=True)
            continue
        return _MemoryBytes(int(memory.total), int(memory.free))
    return _MemoryBytes()


def _compute_capability(library: _Library, handle: Handle) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.call("nvmlDeviceGetCudaComputeCapability", handle, ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _pci_address(library: _Library, handle: Handle) -> str | None:
    info = _PciInfo()
    library.call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(info))
    return pci_address(info.bus_id.decode() or info.bus_id_legacy.decode())


def _numa_node(library: _Library, handle: Handle) -> int | None:
    """Return the nearest NUMA node of host memory: the first bit of the card's memory affinity."""
    nodes = (ctypes.c_ulong * _NODE_SET_WORDS)()
    library.call(
        "nvmlDeviceGetMemoryAffinity", handle, ctypes.c_uint(_NODE_SET_WORDS), nodes,
        ctypes.c_uint(_AFFINITY_SCOPE_NODE),
    )  # fmt: skip
    word_bits = ctypes.sizeof(ctypes.c_ulong) * 8
    return next(
        (word * word_bits + bit for word, value in enumerate(nodes) for bit in range(word_bits) if value >> bit & 1),
        None,
    )


def _mig_enabled(library: _Library, handle: Handle) -> bool:
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    library.call("nvmlDeviceGetMigMode", handle, ctypes.byref(current), ctypes.byref(pending))
    return bool(current.value)


def _mig_devices(library: _Library, parent: Handle, capability: str | None) -> tuple[MigDevice, ...]:
    limit = ctypes.c_uint()
    library.call("nvmlDeviceGetMaxMigDeviceCount", parent, ctypes.byref(limit))
    found = []
    for index in range(limit.value):
        handle = Handle()
        try:
            library.call("nvmlDeviceGetMigDeviceHandleByIndex", parent, ctypes.c_uint(index), ctypes.byref(handle))
        except NvmlError:  # no instance at this index
            continue
        name = _optional(partial(library.text, "nvmlDeviceGetName", handle))
        memory = _memory(library, handle)
        found.append(
            MigDevice(
                index=index,
                uuid=_optional(partial(library.text, "nvmlDeviceGetUUID", handle)),
                name=name,
                profile=name.rpartition("MIG ")[2] if name and "MIG " in name else None,
                memory_total_bytes=memory.total,
                memory_free_bytes=memory.free,
                compute_capability=capability,
            )
        )
    return tuple(found)


def _device(library: _Library, handle: Handle, index: int) -> Device:
    memory = _memory(library, handle)
    capability = _optional(lambda: _compute_capability(library, handle))
    mig = _optional(lambda: _mig_enabled(library, handle))
    return Device(
        index=index,
        uuid=_optional(lambda: library.text("nvmlDeviceGetUUID", handle)),
        name=_optional(lambda: library.text("nvmlDeviceGetName", handle)),
        memory_total_bytes=memory.total,
        memory_free_bytes=memory.free,
        compute_capability=capability,
        pci_address=_optional(lambda: _pci_address(library, handle)),
        numa_node=_optional(lambda: _numa_node(library, handle)),
        # A card with memory of its own always tells it; GB10 and Tegra share the host's.
        unified_memory=memory.not_supported and not mig,
        mig_enabled=mig,
        mig_devices=(_optional(lambda: _mig_devices(library, handle, capability)) or ()) if mig else (),
    )


@dataclass(frozen=True)
class _Links:
    """Active NVLinks of one card: how many go to a switch, and to which other cards."""

    to_switch: int
    to_cards: dict[str, int]


def _link_target(library: _Library, handle: Handle, link: int, cards: Sequence[str | None]) -> str | None:
    """Return «switch», a card's PCI address, or None for a link that is down or leads elsewhere."""
    active, kind, remote = ctypes.c_uint(), ctypes.c_int(_LINK_TO_SWITCH), _PciInfo()
    number = ctypes.c_uint(link)
    library.call("nvmlDeviceGetNvLinkState", handle, number, ctypes.byref(active))
    if not active.value:
        return None
    functions = ("nvmlDeviceGetNvLinkRemotePciInfo_v2", "nvmlDeviceGetNvLinkRemotePciInfo")
    _optional(lambda: library.call(functions, handle, number, ctypes.byref(remote)))
    address = pci_address(remote.bus_id.decode() or remote.bus_id_legacy.decode())
    if address in cards:
        return address
    _optional(lambda: library.call("nvmlDeviceGetNvLinkRemoteDeviceType", handle, number, ctypes.byref(kind)))
    return "switch" if kind.value == _LINK_TO_SWITCH else None


def _links(library: _Library, handle: Handle, cards: Sequence[str | None]) -> _Links:
    targets: list[str] = []
    for link in range(_MAX_LINKS):
        try:
            target = _link_target(library, handle, link, cards)
        except NvmlError:  # no NVLink at all, or beyond the last one
            break
        targets += [target] if target else []
    to_cards = {target: targets.count(target) for target in set(targets) - {"switch"}}
    return _Links(targets.count("switch"), to_cards)


def _ancestor(library: _Library, one: Handle, other: Handle) -> str:
    level = ctypes.c_int()
    library.call("nvmlDeviceGetTopologyCommonAncestor", one, other, ctypes.byref(level))
    return _ANCESTORS.get(level.value, "SYS")


def _topology(library: _Library, handles: Sequence[Handle], devices: Sequence[Device]) -> Matrix:
    addresses = [device.pci_address for device in devices]
    links = [_links(library, handle, addresses) for handle in handles]

    def link(i: int, j: int) -> str:
        if i == j:
            return "X"
        direct = links[i].to_cards.get(addresses[j] or "", 0)
        count = direct or min(links[i].to_switch, links[j].to_switch)
        return f"NV{count}" if count else _ancestor(library, handles[i], handles[j])

    return tuple(tuple(link(i, j) for j in range(len(handles))) for i in range(len(handles)))


def _fabric_state(library: _Library, handle: Handle) -> str | None:
    """Return how far a card has not got in joining the NVLink fabric; None when joined or without fabric."""
    newer, older = _FabricInfoV2(version=_tag(_FabricInfoV2, 2)), _FabricInfo()
    for name, info in (("nvmlDeviceGetGpuFabricInfoV", newer), ("nvmlDeviceGetGpuFabricInfo", older)):
        try:
            library.call(name, handle, ctypes.byref(info))
        except NvmlError as error:
            if error.code == FUNCTION_NOT_FOUND:
                continue
            raise
        return _FABRIC_STATES.get(info.state)
    return None


def explain(error: NvmlError, *, where: str | None = None, kernel: str | None = None) -> Problem:
    """Return the problem behind an NVML error; `kernel` is the loaded module's version."""
    if error.code == VERSION_MISMATCH:
        # The library refuses before it can tell its own version.
        return problems.make("version_mismatch", kernel=kernel or "of unknown version", library="of another version")
    codes = {
        NO_PERMISSION: "permission_denied",
        INSUFFICIENT_POWER: "insufficient_power",
        DRIVER_NOT_LOADED: "driver_not_loaded",
        IRQ_ISSUE: "interrupt_issue",
        CORRUPTED_INFOROM: "inforom_corrupted",
        GPU_IS_LOST: "gpu_lost",
        RESET_REQUIRED: "reset_required",
        OPERATING_SYSTEM: "blocked_by_os",
    }
    if error.code == FUNCTION_NOT_FOUND:
        return problems.make("library_too_old", detail=error.text)
    if error.code in codes:
        return problems.make(codes[error.code], where=where)
    return problems.make("driver_error", detail=error.text)


def _library_version(library: _Library) -> str | None:
    """Return the library's own version, which it tells even where the driver's is another.

    «13.580.95.05» is the API's major version and the driver's version.
    """
    text = _optional(lambda: library.text("nvmlSystemGetNVMLVersion"))
    return re.sub(r"^\d{1,2}\.(?=\d{3}\.)", "", text) if text else None


def _handles(library: _Library) -> tuple[dict[int, Handle], Problem | None]:
    """Return the handles by index, and the problem of the first card that cannot be opened."""
    count = ctypes.c_uint()
    library.call(("nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"), ctypes.byref(count))
    handles: dict[int, Handle] = {}
    problem: Problem | None = None
    for index in range(count.value):
        handle = Handle()
        functions = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")
        try:
            library.call(functions, ctypes.c_uint(index), ctypes.byref(handle))
            handles[index] = handle
        except NvmlError as error:
            problem = problem or explain(error, where=f"index {index}")
    return handles, problem


def _read(library: _Library) -> Report:
    handles, problem = _handles(library)
    usable: list[tuple[Handle, Device]] = []
    for index, handle in handles.items():
        try:
            usable.append((handle, _device(library, handle, index)))
        except NvmlError as error:
            problem = problem or explain(error, where=f"index {index}")
    devices = tuple(pair[1] for pair in usable)
    only_handles = [pair[0] for pair in usable]
    topology = _optional(lambda: _topology(library, only_handles, devices)) if devices else None
    waiting = {device.index: _optional(partial(_fabric_state, library, h)) for h, device in usable}
    states = [f"GPU {index} {state}" for index, state in waiting.items() if state]
    if states and not problem:
        problem = problems.make("fabric_not_ready", detail=", ".join(states))
    return Report(
        source="nvml",
        driver_version=_optional(lambda: library.text("nvmlSystemGetDriverVersion")),
        cuda_version=_optional(lambda: _cuda_version(library)),
        devices=devices,
        topology=topology,
        problem=problem,
    )


def read(paths: Sequence[str] = LIBRARIES, kernel: str | None = None) -> Report:
    """Return what NVML reports; `kernel` is the loaded module's version, for the texts.

    Raises LibraryMissingError, which is no news on a host without a card.
    """
    library = _Library(paths)
    try:
        library.call(("nvmlInit_v2", "nvmlInit"))
    except NvmlError as error:
        problem = explain(error, kernel=kernel)
        own = _library_version(library)
        if error.code == VERSION_MISMATCH and own:
            problem = problems.make("version_mismatch", kernel=kernel or "of unknown version", library=own)
        return Report(source="nvml", driver_version=kernel, problem=problem)
    try:
        return _read(library)
    except NvmlError as error:  # a card went away between two calls
        return Report(source="nvml", driver_version=kernel, problem=explain(error, kernel=kernel))
    finally:
        _optional(lambda: library.call("nvmlShutdown"))

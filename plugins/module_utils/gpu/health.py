"""How a card fares: load, heat, power, memory errors, and why its clocks are held back. Read through NVML.

Functions and numbers are those of NVIDIA's NVML API reference.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import nvml, problems

_TEMPERATURE_GPU = 0
_VOLATILE = 0
_ECC_KINDS = {"corrected": 0, "uncorrected": 1}
# nvmlClocksEventReasons; a card without work has others, which are no trouble.
_CLOCK_REASONS = {
    "power_cap": 0x4,
    "hardware_slowdown": 0x8,
    "thermal_software": 0x20,
    "thermal_hardware": 0x40,
    "power_brake": 0x80,
}


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


@dataclass(frozen=True)
class RemappedRows:
    """Rows of memory that the card replaced; pending ones wait for a reset, failed means that no spare was left."""

    corrected: int
    uncorrected: int
    pending: bool
    failed: bool


@dataclass(frozen=True)
class Health:
    """One card. What it does not tell is None or left out. Ratios are from 0 to 1."""

    index: int
    uuid: str | None = None
    name: str | None = None
    pci_address: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_ratio: float | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    ecc_errors: dict[str, int] = field(default_factory=dict)
    remapped_rows: RemappedRows | None = None
    throttled: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """All cards, and the codes of what keeps others from being used."""

    cards: tuple[Health, ...] = ()
    problems: tuple[str, ...] = ()


def _number(library: nvml._Library, names: str | tuple[str, ...], *arguments: object) -> int | None:
    def ask() -> int:
        value = ctypes.c_uint()
        library.call(names, *arguments, ctypes.byref(value))
        return value.value

    return nvml._optional(ask)


def _utilization(library: nvml._Library, handle: nvml.Handle) -> float:
    rates = _Utilization()
    library.call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(rates))
    return float(rates.gpu) / 100


def _ecc_errors(library: nvml._Library, handle: nvml.Handle) -> dict[str, int]:
    found = {}
    for name, kind in _ECC_KINDS.items():
        count = ctypes.c_ulonglong()
        arguments = (handle, ctypes.c_int(kind), ctypes.c_int(_VOLATILE), ctypes.byref(count))
        library.call("nvmlDeviceGetTotalEccErrors", *arguments)
        found[name] = count.value
    return found


def _remapped_rows(library: nvml._Library, handle: nvml.Handle) -> RemappedRows:
    values = [ctypes.c_uint() for dummy in range(4)]
    library.call("nvmlDeviceGetRemappedRows", handle, *(ctypes.byref(value) for value in values))
    corrected, uncorrected, pending, failed = (value.value for value in values)
    return RemappedRows(corrected, uncorrected, bool(pending), bool(failed))


def _throttled(library: nvml._Library, handle: nvml.Handle) -> dict[str, bool]:
    reasons = ctypes.c_ulonglong()
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    library.call(names, handle, ctypes.byref(reasons))
    return {name: bool(reasons.value & bit) for name, bit in _CLOCK_REASONS.items()}


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _card(library: nvml._Library, handle: nvml.Handle, index: int) -> Health:
    def optional(read: Callable[[nvml._Library, nvml.Handle], nvml.Result]) -> nvml.Result | None:
        return nvml._optional(lambda: read(library, handle))

    memory = nvml._memory(library, handle)
    used = None if memory.total is None or memory.free is None else memory.total - memory.free
    return Health(
        index=index,
        uuid=nvml._optional(lambda: library.text("nvmlDeviceGetUUID", handle)),
        name=nvml._optional(lambda: library.text("nvmlDeviceGetName", handle)),
        pci_address=optional(nvml._pci_address),
        memory_total_bytes=memory.total,
        memory_used_bytes=used,
        utilization_ratio=optional(_utilization),
        temperature_celsius=_number(library, "nvmlDeviceGetTemperature", handle, ctypes.c_int(_TEMPERATURE_GPU)),
        power_watts=_watts(_number(library, "nvmlDeviceGetPowerUsage", handle)),
        power_limit_watts=_watts(_number(library, "nvmlDeviceGetEnforcedPowerLimit", handle)),
        ecc_errors=optional(_ecc_errors) or {},
        remapped_rows=optional(_remapped_rows),
        throttled=optional(_throttled) or {},
    )


def _look(library: nvml._Library) -> Look:
    handles, problem = nvml._handles(library)
    codes = [problem.code] if problem else []
    cards = []
    for index, handle in handles.items():
        try:
            cards.append(_card(library, handle, index))
        except nvml.NvmlError as error:
            codes.append(nvml.explain(error).code)
    return Look(tuple(cards), tuple(dict.fromkeys(codes)))


def read(paths: Sequence[str] = nvml.LIBRARIES) -> Look:
    """Return how all cards fare. A host without NVIDIA's library has a problem, since somebody expected cards here."""
    try:
        library = nvml._Library(paths)
    except nvml.LibraryMissingError as error:
        return Look(problems=(problems.make("library_missing", remark=str(error)).code,))
    try:
        library.call(("nvmlInit_v2", "nvmlInit"))
        return _look(library)
    except nvml.NvmlError as error:
        return Look(problems=(nvml.explain(error).code,))
    finally:
        nvml._optional(lambda: library.call("nvmlShutdown"))

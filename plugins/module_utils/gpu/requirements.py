"""Holds a host's GPU facts against what an engine needs, all at once and before anything is changed."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import compat

POLICIES = ("auto", "true", "false")


@dataclass(frozen=True)
class Requirements:
    """What the host must offer.

    `required`: «true» a usable GPU must be there, «auto» a GPU that is there must be usable, «false» neither.
    `cuda_version` wins over the one that `vllm_version` implies; None leaves the driver unchecked.
    """

    required: str = "auto"
    vllm_version: str | None = None
    cuda_version: str | None = None
    min_compute_capability: str = compat.VLLM_MIN_COMPUTE_CAPABILITY
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.required not in POLICIES:
            raise ValueError(f"gpu_required: expected one of {', '.join(POLICIES)}; found {self.required!r}")
        unknown = [feature for feature in self.features if feature not in compat.FEATURE_MIN_COMPUTE_CAPABILITY]
        if unknown:
            known = ", ".join(compat.FEATURE_MIN_COMPUTE_CAPABILITY)
            raise ValueError(f"gpu_required_features: expected any of {known}; found {', '.join(unknown)}")
        for name, version in (
            ("gpu_vllm_version", self.vllm_version),
            ("gpu_cuda_version", self.cuda_version),
            ("gpu_min_compute_capability", self.min_compute_capability),
        ):
            if version is not None:
                try:
                    compat.parse(version)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error


@dataclass(frozen=True)
class Verdict:
    """What was found, what is wrong, what is worth knowing, and the CUDA version that was checked for."""

    summary: str
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    cuda_version: str | None


@dataclass(frozen=True)
class _Wheel:
    """The wheel that is checked for: its CUDA version and how to name it."""

    cuda_version: str
    title: str


def _wheel(wanted: Requirements) -> _Wheel | None:
    if wanted.cuda_version:
        return _Wheel(wanted.cuda_version, f"CUDA {wanted.cuda_version} (gpu_cuda_version)")
    if wanted.vllm_version:
        cuda = compat.cuda_of_vllm(wanted.vllm_version)
        return _Wheel(cuda, f"vLLM {wanted.vllm_version}'s wheel, built with CUDA {cuda},")
    return None


def _card(device: Mapping[str, Any]) -> str:
    return f"GPU {device['index']} ({device['name'] or 'name unknown'})"


def _below(devices: Sequence[Mapping[str, Any]], minimum: str) -> list[str]:
    """Name the devices whose compute capability is known to be lower than `minimum`."""
    return [
        f"{_card(device)} has {device['compute_capability']}"
        for device in devices
        if device["compute_capability"] and not compat.at_least(device["compute_capability"], minimum)
    ]


def _driver_failure(facts: Mapping[str, Any], wheel: _Wheel, rules: compat.CudaMajor) -> str | None:
    driver = facts["driver_version"]
    if not driver or compat.at_least(driver, rules.min_driver):
        return None
    older = [
        f"{compat.LAST_VLLM_FOR_CUDA_12} as vLLM's version",
        f'gpu_cuda_version: "{compat.CUDA_12_BUILD}" with the build from vLLM\'s own wheel index',
    ]
    works_with_12 = rules is compat.CUDA_MAJORS[13] and compat.at_least(driver, compat.CUDA_MAJORS[12].min_driver)
    instead = f" Or, for this driver, use {' or '.join(older)}." if works_with_12 else ""
    return (
        f"{wheel.title} needs an NVIDIA driver of at least {rules.min_driver}; found {driver}. "
        f"Upgrade the driver and reboot.{instead}"
    )


def _card_failures(wanted: Requirements, wheel: _Wheel | None, devices: Sequence[Mapping[str, Any]]) -> list[str]:
    failures = []
    low = _below(devices, wanted.min_compute_capability)
    if low:
        failures.append(
            f"Expected a compute capability of at least {wanted.min_compute_capability} "
            f"(gpu_min_compute_capability); {', '.join(low)}. Use a newer card, or Ollama, which serves older ones."
        )
    rules = compat.CUDA_MAJORS.get(compat.parse(wheel.cuda_version)[0]) if wheel else None
    dropped = _below(devices, rules.min_compute_capability) if rules else []
    if wheel and rules and rules.dropped and dropped:
        failures.append(
            f"{wheel.title} cannot run on {rules.dropped} cards, which CUDA {compat.parse(wheel.cuda_version)[0]} "
            f"dropped; {', '.join(dropped)}."
        )
    for feature in wanted.features:
        minimum = compat.FEATURE_MIN_COMPUTE_CAPABILITY[feature]
        without = _below(devices, minimum)
        if without:
            failures.append(
                f"Expected {feature} (gpu_required_features), which needs a compute capability of at least {minimum}; "
                f"{', '.join(without)}."
            )
    return failures


def _nvidia_warnings(
    facts: Mapping[str, Any], wanted: Requirements, wheel: _Wheel | None, devices: Sequence[Mapping[str, Any]]
) -> list[str]:
    warnings = []
    if wheel and compat.parse(wheel.cuda_version)[0] not in compat.CUDA_MAJORS:
        warnings.append(f"No driver rule is known for CUDA {wheel.cuda_version}: the driver was not checked.")
    if wheel and not facts["driver_version"]:
        warnings.append("The driver does not tell its version: it was not checked.")
    unknown = [_card(device) for device in devices if not device["compute_capability"]]
    if unknown:
        warnings.append(f"The compute capability of {', '.join(unknown)} is not known: it was not checked.")
    if _below(devices, compat.FEATURE_MIN_COMPUTE_CAPABILITY["bfloat16"]) and "bfloat16" not in wanted.features:
        warnings.append("There is no bfloat16 below compute capability 8.0: models run with dtype float16.")
    if _below(devices, compat.FEATURE_MIN_COMPUTE_CAPABILITY["fp8"]) and "fp8" not in wanted.features:
        warnings.append("FP8 below compute capability 8.9 is for weights only: slower than on Ada or Hopper.")
    if any(device["unified_memory"] for device in devices):
        warnings.append("GPU and host share their memory: leave room for the system and for page cache.")
    return warnings


def summarize(facts: Mapping[str, Any]) -> str:
    """Return the host's GPUs in one line."""
    names = [device["name"] or "GPU of unknown name" for device in facts["devices"]]
    if not names:
        return "No usable GPU."
    cards = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    driver = f", driver {facts['driver_version']}" if facts["driver_version"] else ""
    cuda = f", CUDA up to {facts['cuda_version']}" if facts["cuda_version"] else ""
    return f"{cards}{driver}{cuda}."


def check(facts: Mapping[str, Any], wanted: Requirements) -> Verdict:
    """Return the verdict on `ansible_facts.gpu`; every failure is told, not the first only."""
    failures: list[str] = []
    warnings: list[str] = []
    wheel = _wheel(wanted)
    devices = facts["devices"]
    problem = facts["problem"]
    if problem:
        text = f"{problem['message']} {problem['remedy']}"
        if wanted.required == "false":
            warnings.append(text)
        else:
            failures.append(
                text if wanted.required == "true" else f"{text} Or set gpu_required: false to serve without this GPU."
            )
    elif not devices and wanted.required == "true":
        failures.append(
            "Expected a GPU (gpu_required: true); found none on the PCI bus and no driver. Set gpu_required: auto "
            "if this host is to serve with its processors."
        )
    # A GPU that may stay unused does not stop a host that serves with its processors.
    may_refuse = wanted.required != "false"
    if facts["vendor"] == "nvidia" and (devices or facts["driver_version"]):
        rules = compat.CUDA_MAJORS.get(compat.parse(wheel.cuda_version)[0]) if wheel else None
        driver = _driver_failure(facts, wheel, rules) if wheel and rules else None
        found = [*([driver] if driver else []), *_card_failures(wanted, wheel, devices)]
        (failures if may_refuse else warnings).extend(found)
        warnings.extend(_nvidia_warnings(facts, wanted, wheel, devices))
    elif devices and facts["vendor"] != "nvidia":
        warnings.append(f"Driver and cards of vendor {facts['vendor']} are not checked.")
    return Verdict(summarize(facts), tuple(failures), tuple(warnings), wheel.cuda_version if wheel else None)

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import fabric, problems, proc, unified


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.07  Sat Feb 17 22:55:48 UTC 2024\nGCC 12\n",
            proc.KernelModule("535.161.07", is_open=False),
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build  (b@h)\n",
            proc.KernelModule("580.95.05", is_open=True),
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.74", proc.KernelModule("470.74", is_open=False)),
        ("", None),
    ],
)
def test_kernel_module(text: str, expected: proc.KernelModule | None) -> None:
    assert proc.parse_version(text) == expected


def test_fabric_manager_version() -> None:
    assert fabric.parse_version("\n\n\tFabric Manager version is : 535.161.08\n\n") == "535.161.08"
    assert fabric.parse_version("nv-fabricmanager: not found") is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "fabric manager NVIDIA GPU driver interface version 570.86.15 don't match with driver version 570.124.06.",
            "fabric_manager_mismatch",
        ),
        ("fabric manager version is incompatible with NVSwitch driver. Please update", "fabric_manager_mismatch"),
        ("request to query NVSwitch device information failed [NV_WARN_NOTHING_TO_DO]", "fabric_manager_unneeded"),
        ("Successfully configured all the available NVSwitches", None),
    ],
)
def test_fabric_manager_log(text: str, code: str | None) -> None:
    problem = fabric.explain_log(text)
    assert (problem.code if problem else None) == code


def test_fabric_manager_log_tells_why_it_stopped() -> None:
    log = "fabric manager NVIDIA GPU driver interface version 570.86.15 don't match with driver version 570.124.06."
    problem = fabric.explain(fabric.FabricManager(running=False, version=None), 4, None, log)
    assert problem is not None
    assert "570.124.06; found 570.86.15" in problem.message


def test_host_memory() -> None:
    text = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    600 kB\n"
    assert unified.parse_meminfo(text) == unified.HostMemory(1024000, 614400)
    assert unified.parse_meminfo("") is None


@pytest.mark.parametrize("code", problems.CATALOGUE)
def test_every_problem_says_expected_found_and_what_to_do(code: str) -> None:
    message, remedy = problems.CATALOGUE[code]
    assert message.startswith("Expected ")
    assert "; " in message or "NVML" in message
    assert len(remedy) > 20

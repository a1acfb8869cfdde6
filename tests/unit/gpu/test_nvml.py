"""NVML through the stub library: what ctypes sees is what a real library would hand over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import nvml

MIB = 2**20
Tell = Callable[[str], None]
CARD = """
[gpu 0]
name = NVIDIA L4
uuid = GPU-0
pci = 0000:31:00.0
memory_total_mib = 23034
memory_free_mib = 22563
compute_capability = 8.9
"""


def test_nvswitch_host(stub_library: str, stub_host: Tell) -> None:
    stub_host("h100x8")
    report = nvml.read([stub_library])
    assert (report.source, report.driver_version, report.cuda_version) == ("nvml", "580.95.05", "13.0")
    assert [device.index for device in report.devices] == list(range(8))
    last = report.devices[7]
    assert (last.uuid, last.name) == ("GPU-11111111-0000-4000-8000-000000000007", "NVIDIA H100 80GB HBM3")
    assert (last.memory_total_bytes, last.memory_free_bytes) == (81559 * MIB, 81079 * MIB)
    assert (last.compute_capability, last.pci_address, last.numa_node) == ("9.0", "0000:17:00.0", 1)
    assert (last.mig_enabled, last.unified_memory) == (False, False)
    assert report.topology is not None
    assert all(
        cell == ("X" if i == j else "NV18") for i, row in enumerate(report.topology) for j, cell in enumerate(row)
    )
    assert report.problem is None


def test_mig_instances_with_a_gap(stub_library: str, stub_host: Tell) -> None:
    stub_host("a100-mig")
    (device,) = nvml.read([stub_library]).devices
    assert device.mig_enabled is True
    assert [(mig.index, mig.profile, mig.memory_total_bytes) for mig in device.mig_devices] == [
        (0, "3g.40gb", 40320 * MIB),
        (1, "2g.20gb", 19968 * MIB),
        (3, "2g.20gb", 19968 * MIB),
    ]
    assert device.mig_devices[2].uuid == "MIG-33333333-0000-4000-8000-000000000003"
    assert device.mig_devices[2].compute_capability == "8.0"


def test_direct_links(stub_library: str, stub_host: Tell) -> None:
    stub_host("a100x2")
    assert nvml.read([stub_library]).topology == (("X", "NV12"), ("NV12", "X"))


def test_links_to_some_cards_only(stub_library: str, stub_conf: Tell) -> None:
    """Four cards in two bridged pairs, one pair on each processor."""
    stub_conf(
        "[gpu 0-3]\npci = 0000:1%d:00.0\nnuma = 0\nmemory_total_mib = 1\n[gpu 2-3]\nnuma = 1\n"
        "[gpu 0]\nnvlink = 1:4\n[gpu 1]\nnvlink = 0:4\n[gpu 2]\nnvlink = 3:4\n[gpu 3]\nnvlink = 2:4\n"
    )
    assert nvml.read([stub_library]).topology == (
        ("X", "NV4", "SYS", "SYS"),
        ("NV4", "X", "SYS", "SYS"),
        ("SYS", "SYS", "X", "NV4"),
        ("SYS", "SYS", "NV4", "X"),
    )


def test_unified_memory(stub_library: str, stub_host: Tell) -> None:
    stub_host("gb10")
    (device,) = nvml.read([stub_library]).devices
    assert (device.unified_memory, device.memory_total_bytes, device.mig_enabled) == (True, None, None)
    assert (device.pci_address, device.compute_capability) == ("000f:01:00.0", "12.1")


def test_driver_that_lacks_newer_functions(stub_library: str, stub_host: Tell) -> None:
    stub_host("old-driver")
    report = nvml.read([stub_library])
    assert (report.driver_version, report.cuda_version) == ("535.274.02", "12.2")
    assert [device.memory_free_bytes for device in report.devices] == [22563 * MIB] * 2
    assert [device.numa_node for device in report.devices] == [None, None]


def test_optional_functions_that_are_absent(stub_library: str, stub_conf: Tell) -> None:
    stub_conf(
        "absent = nvmlSystemGetCudaDriverVersion_v2 nvmlDeviceGetTopologyCommonAncestor nvmlDeviceGetMigMode "
        f"nvmlDeviceGetCudaComputeCapability nvmlDeviceGetUUID\n{CARD}[gpu 1]\nname = NVIDIA L4\n"
    )
    report = nvml.read([stub_library])
    assert (report.cuda_version, report.topology, report.problem) == (None, None, None)
    assert [(device.uuid, device.compute_capability, device.mig_enabled) for device in report.devices] == [
        (None, None, None)
    ] * 2


def test_version_mismatch_names_both_versions(stub_library: str, stub_host: Tell) -> None:
    stub_host("mismatch")
    report = nvml.read([stub_library], kernel="580.95.05")
    assert report.devices == ()
    assert report.problem is not None
    assert report.problem.code == "version_mismatch"
    assert "kernel module 580.95.05 and library 580.105.08" in report.problem.message


@pytest.mark.parametrize(
    ("error", "code"),
    [(4, "permission_denied"), (17, "blocked_by_os"), (999, "driver_error"), (15, "gpu_lost")],
)
def test_library_that_does_not_start(stub_library: str, stub_conf: Tell, error: int, code: str) -> None:
    stub_conf(f"init_error = {error}\n")
    report = nvml.read([stub_library])
    assert report.problem is not None
    assert report.problem.code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [(15, "gpu_lost"), (8, "insufficient_power"), (10, "interrupt_issue"), (4, "permission_denied")],
)
def test_one_card_of_two_is_gone(stub_library: str, stub_conf: Tell, error: int, code: str) -> None:
    stub_conf(f"{CARD}[gpu 1]\nhandle_error = {error}\n")
    report = nvml.read([stub_library])
    assert [device.index for device in report.devices] == [0]
    assert report.problem is not None
    assert report.problem.code == code
    assert "index 1" in report.problem.message or code == "permission_denied"


def test_card_that_goes_away_while_it_is_read(stub_library: str, stub_conf: Tell) -> None:
    stub_conf(f"{CARD}[gpu 1]\nname = NVIDIA L4\nmemory_error = 15\n")
    report = nvml.read([stub_library])
    assert [device.index for device in report.devices] == [0]
    assert report.problem is not None
    assert report.problem.code == "gpu_lost"


def test_memory_that_may_not_be_read_is_not_unified(stub_library: str, stub_conf: Tell) -> None:
    stub_conf(f"{CARD}memory_error = 4\n")
    (device,) = nvml.read([stub_library]).devices
    assert (device.memory_total_bytes, device.unified_memory) == (None, False)


@pytest.mark.parametrize("absent", ["none", "nvmlDeviceGetGpuFabricInfoV"])
def test_card_that_has_not_joined_the_fabric(stub_library: str, stub_conf: Tell, absent: str) -> None:
    stub_conf(f"absent = {absent}\n{CARD}fabric_state = 2\n")
    report = nvml.read([stub_library])
    assert report.problem is not None
    assert report.problem.code == "fabric_not_ready"
    assert "GPU 0 in progress" in report.problem.message


def test_driver_that_is_not_loaded(stub_library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_NVML_CONF", "/nonexistent")
    report = nvml.read([stub_library])
    assert report.problem is not None
    assert report.problem.code == "driver_not_loaded"


def test_no_library() -> None:
    with pytest.raises(nvml.LibraryMissingError, match="nonexistent"):
        nvml.read(["/nonexistent/libnvidia-ml.so.1"])


def test_a_library_without_the_functions() -> None:
    report = nvml.read(["libc.so.6"])
    assert report.problem is not None
    assert report.problem.code == "library_too_old"

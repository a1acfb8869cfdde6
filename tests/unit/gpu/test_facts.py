"""The facts of whole hosts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu.command import Completed

from .conftest import AMD, INTEL, RTX_5090, FakeHost, fixture_text

Tell = Callable[[str], None]
KEYS = {
    "vendor",
    "source",
    "driver_version",
    "cuda_version",
    "devices",
    "topology",
    "nvswitch_count",
    "fabric_manager",
    "problem",
}
RM_INIT = "NVRM: GPU 0000:18:00.0: RmInitAdapter failed! (0x62:0x65:1792)"


def test_host_without_a_card(fake_host: FakeHost) -> None:
    facts = fake_host.gather()
    assert set(facts) == KEYS
    assert (facts["vendor"], facts["source"], facts["devices"], facts["problem"]) == (None, None, [], None)


@pytest.mark.parametrize(
    ("vendor", "pci_class"),
    [("0x1a03", "0x030000"), (INTEL, "0x030000")],
    ids=["management controller", "integrated graphics"],
)
def test_graphics_that_serve_no_models(fake_host: FakeHost, vendor: str, pci_class: str) -> None:
    fake_host.card("0000:00:02.0", vendor=vendor, pci_class=pci_class, driver="i915")
    assert fake_host.gather()["vendor"] is None


def test_library_left_behind_on_a_host_without_a_card(
    fake_host: FakeHost, stub_library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_NVML_CONF", "/nonexistent")
    fake_host.libraries = (stub_library,)
    facts = fake_host.gather()
    assert (facts["vendor"], facts["problem"]) == (None, None)


class TestNvidia:
    @pytest.fixture
    def host(self, fake_host: FakeHost, stub_library: str) -> FakeHost:
        fake_host.libraries = (stub_library,)
        fake_host.module()
        return fake_host

    def test_cards_that_the_bus_does_not_show(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("h100x8")
        facts = host.gather()
        assert (facts["vendor"], facts["source"], len(facts["devices"])) == ("nvidia", "nvml", 8)
        assert facts["topology"][0][:2] == ["X", "NV18"]
        assert facts["problem"] is None

    def test_numa_nodes_are_the_firmwares(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("a100-mig")
        host.card("0000:01:00.0", numa=3)
        assert host.gather()["devices"][0]["numa_node"] == 3

    def test_unified_memory_is_the_hosts(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("gb10")
        (device,) = host.gather()["devices"]
        assert device["unified_memory"] is True
        assert (device["memory_total_bytes"], device["memory_free_bytes"]) == (131072 * 1024, 65536 * 1024)

    def test_mig_without_instances(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("[gpu 0]\npci = 0000:01:00.0\nmig = 1\nmemory_total_mib = 1\n")
        assert host.gather()["problem"]["code"] == "mig_without_instances"

    def test_hanging_library(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("hang_seconds = 30\n")
        problem = host.gather(timeout_seconds=0.3)["problem"]
        assert problem["code"] == "not_answering"
        assert "0.3 s" in problem["message"]

    @pytest.mark.usefixtures("quiet_crash")
    def test_crashing_library(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("crash = 1\n")
        problem = host.gather()["problem"]
        assert (problem["code"], "SIGSEGV" in problem["message"]) == ("library_crashed", True)

    def test_mismatch_keeps_the_modules_version(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("mismatch")
        host.card("0000:18:00.0")
        facts = host.gather()
        assert (facts["vendor"], facts["driver_version"]) == ("nvidia", "580.95.05")
        assert "kernel module 580.95.05 and library 580.105.08" in facts["problem"]["message"]

    def test_one_of_two_cards_failed_to_start(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("a100-mig")
        host.card("0000:01:00.0")
        host.card("0000:18:00.0")
        host.log(RM_INIT)
        facts = host.gather()
        assert (len(facts["devices"]), facts["problem"]["code"]) == (1, "init_failed")

    def test_one_of_two_cards_is_missing_without_a_word(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("a100-mig")
        host.card("0000:01:00.0")
        host.card("0000:18:00.0")
        problem = host.gather()["problem"]
        assert problem["code"] == "gpu_missing"
        assert "2 GPU(s)" in problem["message"]
        assert "0000:18:00.0" in problem["message"]

    def test_container_with_some_of_the_cards(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("a100-mig")
        host.card("0000:01:00.0")
        host.card("0000:18:00.0")
        host.write("run/systemd/container", "lxc\n")
        assert host.gather()["problem"] is None

    def test_card_that_belongs_to_a_virtual_machine_is_not_missed(self, host: FakeHost, stub_host: Tell) -> None:
        stub_host("a100-mig")
        host.card("0000:01:00.0")
        host.card("0000:18:00.0", driver="vfio-pci")
        assert host.gather()["problem"] is None

    def test_driver_reports_no_card(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("driver_version = 580.95.05\n")
        host.card("0000:18:00.0")
        assert host.gather()["problem"]["code"] == "no_devices"

    def test_blackwell_under_the_proprietary_module(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("driver_version = 580.95.05\n")
        host.module(is_open=False)
        host.card("0000:18:00.0", device=RTX_5090)
        host.log(RM_INIT)
        assert host.gather()["problem"]["code"] == "open_module_required"

    def test_failed_start_under_the_open_module(self, host: FakeHost, stub_conf: Tell) -> None:
        stub_conf("driver_version = 580.95.05\n")
        host.card("0000:18:00.0", device=RTX_5090)
        host.log(RM_INIT)
        assert host.gather()["problem"]["code"] == "init_failed"


class TestFabricManager:
    @pytest.fixture
    def host(
        self, fake_host: FakeHost, stub_library: str, stub_host: Tell, monkeypatch: pytest.MonkeyPatch
    ) -> FakeHost:
        stub_host("h100x8")
        fake_host.libraries = (stub_library,)
        fake_host.module()
        for switch in range(4):
            fake_host.card(f"0000:0{switch}:00.0", device="0x22a3", pci_class="0x068000")
        monkeypatch.setenv("PATH", str(fake_host.root / "bin"))
        return fake_host

    def install(self, host: FakeHost, version: str) -> None:
        program = host.root / "bin/nv-fabricmanager"
        host.write("bin/nv-fabricmanager", f"#!/bin/sh\necho 'Fabric Manager version is : {version}'\n")
        program.chmod(0o755)

    def start(self, host: FakeHost) -> None:
        host.write("proc/4711/comm", "nv-fabricmanage\n")

    def test_not_installed(self, host: FakeHost) -> None:
        facts = host.gather()
        assert (facts["nvswitch_count"], facts["fabric_manager"]) == (4, {"running": False, "version": None})
        assert facts["problem"]["code"] == "fabric_manager_not_running"
        assert "802" in facts["problem"]["message"]
        assert "580.95.05" in facts["problem"]["remedy"]

    def test_stopped(self, host: FakeHost) -> None:
        self.install(host, "580.95.05")
        assert "installed but stopped" in host.gather()["problem"]["message"]

    def test_of_another_version(self, host: FakeHost) -> None:
        self.install(host, "570.86.15")
        problem = host.gather()["problem"]
        assert problem["code"] == "fabric_manager_mismatch"
        assert "570.86.15" in problem["message"]

    def test_running(self, host: FakeHost) -> None:
        self.install(host, "580.95.05")
        self.start(host)
        facts = host.gather()
        assert (facts["fabric_manager"], facts["problem"]) == ({"running": True, "version": "580.95.05"}, None)

    def test_switches_are_no_cards(self, host: FakeHost) -> None:
        self.start(host)
        assert len(host.gather()["devices"]) == 8


class TestWithoutLibrary:
    @pytest.mark.parametrize(
        ("driver", "code"),
        [(None, "driver_not_loaded"), ("nouveau", "nouveau_in_use"), ("vfio-pci", "passed_through")],
    )
    def test_no_module(self, fake_host: FakeHost, driver: str | None, code: str) -> None:
        fake_host.card("0000:18:00.0", driver=driver)
        facts = fake_host.gather()
        assert (facts["vendor"], facts["source"], facts["devices"]) == ("nvidia", None, [])
        assert facts["problem"]["code"] == code
        assert "0000:18:00.0" in facts["problem"]["message"]

    def test_module_that_was_refused(self, fake_host: FakeHost) -> None:
        fake_host.card("0000:18:00.0", driver=None)
        fake_host.log("Loading of module nvidia failed: Key was rejected by service")
        assert fake_host.gather()["problem"]["code"] == "module_rejected"

    def test_module_without_library(self, fake_host: FakeHost) -> None:
        fake_host.card("0000:18:00.0")
        fake_host.module("570.86.15")
        facts = fake_host.gather()
        assert (facts["driver_version"], facts["problem"]["code"]) == ("570.86.15", "library_missing")
        assert "570.86.15" in facts["problem"]["message"]

    def test_library_that_cannot_reach_the_loaded_module(
        self, fake_host: FakeHost, stub_library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STUB_NVML_CONF", "/nonexistent")
        fake_host.libraries = (stub_library,)
        fake_host.card("0000:18:00.0")
        fake_host.module()
        assert fake_host.gather()["problem"]["code"] == "device_files_missing"

    def test_nvidia_smi_answers_instead(self, fake_host: FakeHost) -> None:
        fake_host.program("nvidia-smi", {"-q -x": Completed(0, fixture_text("a100-mig.xml"), "")})
        facts = fake_host.gather()
        assert (facts["source"], facts["driver_version"], len(facts["devices"])) == ("nvidia-smi", "570.86.15", 2)
        assert facts["problem"] is None

    def test_nvidia_smi_that_only_repeats_what_is_known(self, fake_host: FakeHost) -> None:
        fake_host.card("0000:18:00.0", driver="nouveau")
        text = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
        fake_host.program("nvidia-smi", {"-q -x": Completed(9, text, "")})
        assert fake_host.gather()["problem"]["code"] == "nouveau_in_use"

    def test_sources_can_be_left_out(self, fake_host: FakeHost) -> None:
        fake_host.program("nvidia-smi", {"-q -x": Completed(0, fixture_text("a100-mig.xml"), "")})
        assert fake_host.gather(sources=["nvml"])["vendor"] is None

    def test_jetson(self, fake_host: FakeHost) -> None:
        fake_host.write("proc/device-tree/compatible", "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0")
        fake_host.write("proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
        facts = fake_host.gather()
        assert (facts["vendor"], facts["source"], facts["problem"]) == ("nvidia", "sysfs", None)
        (device,) = facts["devices"]
        assert (device["name"], device["compute_capability"]) == ("NVIDIA Jetson AGX Orin Developer Kit", "8.7")
        assert (device["unified_memory"], device["memory_total_bytes"]) == (True, 131072 * 1024)


class TestAmd:
    NODES = "sys/class/kfd/kfd/topology/nodes"

    def node(self, host: FakeHost, number: int, location: int, *, peers: tuple[int, ...] = ()) -> None:
        base = f"{self.NODES}/{number}"
        host.write(
            f"{base}/properties",
            f"simd_count 1216\ngfx_target_version 90402\nlocation_id {location}\nunique_id {0xABC0 + number}\n",
        )
        host.write(f"{base}/mem_banks/0/properties", f"heap_type 1\nsize_in_bytes {192 * 2**30}\n")
        for position, peer in enumerate(peers):
            host.write(f"{base}/io_links/{position}/properties", f"type 11\nnode_to {peer}\n")

    def card(self, host: FakeHost, address: str, driver: str | None = "amdgpu") -> None:
        host.card(
            address,
            vendor=AMD,
            device="0x74a1",
            pci_class="0x120000",
            driver=driver,
            numa=1,
            product_name="AMD Instinct MI300X OAM",
            mem_info_vram_total=206141652992,
            mem_info_vram_used=297582592,
        )

    def test_two_cards(self, fake_host: FakeHost) -> None:
        fake_host.write(f"{self.NODES}/0/properties", "simd_count 0\ncpu_cores_count 96\n")
        self.node(fake_host, 1, 0x0C00, peers=(2,))
        self.node(fake_host, 2, 0x2200, peers=(1,))
        self.card(fake_host, "0000:0c:00.0")
        self.card(fake_host, "0000:22:00.0")
        fake_host.write("sys/module/amdgpu/version", "6.12.12\n")
        facts = fake_host.gather()
        assert (facts["vendor"], facts["source"], facts["driver_version"]) == ("amd", "sysfs", "6.12.12")
        first, second = facts["devices"]
        assert (first["uuid"], first["gfx_version"], first["name"]) == ("0xabc1", "gfx942", "AMD Instinct MI300X OAM")
        assert (first["memory_total_bytes"], first["memory_free_bytes"]) == (206141652992, 206141652992 - 297582592)
        assert (second["pci_address"], second["numa_node"], second["index"]) == ("0000:22:00.0", 1, 1)
        assert facts["topology"] == [["X", "XGMI"], ["XGMI", "X"]]
        assert facts["problem"] is None

    def test_partitions_of_one_card(self, fake_host: FakeHost) -> None:
        self.node(fake_host, 1, 0x0C00)
        self.node(fake_host, 2, 0x0C00)
        self.card(fake_host, "0000:0c:00.0")
        assert [
            (device["memory_total_bytes"], device["memory_free_bytes"]) for device in fake_host.gather()["devices"]
        ] == [(192 * 2**30, None)] * 2

    def test_name_from_libdrm(self, fake_host: FakeHost) -> None:
        self.node(fake_host, 1, 0x0300)
        fake_host.card(
            "0000:03:00.0", vendor=AMD, device="0x744c", pci_class="0x030000", driver="amdgpu", revision="0xc8"
        )
        fake_host.write("usr/share/libdrm/amdgpu.ids", "1.0.0\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n")
        assert fake_host.gather()["devices"][0]["name"] == "AMD Radeon RX 7900 XTX"

    @pytest.mark.parametrize(("driver", "code"), [("amdgpu", "amd_kfd_missing"), (None, "amd_driver_not_loaded")])
    def test_unusable(self, fake_host: FakeHost, driver: str | None, code: str) -> None:
        self.card(fake_host, "0000:0c:00.0", driver)
        facts = fake_host.gather()
        assert (facts["vendor"], facts["devices"], facts["problem"]["code"]) == ("amd", [], code)

    def test_tools_where_sysfs_is_not_wanted(self, fake_host: FakeHost) -> None:
        document = '[{"gpu": 0, "bdf": "0000:0c:00.0", "vram": {"size": {"value": 196592, "unit": "MB"}}}]'
        fake_host.program("amd-smi", {"static --json": Completed(0, document, "")})
        facts = fake_host.gather(sources=["amd-smi"])
        assert (facts["vendor"], facts["source"]) == ("amd", "amd-smi")
        assert facts["devices"][0]["memory_total_bytes"] == 196592 * 2**20

    def test_usable_card_wins_over_a_broken_one_of_another_vendor(self, fake_host: FakeHost) -> None:
        fake_host.card("0000:01:00.0", driver="nouveau")
        self.node(fake_host, 1, 0x0C00)
        self.card(fake_host, "0000:0c:00.0")
        facts = fake_host.gather()
        assert (facts["vendor"], facts["problem"]) == ("amd", None)


def test_intel_card(fake_host: FakeHost) -> None:
    fake_host.card("0000:03:00.0", vendor=INTEL, device="0x56c0", pci_class="0x038000", driver="i915")
    facts = fake_host.gather()
    assert (facts["vendor"], facts["source"], len(facts["devices"])) == ("intel", "sysfs", 1)

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import nvidia_smi
from ansible_collections.llm.serving.plugins.module_utils.gpu.command import Completed
from ansible_collections.llm.serving.plugins.module_utils.gpu.text import OutputError
from hypothesis import given
from hypothesis import strategies as st

from .conftest import fixture_text

MIB = 2**20
A100, L40S = "GPU-aaaaaaaa-0000-4000-8000-000000000000", "GPU-bbbbbbbb-0000-4000-8000-000000000000"


class TestXml:
    def test_cards_and_mig_instances(self) -> None:
        report = nvidia_smi.parse_xml(fixture_text("a100-mig.xml"))
        assert (report.driver_version, report.cuda_version) == ("570.86.15", "12.8")
        a100, l40s = report.devices
        assert (a100.index, a100.uuid, a100.name) == (0, A100, "NVIDIA A100-SXM4-40GB")
        assert (a100.memory_total_bytes, a100.memory_free_bytes) == (40960 * MIB, 40357 * MIB)
        assert a100.pci_address == "0000:41:00.0"
        assert a100.mig_enabled is True
        assert [mig.memory_total_bytes for mig in a100.mig_devices] == [19968 * MIB, 9856 * MIB]
        assert (l40s.index, l40s.mig_enabled, l40s.mig_devices) == (1, None, ())

    def test_capability_is_told_where_the_architecture_has_only_one(self) -> None:
        a100, l40s = nvidia_smi.parse_xml(fixture_text("a100-mig.xml")).devices
        assert (a100.compute_capability, l40s.compute_capability) == (None, "8.9")

    def test_unified_memory_and_the_names_of_driver_610(self) -> None:
        report = nvidia_smi.parse_xml(fixture_text("gb10.xml"))
        assert (report.driver_version, report.cuda_version) == ("610.57.04", "13.3")
        (gb10,) = report.devices
        assert (gb10.pci_address, gb10.unified_memory, gb10.memory_total_bytes) == ("000f:01:00.0", True, None)

    def test_trimmed_document_without_versions(self) -> None:
        text = "<nvidia_smi_log><gpu id='00000000:01:00.0'><uuid>GPU-1</uuid></gpu></nvidia_smi_log>"
        report = nvidia_smi.parse_xml(text)
        assert (report.driver_version, report.cuda_version) == (None, None)
        (device,) = report.devices
        assert (device.pci_address, device.unified_memory, device.mig_enabled) == ("0000:01:00.0", False, None)

    def test_cuda_that_is_not_found(self) -> None:
        text = "<nvidia_smi_log><cuda_version>Not Found</cuda_version></nvidia_smi_log>"
        assert nvidia_smi.parse_xml(text).cuda_version is None

    def test_warnings_around_the_document(self) -> None:
        text = f"{fixture_text('a100-mig.xml')}WARNING: infoROM is corrupted at gpu 0000:41:00.0\n"
        assert len(nvidia_smi.parse_xml(text).devices) == 2

    @pytest.mark.parametrize(("state", "fails"), [("In Progress", True), ("Completed", False), ("N/A", False)])
    def test_card_that_has_not_joined_the_fabric(self, state: str, fails: bool) -> None:
        fabric = f"<fabric><state>{state}</state></fabric>"
        text = fixture_text("a100-mig.xml").replace("<minor_number>0", f"{fabric}<minor_number>0")
        report = nvidia_smi.parse_xml(text)
        assert len(report.devices) == 2
        assert (report.problem.code if report.problem else None) == ("fabric_not_ready" if fails else None)

    @pytest.mark.parametrize(("value", "code"), [("GPU is lost", "gpu_lost"), ("GPU requires reset", "reset_required")])
    def test_card_that_is_listed_and_gone(self, value: str, code: str) -> None:
        text = fixture_text("a100-mig.xml").replace("<total>46068 MiB</total>", f"<total>[{value}]</total>")
        report = nvidia_smi.parse_xml(text)
        assert [device.index for device in report.devices] == [0]
        assert report.problem is not None
        assert (report.problem.code, "0000:c1:00.0" in report.problem.message) == (code, True)

    @pytest.mark.parametrize("text", ["", "No devices were found", "<nvidia_smi_log><gpu></nvidia_smi_log>"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(OutputError, match="expected"):
            nvidia_smi.parse_xml(text)


class TestCsv:
    def test_header_with_units(self) -> None:
        text = (
            "index, uuid, name, pci.bus_id, memory.total [MiB], memory.free [MiB], compute_cap, driver_version\n"
            "1, GPU-1, NVIDIA L4, 00000000:31:00.0, 23034 MiB, 22563 MiB, 8.9, 550.54.15\n"
        )
        report = nvidia_smi.parse_csv(text)
        assert report.driver_version == "550.54.15"
        (device,) = report.devices
        assert (device.index, device.uuid, device.name, device.pci_address) == (
            1,
            "GPU-1",
            "NVIDIA L4",
            "0000:31:00.0",
        )
        assert (device.memory_total_bytes, device.memory_free_bytes) == (23034 * MIB, 22563 * MIB)
        assert device.compute_capability == "8.9"

    def test_without_header_and_units(self) -> None:
        fields = ("name", "memory.total", "memory.used")
        (first, second) = nvidia_smi.parse_csv("NVIDIA L4, 23034, 34\nNVIDIA L4, 23034, 0\n", fields).devices
        assert (first.index, second.index) == (0, 1)
        assert first.memory_free_bytes == 23000 * MIB

    @pytest.mark.parametrize("absent", ["[N/A]", "[Not Supported]", "N/A"])
    def test_unified_memory(self, absent: str) -> None:
        (device,) = nvidia_smi.parse_csv(f"name, memory.total [MiB]\nNVIDIA GB10, {absent}\n").devices
        assert (device.unified_memory, device.memory_total_bytes) == (True, None)

    @pytest.mark.parametrize("absent", ["[Unknown Error]", "[GPU requires reset]", "[Insufficient Permissions]"])
    def test_memory_that_could_not_be_read_is_not_unified(self, absent: str) -> None:
        (device,) = nvidia_smi.parse_csv(f"name, memory.total [MiB]\nNVIDIA L4, {absent}\n").devices
        assert (device.unified_memory, device.memory_total_bytes) == (False, None)

    def test_card_that_cannot_be_opened(self) -> None:
        lost = "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost."
        report = nvidia_smi.parse_csv(f"name, uuid\nNVIDIA L4, GPU-0\n{lost}\n")
        assert [device.uuid for device in report.devices] == ["GPU-0"]
        assert report.problem is not None
        assert report.problem.code == "gpu_lost"

    @pytest.mark.parametrize(
        "text",
        ['Field "compute_cap" is not a valid field to query.\n', "", "name, uuid\nonly one\n"],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(OutputError, match="expected"):
            nvidia_smi.parse_csv(text)


class TestTable:
    def test_cards_and_mig_instances(self) -> None:
        report = nvidia_smi.parse_table(fixture_text("a100-mig.table.txt"))
        assert (report.driver_version, report.cuda_version) == ("570.86.15", "12.8")
        a100, l40s = report.devices
        assert (a100.name, a100.pci_address, a100.mig_enabled) == ("NVIDIA A100-SXM4-40GB", "0000:41:00.0", True)
        assert (a100.memory_total_bytes, a100.memory_free_bytes) == (40960 * MIB, 40929 * MIB)
        assert [(mig.index, mig.memory_total_bytes) for mig in a100.mig_devices] == [
            (0, 19968 * MIB),
            (1, 9856 * MIB),
        ]
        assert (l40s.name, l40s.memory_total_bytes, l40s.mig_devices) == ("NVIDIA L40S", 46068 * MIB, ())

    def test_narrow_table_of_old_drivers(self) -> None:
        report = nvidia_smi.parse_table(fixture_text("table-old.txt"))
        (device,) = report.devices
        assert (report.cuda_version, device.name) == ("11.0", "Tesla V100-SXM2...")
        assert (device.pci_address, device.memory_total_bytes) == ("0000:00:1e.0", 16160 * MIB)

    def test_banner_of_driver_610(self) -> None:
        banner = "| NVIDIA-SMI 610.57.04   KMD Version: 610.57.04   CUDA UMD Version: 13.3 |"
        report = nvidia_smi.parse_table(banner)
        assert (report.driver_version, report.cuda_version) == ("610.57.04", "13.3")

    def test_anything_else_is_refused(self) -> None:
        with pytest.raises(OutputError, match="expected nvidia-smi's table"):
            nvidia_smi.parse_table("No devices were found")


def test_list_names_mig_instances() -> None:
    a100, l40s = nvidia_smi.parse_list(fixture_text("a100-mig.list.txt"))
    assert [(mig.index, mig.profile, mig.uuid) for mig in a100.mig_devices] == [
        (0, "3g.20gb", "MIG-aaaaaaaa-0000-4000-8000-000000000000"),
        (1, "1g.10gb", "MIG-aaaaaaaa-0000-4000-8000-000000000001"),
    ]
    assert (l40s.uuid, l40s.mig_devices) == (L40S, ())


@pytest.mark.parametrize(
    ("returncode", "stdout", "code"),
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "driver_not_loaded"),
        (12, "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please …\n", "library_missing"),
        (18, "Failed to initialize NVML: Driver/library version mismatch\n", "version_mismatch"),
        (15, "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.  Reboot …\n", "gpu_lost"),
        (8, "Unable to determine the device handle for GPU 0000:0B:00.0: Unable to communicate with GPU because it is "
            "insufficiently powered.\n", "insufficient_power"),
        (4, "Failed to initialize NVML: Insufficient Permissions\n", "permission_denied"),
        (17, "Failed to initialize NVML: GPU access blocked by the operating system\n", "blocked_by_os"),
        (255, "Failed to initialize NVML: Unknown Error\n", "driver_error"),
        (255, "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n", "driver_error"),
        (6, "No devices were found\n", "no_devices"),
        (0, "No devices were found\n", "no_devices"),
        (2, 'Field "nothing" is not a valid field to query.\n', "smi_bad_argument"),
        (127, "", "smi_missing"),
        (15, "", "gpu_lost"),
        (99, "", "driver_error"),
        (None, "", "not_answering"),
    ],
)  # fmt: skip
def test_errors_are_explained(returncode: int | None, stdout: str, code: str) -> None:
    problem = nvidia_smi.explain_error(returncode, stdout, timeout_seconds=10)
    assert problem is not None
    assert problem.code == code
    assert problem.message.startswith("Expected")
    assert problem.remedy


def test_mismatch_names_both_versions() -> None:
    text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.178\n"
    problem = nvidia_smi.explain_error(18, text, kernel="580.173.02")
    assert problem is not None
    assert "580.173.02" in problem.message
    assert "580.178" in problem.message


def test_lost_card_is_named() -> None:
    problem = nvidia_smi.explain_error(15, "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.")
    assert problem is not None
    assert "0000:0b:00.0" in problem.message


def test_success_is_no_problem() -> None:
    assert nvidia_smi.explain_error(0, fixture_text("a100-mig.table.txt")) is None


class TestRead:
    TIMEOUT = 10.0

    def read(self, answers: dict[str, Completed]) -> nvidia_smi.Report:
        def run(argv: object, timeout_seconds: float) -> Completed:
            assert isinstance(argv, tuple)
            return answers.get(" ".join(argv[1:]), Completed(2, "Invalid combination of input arguments.\n", ""))

        return nvidia_smi.read(run, "nvidia-smi", self.TIMEOUT)

    def test_every_call_adds_what_it_knows(self) -> None:
        report = self.read(
            {
                "-q -x": Completed(0, fixture_text("a100-mig.xml"), ""),
                "--query-gpu=uuid,compute_cap --format=csv,noheader": Completed(0, f"{A100}, 8.0\n{L40S}, 8.9\n", ""),
                "-L": Completed(0, fixture_text("a100-mig.list.txt"), ""),
                "topo -m": Completed(
                    0,
                    "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tSYS\t0-31\t0\nGPU1\tSYS\t X \t32-63\t1\n",
                    "",
                ),
            }
        )
        a100, l40s = report.devices
        assert (a100.compute_capability, l40s.compute_capability) == ("8.0", "8.9")
        assert [(mig.profile, mig.compute_capability) for mig in a100.mig_devices] == [
            ("3g.20gb", "8.0"),
            ("1g.10gb", "8.0"),
        ]
        assert [device.numa_node for device in report.devices] == [0, 1]
        assert report.topology == (("X", "SYS"), ("SYS", "X"))
        assert report.problem is None

    def test_a_call_that_fails_adds_nothing(self) -> None:
        report = self.read({"-q -x": Completed(0, fixture_text("a100-mig.xml"), "")})
        assert (len(report.devices), report.topology, report.problem) == (2, None, None)

    def test_hanging(self) -> None:
        report = self.read({"-q -x": Completed(None, "", "")})
        assert report.problem is not None
        assert (report.devices, report.problem.code) == ((), "not_answering")
        assert "10 s" in report.problem.message

    def test_cards_are_told_beside_a_problem(self) -> None:
        text = f"{fixture_text('a100-mig.xml')}WARNING: infoROM is corrupted at gpu 0000:C1:00.0\n"
        report = self.read({"-q -x": Completed(14, text, "")})
        assert report.problem is not None
        assert (len(report.devices), report.problem.code) == (2, "inforom_corrupted")
        assert "0000:c1:00.0" in report.problem.message

    def test_nonsense(self) -> None:
        report = self.read({"-q -x": Completed(0, "hello\n", "")})
        assert report.problem is not None
        assert "hello" in report.problem.message


PARSERS = (
    nvidia_smi.parse_xml,
    nvidia_smi.parse_csv,
    nvidia_smi.parse_table,
    nvidia_smi.parse_list,
    nvidia_smi.parse_topology,
)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(text=st.text(alphabet=st.sampled_from("GPU0123456789 \t\n|:.,/<>XNVMiB[]-aé\x1b")))
def test_any_text_is_read_or_refused(parser: object, text: str) -> None:
    assert callable(parser)
    with contextlib.suppress(OutputError):
        parser(text)

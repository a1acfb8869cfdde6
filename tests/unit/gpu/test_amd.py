from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import amd
from ansible_collections.llm.serving.plugins.module_utils.gpu.command import Completed
from ansible_collections.llm.serving.plugins.module_utils.gpu.text import OutputError
from hypothesis import given
from hypothesis import strategies as st

MIB = 2**20
CARD = {
    "Unique ID": "0x1234",
    "PCI Bus": "0000:83:00.0",
    "VRAM Total Memory (B)": "34342961152",
    "VRAM Total Used Memory (B)": "6750208",
    "VIS_VRAM Total Memory (B)": "268435456",
    "Card series": "Arcturus GL-XL [Instinct MI100]",
    "(Topology) Numa Node": "1",
}
STATIC = {
    "gpu": 0,
    "asic": {"market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942", "asic_serial": "0xABCD"},
    "bus": {"bdf": "0000:0c:00.0"},
    "driver": {"name": "amdgpu", "version": "6.12.12"},
    "vram": {"type": "HBM", "size": {"value": 196592, "unit": "MB"}},
    "numa": {"node": 0, "affinity": 0},
}
METRIC = {
    "gpu": 0,
    "mem_usage": {
        "total_vram": {"value": 196592, "unit": "MB"},
        "used_vram": {"value": 284, "unit": "MB"},
        "free_vram": {"value": 196308, "unit": "MB"},
    },
}


class TestRocmSmi:
    def test_card(self) -> None:
        report = amd.parse_rocm_smi(json.dumps({"card0": CARD, "system": {"Driver version": "6.3.6"}}))
        (device,) = report.devices
        assert report.driver_version == "6.3.6"
        assert (device.index, device.uuid, device.name) == (0, "0x1234", "Arcturus GL-XL [Instinct MI100]")
        assert (device.memory_total_bytes, device.memory_free_bytes) == (34342961152, 34342961152 - 6750208)
        assert (device.pci_address, device.numa_node, device.gfx_version) == ("0000:83:00.0", 1, None)

    def test_names_of_rocm_6_1(self) -> None:
        card = {
            "Device Name": "0x740c",
            "Card Series": "AMD INSTINCT MI250",
            "GFX Version": "gfx90a",
            "Unique ID": "N/A",
        }
        (device,) = amd.parse_rocm_smi(json.dumps({"card0": card})).devices
        assert (device.name, device.gfx_version, device.uuid) == ("AMD INSTINCT MI250", "gfx90a", None)

    @pytest.mark.parametrize("node", ["-1", "4294967295", "N/A"])
    def test_no_numa_node(self, node: str) -> None:
        (device,) = amd.parse_rocm_smi(json.dumps({"card0": {"(Topology) Numa Node": node}})).devices
        assert device.numa_node is None

    def test_links_and_order(self) -> None:
        system = {"(Topology) Link type between DRM devices 0 and 10": "XGMI"}
        report = amd.parse_rocm_smi(json.dumps({"card10": CARD, "card0": CARD, "system": system}))
        assert [device.index for device in report.devices] == [0, 10]
        assert report.topology == (("X", "XGMI"), ("XGMI", "X"))

    def test_incomplete_links(self) -> None:
        assert amd.parse_rocm_smi(json.dumps({"card0": CARD, "card1": CARD})).topology is None

    def test_warnings_around_the_document(self) -> None:
        text = f"WARNING: AMD GPU device(s) is/are in a low-power state.\n\n{json.dumps({'card0': CARD})}\n"
        assert len(amd.parse_rocm_smi(text).devices) == 1


class TestAmdSmi:
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_static_and_metric(self, wrapped: bool) -> None:
        documents = [[STATIC], [METRIC]]
        text = "\n".join(json.dumps({"gpu_data": one} if wrapped else one) for one in documents)
        report = amd.parse_amd_smi(text)
        (device,) = report.devices
        assert report.driver_version == "6.12.12"
        assert (device.name, device.gfx_version, device.uuid) == ("AMD Instinct MI300X", "gfx942", "0xABCD")
        assert (device.memory_total_bytes, device.memory_free_bytes) == (196592 * MIB, 196308 * MIB)
        assert (device.pci_address, device.numa_node) == ("0000:0c:00.0", 0)

    def test_static_alone(self) -> None:
        (device,) = amd.parse_amd_smi(json.dumps([STATIC])).devices
        assert (device.memory_total_bytes, device.memory_free_bytes) == (196592 * MIB, None)

    def test_list_alone(self) -> None:
        (device,) = amd.parse_amd_smi('[{"gpu": 0, "bdf": "0000:0c:00.0", "uuid": "c2ff-0000"}]').devices
        assert (device.pci_address, device.uuid) == ("0000:0c:00.0", "c2ff-0000")

    def test_early_field_names(self) -> None:
        record = {"gpu": 0, "vram": {"vram_type": "HBM", "vram_size_mb": 65520}, "driver": {"driver_version": "6.2.4"}}
        report = amd.parse_amd_smi(json.dumps([record]))
        assert (report.driver_version, report.devices[0].memory_total_bytes) == ("6.2.4", 65520 * MIB)

    def test_parts_that_are_not_available(self) -> None:
        (device,) = amd.parse_amd_smi('[{"gpu": 0, "asic": "N/A", "vram": "N/A", "numa": {"node": "N/A"}}]').devices
        assert (device.name, device.memory_total_bytes, device.numa_node) == (None, None, None)

    def test_monitor(self) -> None:
        record = {"gpu": 0, "vram_used": {"value": 300, "unit": "MB"}, "vram_total": {"value": 1000, "unit": "MB"}}
        (device,) = amd.parse_amd_smi(json.dumps([record])).devices
        assert (device.memory_total_bytes, device.memory_free_bytes) == (1000 * MIB, 700 * MIB)

    def test_topology(self) -> None:
        def links(own: int) -> list[dict[str, object]]:
            return [{"gpu": other, "link_type": "SELF" if other == own else "XGMI"} for other in (0, 1)]

        report = amd.parse_amd_smi(json.dumps([{"gpu": own, "links": links(own)} for own in (0, 1)]))
        assert report.topology == (("X", "XGMI"), ("XGMI", "X"))


def test_rocm_smi_without_json() -> None:
    text = (
        "============================ ROCm System Management Interface ============================\n"
        "Driver version: 6.3.6\n"
        "GPU[0]\t\t: (Topology) Numa Node: 0\n"
        "GPU[1]\t\t: (Topology) Numa Node: 1\n"
        "GPU[1]\t\t: VRAM Total Memory (B): 68702699520\n"
        "GPU[1]\t\t: Card Series: \t\tAMD Instinct MI210\n"
    )
    report = amd.parse_rocm_smi(text)
    assert report.driver_version == "6.3.6"
    assert [device.numa_node for device in report.devices] == [0, 1]
    assert (report.devices[1].memory_total_bytes, report.devices[1].name) == (68702699520, "AMD Instinct MI210")


def test_reading_merges_the_verbs() -> None:
    answers = {"static": json.dumps([STATIC]), "metric": json.dumps([METRIC])}

    def run(argv: Sequence[str], _timeout_seconds: float) -> Completed:
        return Completed(0, answers.get(argv[1], "ERROR: no such verb"), "")

    assert amd.read_amd_smi(run, "amd-smi", 3).devices[0].memory_free_bytes == 196308 * MIB


@pytest.mark.parametrize("parser", [amd.parse_rocm_smi, amd.parse_amd_smi])
@pytest.mark.parametrize("text", ["", "ERROR: No AMD GPUs detected", "[]", '{"a": 1}', "[1, 2]", '{"card0"'])
def test_anything_else_is_refused(parser: object, text: str) -> None:
    assert callable(parser)
    with pytest.raises(OutputError, match="expected"):
        parser(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["card0", "system", "gpu", "gpu_data", "vram", "size", "links", "mem_usage"]), inner
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("parser", [amd.parse_rocm_smi, amd.parse_amd_smi])
@given(document=JSON)
def test_any_document_is_read_or_refused(parser: object, document: object) -> None:
    assert callable(parser)
    with contextlib.suppress(OutputError):
        parser(json.dumps(document))

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.hardware import (
    KNOWN_CARDS,
    cuda_total_bytes,
    devices_from_facts,
    find_card,
    is_linked,
    link_cost,
)

GIB, MIB = 1024**3, 1024**2


@pytest.mark.parametrize(
    ("name", "mib", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "H100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100-80GB"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX4090-24GB"),
        ("NVIDIA GeForce RTX 4090", 49140, "RTX4090-48GB"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX6000Ada-48GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "RTXPRO6000-96GB"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA L4", 23034, "L4"),
        ("L4-24GB", None, "L4"),
        ("RTX 4090", None, "RTX4090-24GB"),
        ("8xH100", None, "H100-80GB"),
        ("NVIDIA GH200 480GB", 97871, "GH200-96GB"),
        ("DGX Spark GB10", None, "GB10"),
        ("AMD Instinct MI300X", 196592, "MI300X-192GB"),
    ],
)
def test_names_of_cards(name, mib, expected):
    card = find_card(name, None if mib is None else mib * MIB)
    assert card is not None
    assert card.name == expected


@pytest.mark.parametrize("name", ["unnamed (48GB class)", "A100", "", "8-GPU node"])
def test_names_that_decide_nothing(name):
    assert find_card(name) is None


def test_cuda_has_less_than_the_driver_reports():
    assert cuda_total_bytes("NVIDIA H100 80GB HBM3", 81559 * MIB, "nvidia", False) == int(79.18 * GIB)


def test_the_general_rule_meets_every_known_card():
    for card in KNOWN_CARDS.values():
        if card.vendor == "nvidia" and not card.unified:
            found = cuda_total_bytes("some card", card.driver_mib * MIB, "nvidia", False)
            assert found / GIB == pytest.approx(card.cuda_gib, rel=0.015), card.name


@pytest.mark.parametrize(("vendor", "unified"), [("amd", False), ("nvidia", True)])
def test_other_memory_has_one_figure(vendor, unified):
    assert cuda_total_bytes("x", 64 * GIB, vendor, unified) == 64 * GIB


def facts(**changes):
    device = {
        "index": 0,
        "uuid": "GPU-0",
        "name": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": 81559 * MIB,
        "memory_free_bytes": 80000 * MIB,
        "compute_capability": "9.0",
        "numa_node": 0,
        "unified_memory": False,
        "mig_enabled": False,
        "mig_devices": [],
    }
    return {"vendor": "nvidia", "devices": [{**device, **changes}]}


def test_devices_from_facts():
    (device,) = devices_from_facts(facts())
    assert (device.capability, device.total_bytes, device.selector) == ((9, 0), int(79.18 * GIB), "0")


def test_mig_devices_take_the_place_of_their_card():
    parts = [
        {"index": index, "uuid": f"MIG-{index}", "profile": "3g.40gb", "memory_total_bytes": 40192 * MIB}
        for index in range(2)
    ]
    found = devices_from_facts(facts(mig_enabled=True, mig_devices=parts))
    assert [device.selector for device in found] == ["MIG-0", "MIG-1"]
    assert all(38 * GIB < device.total_bytes < 40192 * MIB for device in found)


def test_a_device_without_memory_is_no_device():
    assert devices_from_facts(facts(memory_total_bytes=None)) == ()
    assert devices_from_facts({}) == ()


def test_nvlink_must_join_all():
    topology = [["X", "NV18", "SYS"], ["NV18", "X", "SYS"], ["SYS", "SYS", "X"]]
    assert is_linked(topology, [0, 1])
    assert not is_linked(topology, [0, 1, 2])
    assert is_linked(None, [0, 1])


def test_links():
    topology = [["X", "NV18", "SYS"], ["NV18", "X", "PIX"], ["SYS", "PIX", "X"]]
    assert [link_cost(topology, 0, other) for other in range(3)] == [0, 0, 6]
    assert link_cost(None, 0, 1) == link_cost(topology, 0, 9) == 4

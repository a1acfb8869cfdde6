"""How a card fares, through the stub in the place of NVIDIA's library."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.llm.serving.plugins.module_utils.gpu import health, xid

HOST = """
driver_version = 580.95.05
nvml_version = 13.580.95.05
cuda_version = 13000
{host}
[gpu 0-1]
name = NVIDIA A100-SXM4-80GB
uuid = GPU-%d
pci = 0000:4%d:00.0
memory_total_mib = 81920
memory_free_mib = 81050
compute_capability = 8.0
utilization = 37
temperature = 61
power_milliwatts = 210500
power_limit_milliwatts = 400000
ecc_corrected = 12
ecc_uncorrected = 1
remapped_rows = 3 1 1 0
clock_reasons = 0x61
[gpu 1]
{second}
"""


def test_every_figure(stub_library: str, stub_conf: Callable[[str], None]) -> None:
    stub_conf(HOST.format(host="", second=""))
    look = health.read([stub_library])
    first, second = look.cards
    assert look.problems == ()
    assert (first.index, first.uuid, first.pci_address) == (0, "GPU-0", "0000:40:00.0")
    assert first.memory_used_bytes == (81920 - 81050) << 20
    assert (first.utilization_ratio, first.temperature_celsius) == (0.37, 61)
    assert (first.power_watts, first.power_limit_watts) == (210.5, 400.0)
    assert first.ecc_errors == {"corrected": 12, "uncorrected": 1}
    assert first.remapped_rows == health.RemappedRows(3, 1, pending=True, failed=False)
    # 0x1 is «idle»: no trouble, and not among them.
    active = {name for name, on in first.throttled.items() if on}
    assert active == {"thermal_software", "thermal_hardware"}
    assert second.uuid == "GPU-1"


def test_a_card_that_tells_little(stub_library: str, stub_host: Callable[[str], None]) -> None:
    stub_host("gb10")
    card = health.read([stub_library]).cards[0]
    assert card.name
    assert (card.utilization_ratio, card.remapped_rows, card.ecc_errors, card.throttled) == (None, None, {}, {})


def test_a_lost_card_does_not_hide_the_other(stub_library: str, stub_conf: Callable[[str], None]) -> None:
    stub_conf(HOST.format(host="", second="handle_error = 15"))
    look = health.read([stub_library])
    assert [card.index for card in look.cards] == [0]
    assert look.problems == ("gpu_lost",)


def test_no_driver_and_no_library(stub_library: str, stub_host: Callable[[str], None]) -> None:
    stub_host("mismatch")
    assert health.read([stub_library]) == health.Look((), ("version_mismatch",))
    assert health.read(["/nonexistent.so"]) == health.Look((), ("library_missing",))


RECORDS = """\
4,801,12000000,-;NVRM: Xid (PCI:0000:40:00): 31, pid=1234, name=python3, Ch 00000008
4,802,15500000,-;NVRM: Xid (PCI:0000:40:00): 31, pid=1235, name=python3, Ch 00000008
4,803,16000000,-;NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.
6,804,17000000,-;usb 1-1: new high-speed USB device
"""


def test_xids_are_counted_by_card_and_number() -> None:
    assert xid.count(RECORDS) == (
        xid.XidCount("0000:40:00.0", 31, "application", 2, 15.5),
        xid.XidCount("0000:41:00.0", 79, "lost", 1, 16.0),
    )


def test_every_xid_has_one_class() -> None:
    assert [xid.kind(number) for number in (13, 48, 74, 79, 119, 9999)] == [
        "application", "memory", "link", "lost", "firmware", "other",
    ]  # fmt: skip
    numbers = [number for group in xid._CLASSES.values() for number in group]
    assert len(numbers) == len(set(numbers))

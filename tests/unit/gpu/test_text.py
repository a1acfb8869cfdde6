from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import text
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("81920 MiB", 81920 * 2**20),
        ("196592 MB", 196592 * 2**20),
        ("24 GiB", 24 * 2**30),
        ("34342961152 B", 34342961152),
        ("512", 512 * 2**20),
        ("[N/A]", None),
        ("Not Supported", None),
        ("[Unknown Error]", None),
        ("", None),
        (None, None),
    ],
)
def test_sizes(value: str | None, expected: int | None) -> None:
    assert text.size_bytes(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("00000000:18:00.0", "0000:18:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("00010000:C1:00.0", "10000:c1:00.0"),
        ("C1:00.1", "0000:c1:00.1"),
        ("NVRM: GPU 000f:01:00.0: failed", "000f:01:00.0"),
        ("GPU at PCI:000f:01:00: GPU-0f059bf0", "000f:01:00.0"),
        ("Device handle for GPU0000:0B:00.0: lost", "0000:0b:00.0"),
        ("Wed Jun  3 19:47:35 2026", None),
        ("nothing", None),
        (None, None),
    ],
)
def test_pci_addresses(value: str | None, expected: str | None) -> None:
    assert text.pci_address(value) == expected


@pytest.mark.parametrize("value", ["Not Found", "N/A", "ERR!", "[N/A]", "", None])
def test_absent_versions(value: str | None) -> None:
    assert text.version(value) is None


def test_brackets_belong_to_a_name_unless_they_enclose_it() -> None:
    assert text.known("Navi 22 [Radeon RX 6700]") == "Navi 22 [Radeon RX 6700]"


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
def test_addresses_of_any_domain_survive(domain: int, bus: int, device: int, function: int) -> None:
    shown = f"{domain:08X}:{bus:02X}:{device:02X}.{function}"
    assert text.pci_address(shown) == f"{domain:04x}:{bus:02x}:{device:02x}.{function}"

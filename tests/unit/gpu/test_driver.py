"""Which driver for which cards, and by which packages on which distribution."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu.driver import (
    DriverError,
    System,
    Wanted,
    choose,
    generation,
    upstream,
)
from ansible_collections.llm.serving.plugins.module_utils.gpu.pci import Card
from ansible_collections.llm.serving.plugins.module_utils.support.distributions import Distribution

M40, P40, P100, V100, T4 = 0x17FD, 0x1B38, 0x15F8, 0x1DB1, 0x1EB8
A100, A10, L40S, H100, GH200 = 0x20B0, 0x2236, 0x26B9, 0x2330, 0x2342
B200, RTX5090, GB10 = 0x2901, 0x2B85, 0x2E12
DEBIAN12 = System(Distribution("debian", "12"), "6.1.0-40-amd64", "x86_64")
UBUNTU24 = System(Distribution("ubuntu", "24.04"), "6.8.0-79-generic", "x86_64")
ROCKY9 = System(Distribution("rocky", "9.6"), "5.14.0-570.el9.x86_64", "x86_64")
ARCH = System(Distribution("arch", "", "Arch Linux"), "6", "x86_64")
RHEL10 = System(Distribution("rhel", "10.1"), "6.12.0-55.el10.x86_64", "x86_64")


def cards(*ids: int, vendor: str = "nvidia", switches: int = 0, driver: str | None = None) -> list[Card]:
    def card(number: int, device_id: int, *, is_nvswitch: bool = False) -> Card:
        return Card(f"0000:{number:02x}:00.0", vendor, device_id, 0, None, driver, is_nvswitch, Path("/"))

    found = [card(number, device_id) for number, device_id in enumerate(ids, 1)]
    return found + [card(0x80 + number, 0x22A3, is_nvswitch=True) for number in range(switches)]


@pytest.mark.parametrize(
    ("device_id", "name"),
    [
        (0x1180, "Kepler or older"),
        (M40, "Maxwell"),
        (P40, "Pascal"),
        (P100, "Pascal"),
        (V100, "Volta"),
        (T4, "Turing"),
        (0x2182, "Turing"),
        (A100, "Ampere"),
        (A10, "Ampere"),
        (H100, "Hopper"),
        (GH200, "Hopper"),
        (L40S, "Ada"),
        (B200, "Blackwell"),
        (RTX5090, "Blackwell"),
        (GB10, "Blackwell"),
    ],
)
def test_generations(device_id: int, name: str) -> None:
    assert generation(device_id) == name


@pytest.mark.parametrize(
    ("ids", "flavour"),
    [
        ((M40,), "proprietary"),
        ((V100, V100), "proprietary"),
        ((V100, A100), "proprietary"),
        ((T4,), "open"),
        ((A100, H100), "open"),
        ((GH200,), "open"),
        ((B200,) * 8, "open"),
    ],
)
def test_modules_that_the_cards_need(ids: tuple[int, ...], flavour: str) -> None:
    choice = choose(cards(*ids), DEBIAN12, Wanted())
    assert choice is not None
    assert choice.flavour == flavour
    assert choice.reasons


@pytest.mark.parametrize(
    ("ids", "wanted", "words"),
    [
        ((0x1180,), Wanted(), "older than Maxwell"),
        ((V100, B200), Wanted(), "no driver has both"),
        ((V100,), Wanted(branch=590), "the last that knows it"),
        ((V100,), Wanted(version="590.48.01"), "gpu_driver_branch to 580"),
        ((V100,), Wanted(flavour="open"), "begin with Turing"),
        ((B200,), Wanted(flavour="proprietary"), "needs the open kernel modules"),
        ((GH200,), Wanted(flavour="proprietary"), "needs the open kernel modules"),
        ((RTX5090,), Wanted(branch=550), "expected branch 570 or later"),
    ],
)
def test_what_cannot_be(ids: tuple[int, ...], wanted: Wanted, words: str) -> None:
    with pytest.raises(DriverError, match=words):
        choose(cards(*ids), DEBIAN12, wanted)


def test_the_operator_may_want_proprietary_modules_where_they_work() -> None:
    choice = choose(cards(A100), DEBIAN12, Wanted(flavour="proprietary"))
    assert choice is not None
    assert choice.module_package == "nvidia-kernel-dkms"


@pytest.mark.parametrize(
    ("host", "wanted", "specifications", "headers", "stream", "pinning"),
    [
        (
            DEBIAN12,
            Wanted(version="580.95.05"),
            ["nvidia-kernel-open-dkms=580.95.05*", "nvidia-driver-cuda=580.95.05*", "nvidia-persistenced=580.95.05*"],
            ("linux-headers-6.1.0-40-amd64",),
            "",
            ("nvidia-driver-pinning-580.95.05",),
        ),
        (
            UBUNTU24,
            Wanted(branch=580),
            [
                *("nvidia-dkms-580-open", "libnvidia-compute-580", "libnvidia-decode-580", "nvidia-utils-580"),
                "nvidia-compute-utils-580",
            ],
            ("linux-headers-6.8.0-79-generic",),
            "",
            ("nvidia-driver-pinning-580",),
        ),
        (
            UBUNTU24,
            Wanted(branch=590),
            [
                *("nvidia-dkms-open", "libnvidia-compute", "libnvidia-decode", "nvidia-utils"),
                "nvidia-compute-utils",
            ],
            ("linux-headers-6.8.0-79-generic",),
            "",
            ("nvidia-driver-pinning-590",),
        ),
        (
            ROCKY9,
            Wanted(version="580.95.05"),
            ["kmod-nvidia-open-dkms-580.95.05*", "nvidia-driver-cuda-580.95.05*", "nvidia-persistenced-580.95.05*"],
            ("kernel-devel-5.14.0-570.el9.x86_64",),
            "nvidia-driver:580-open",
            (),
        ),
        (
            ROCKY9,
            Wanted(),
            ["kmod-nvidia-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced"],
            ("kernel-devel-5.14.0-570.el9.x86_64",),
            "nvidia-driver:580-open",
            (),
        ),
        (
            RHEL10,
            Wanted(flavour="proprietary"),
            ["kmod-nvidia-latest-dkms-580.*", "nvidia-driver-cuda-580.*", "nvidia-persistenced-580.*"],
            ("kernel-devel-6.12.0-55.el10.x86_64",),
            "",
            (),
        ),
    ],
)
def test_packages(
    host: System,
    wanted: Wanted,
    specifications: list[str],
    headers: tuple[str, ...],
    stream: str,
    pinning: tuple[str, ...],
) -> None:
    choice = choose(cards(L40S), host, wanted)
    assert choice is not None
    assert choice.specifications() == specifications
    assert (choice.headers, choice.module_stream, choice.pinning) == (headers, stream, pinning)
    assert choice.fabric_manager == ""


@pytest.mark.parametrize(
    ("wanted", "installed", "version"),
    [
        (Wanted(), "", "580.*"),
        (Wanted(), "580.95.05", "580.95.05*"),
        (Wanted(branch=590), "580.95.05", "590.*"),
        (Wanted(branch=58), "580.95.05", "58.*"),
        (Wanted(version="580.105.08"), "580.95.05", "580.105.08*"),
    ],
)
def test_without_module_streams_versions_keep_to_the_branch(wanted: Wanted, installed: str, version: str) -> None:
    choice = choose(cards(*[H100] * 8, switches=4), RHEL10, wanted)
    assert choice is not None
    assert choice.specifications(installed)[0] == f"kmod-nvidia-open-dkms-{version}"
    assert choice.specify(choice.fabric_manager).startswith("nvidia-fabricmanager-")


def test_fabric_manager_comes_with_switches_and_in_the_drivers_version() -> None:
    choice = choose(cards(*[H100] * 8, switches=4), UBUNTU24, Wanted())
    assert choice is not None
    assert choice.fabric_manager == "nvidia-fabricmanager-580"
    assert choice.specify(choice.fabric_manager, "580.95.05") == "nvidia-fabricmanager-580=580.95.05*"
    assert choice.services == ("nvidia-persistenced.service", "nvidia-fabricmanager.service")
    assert "nvidia-fabricmanager-580" in choice.held


def test_amd() -> None:
    choice = choose(cards(0x74A1, vendor="amd"), UBUNTU24, Wanted(version="580.95.05"))
    assert choice is not None
    assert (choice.specifications(), choice.groups, choice.pinning) == (["amdgpu-dkms"], ("render", "video"), ())


def test_amds_driver_has_no_branches() -> None:
    choice = choose(cards(0x74A1, vendor="amd"), RHEL10, Wanted())
    assert choice is not None
    assert choice.specifications("6.14.14") == ["amdgpu-dkms"]


def test_hosts_that_need_none() -> None:
    assert choose([], ARCH, Wanted()) is None
    assert choose(cards(H100, driver="vfio-pci"), DEBIAN12, Wanted()) is None
    assert choose(cards(0x56C0, vendor="intel"), DEBIAN12, Wanted()) is None


def test_other_distributions_are_refused_in_words() -> None:
    with pytest.raises(DriverError, match="found Arch Linux"):
        choose(cards(H100), ARCH, Wanted())


@pytest.mark.parametrize(
    ("package", "driver"),
    [
        ("580.95.05-1", "580.95.05"),
        ("3:580.95.05-1.el9", "580.95.05"),
        ("580.159.03-0ubuntu0.24.04.1", "580.159.03"),
        ("x", ""),
    ],
)
def test_versions_of_packages(package: str, driver: str) -> None:
    assert upstream(package) == driver

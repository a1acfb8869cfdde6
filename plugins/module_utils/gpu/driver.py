"""Which driver a host's cards need, and by which packages it comes.

By the book: NVIDIA's Driver Installation Guide (packages of its CUDA repository, branches, version locking), its
statements on open kernel modules (required by Grace Hopper and Blackwell, recommended from Turing on, impossible
before), release 580 being the last for Maxwell, Pascal and Volta, and AMD's guide for amdgpu-dkms.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..support.distributions import Distribution
from .compat import parse
from .pci import Card

AUTO, OPEN, PROPRIETARY = "auto", "open", "proprietary"
LAST_BRANCH_BEFORE_TURING = 580
FIRST_BRANCH_FOR_BLACKWELL = 570
# Packages of Ubuntu carried the branch in their names until then; Debian's never did.
FIRST_BRANCH_WITHOUT_NUMBERS = 590
GRACE_HOPPER_IDS = frozenset({0x2342, 0x2345, 0x2348})
# (first PCI device id, generation), rising. Ids are given out in the order of the generations, with three exceptions.
_GENERATIONS = (
    (0x2900, "Blackwell"),
    (0x2600, "Ada"),
    (0x2200, "Ampere"),
    (0x1E00, "Turing"),
    (0x1D80, "Volta"),
    (0x1B00, "Pascal"),
    (0x1340, "Maxwell"),
    (0, "Kepler or older"),
)
_EXCEPTIONS = ((0x15F0, 0x15FF, "Pascal"), (0x2080, 0x20FF, "Ampere"), (0x2300, 0x23FF, "Hopper"))
_BEFORE_TURING = ("Maxwell", "Pascal", "Volta")
_GROUPS = ("render", "video")


class DriverError(ValueError):
    """No driver can be installed as it is wanted: what was expected, what was found, which variable to set."""


@dataclass(frozen=True)
class System:
    """What a driver is built for: the distribution, the kernel that runs, and the machine's architecture."""

    distribution: Distribution
    kernel: str
    machine: str

    @property
    def family(self) -> str:
        """debian, ubuntu or redhat; empty for any other."""
        return self.distribution.family

    @property
    def major(self) -> str:
        """12 of Debian 12.7, 9 of Rocky 9.4."""
        return self.distribution.version.partition(".")[0]


@dataclass(frozen=True)
class Wanted:
    """What the operator set. An exact `version` wins over the branch."""

    flavour: str = AUTO
    branch: int = 580
    version: str = ""

    @property
    def branch_number(self) -> int:
        """The branch that the version is of."""
        return parse(self.version)[0] if self.version else self.branch


@dataclass(frozen=True)
class Choice:
    """What is to be installed. Names are without versions; `specifications` has them with what keeps to the branch."""

    vendor: str
    family: str
    flavour: str
    branch: int
    module_package: str
    packages: tuple[str, ...]
    pinning: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    module_stream: str = ""
    fabric_manager: str = ""
    services: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    version: str = ""
    reasons: tuple[str, ...] = field(default_factory=tuple)

    def specifications(self, installed: str = "") -> list[str]:
        """The packages as apt and dnf are asked for them, where a version of the driver is `installed` or none."""
        # Of several versions that match, dnf would go to the newest in every run.
        keeps = bool(self._branch_prefix) and installed.startswith(self._branch_prefix)
        return [self.specify(name, installed if keeps else "") for name in self.packages]

    def specify(self, name: str, version: str = "") -> str:
        """A package in the version that is wanted, or in the one that is given."""
        wanted = version or self.version or self._branch_prefix
        separator = "-" if self.family == "redhat" else "="
        return f"{name}{separator}{wanted}*" if wanted and self.vendor == "nvidia" else name

    @property
    def _branch_prefix(self) -> str:
        """How versions of the branch begin, where no version, pinning package or module stream keeps to it."""
        is_kept = self.version or self.pinning or self.module_stream
        return f"{self.branch}." if self.vendor == "nvidia" and not is_kept else ""

    @property
    def held(self) -> tuple[str, ...]:
        """What must not be upgraded on its own."""
        return (*self.packages, *((self.fabric_manager,) if self.fabric_manager else ()))


def upstream(version: str) -> str:
    """The driver's version in that of a package: 580.95.05 of 3:580.95.05-1.el9; empty where it has none."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)+)", version)
    return match[1] if match else ""


def generation(device_id: int) -> str:
    """The generation of an NVIDIA card by its PCI device id."""
    for first, last, name in _EXCEPTIONS:
        if first <= device_id <= last:
            return name
    return next(name for first, name in _GENERATIONS if device_id >= first)


def needs_open(device_id: int) -> bool:
    """Whether only NVIDIA's open kernel modules drive a card."""
    return generation(device_id) == "Blackwell" or device_id in GRACE_HOPPER_IDS


def choose(cards: Sequence[Card], host: System, wanted: Wanted) -> Choice | None:
    """Choose for the cards of a host; None where there is no card that needs a driver. Raises DriverError."""
    gpus = [card for card in cards if not card.is_nvswitch and card.driver != "vfio-pci"]
    nvidia = [card for card in gpus if card.vendor == "nvidia"]
    amd = [card for card in gpus if card.vendor == "amd"]
    if not nvidia and not amd:
        return None
    if not host.family:
        found = host.distribution.name or "another"
        raise DriverError(
            f"expected Debian, Ubuntu or an Enterprise Linux for the driver, found {found}: install the driver by"
            " its maker's guide, and set gpu_driver_install to false"
        )
    if nvidia:
        has_switches = any(card.is_nvswitch for card in cards)
        return _choose_nvidia(nvidia, host, wanted, has_switches=has_switches)
    return _choose_amd(host)


def _choose_nvidia(cards: Sequence[Card], host: System, wanted: Wanted, *, has_switches: bool) -> Choice:
    flavour, reasons = _flavour(cards, wanted)
    branch = wanted.branch_number
    names = _NAMES[host.family](branch, flavour)
    packages = names["packages"]
    services = ["nvidia-persistenced.service"]
    if has_switches:
        services.append("nvidia-fabricmanager.service")
        reasons.append("Fabric Manager, in the very version of the driver: the host has NVSwitch chips")
    pinning = (f"nvidia-driver-pinning-{wanted.version or branch}",) if host.family != "redhat" else ()
    return Choice(
        vendor="nvidia",
        family=host.family,
        flavour=flavour,
        branch=branch,
        module_package=packages[0],
        packages=packages,
        pinning=pinning,
        headers=_headers(host),
        module_stream=_stream(host, branch, flavour),
        fabric_manager=names["fabric_manager"][0] if has_switches else "",
        services=tuple(services),
        version=wanted.version,
        reasons=tuple(reasons),
    )


def _flavour(cards: Sequence[Card], wanted: Wanted) -> tuple[str, list[str]]:
    """Open or proprietary kernel modules, and why. Raises DriverError when no one driver does."""
    by_name = {card.address: generation(card.device_id) for card in cards}
    branch = wanted.branch_number
    ancient = [address for address, name in by_name.items() if name == "Kepler or older"]
    if ancient:
        raise DriverError(f"{ancient[0]} is older than Maxwell: no driver that CUDA 12 or 13 works with knows it")
    old = [f"{address} ({name})" for address, name in by_name.items() if name in _BEFORE_TURING]
    only_open = [f"{card.address} ({by_name[card.address]})" for card in cards if needs_open(card.device_id)]
    if old and only_open:
        raise DriverError(
            f"{old[0]} needs the proprietary kernel modules and {only_open[0]} the open ones: no driver has both. Take"
            " one of them out, or pass it through to a machine of its own"
        )
    if old and branch > LAST_BRANCH_BEFORE_TURING:
        raise DriverError(
            f"{old[0]}: expected branch {LAST_BRANCH_BEFORE_TURING}, the last that knows it, found {branch}: set"
            f" gpu_driver_branch to {LAST_BRANCH_BEFORE_TURING}"
        )
    if any(name == "Blackwell" for name in by_name.values()) and branch < FIRST_BRANCH_FOR_BLACKWELL:
        raise DriverError(
            f"{only_open[0]}: expected branch {FIRST_BRANCH_FOR_BLACKWELL} or later, found {branch}: set"
            " gpu_driver_branch"
        )
    if old:
        if wanted.flavour == OPEN:
            raise DriverError(f"{old[0]}: the open kernel modules begin with Turing: set gpu_driver_flavour to auto")
        return PROPRIETARY, [f"proprietary kernel modules: {old[0]} is older than Turing"]
    if only_open:
        if wanted.flavour == PROPRIETARY:
            raise DriverError(f"{only_open[0]} needs the open kernel modules: set gpu_driver_flavour to auto")
        return OPEN, [f"open kernel modules: {only_open[0]} works with no others"]
    if wanted.flavour == PROPRIETARY:
        return PROPRIETARY, ["proprietary kernel modules: gpu_driver_flavour says so"]
    generations = ", ".join(sorted(set(by_name.values())))
    return OPEN, [f"open kernel modules: what NVIDIA recommends for {generations}"]


def _debian(branch: int, flavour: str) -> Mapping[str, tuple[str, ...]]:
    module = "nvidia-kernel-open-dkms" if flavour == OPEN else "nvidia-kernel-dkms"
    return {
        "packages": (module, "nvidia-driver-cuda", "nvidia-persistenced"),
        "fabric_manager": (f"nvidia-fabricmanager{_suffix(branch)}",),
    }


def _ubuntu(branch: int, flavour: str) -> Mapping[str, tuple[str, ...]]:
    suffix = _suffix(branch)
    module = f"nvidia-dkms{suffix}{'-open' if flavour == OPEN else ''}"
    libraries = (f"libnvidia-compute{suffix}", f"libnvidia-decode{suffix}")
    return {
        "packages": (module, *libraries, f"nvidia-utils{suffix}", f"nvidia-compute-utils{suffix}"),
        "fabric_manager": (f"nvidia-fabricmanager{suffix}",),
    }


def _redhat(_branch: int, flavour: str) -> Mapping[str, tuple[str, ...]]:
    module = "kmod-nvidia-open-dkms" if flavour == OPEN else "kmod-nvidia-latest-dkms"
    return {
        "packages": (module, "nvidia-driver-cuda", "nvidia-persistenced"),
        "fabric_manager": ("nvidia-fabricmanager",),
    }


_NAMES = {"debian": _debian, "ubuntu": _ubuntu, "redhat": _redhat}


def _suffix(branch: int) -> str:
    return "" if branch >= FIRST_BRANCH_WITHOUT_NUMBERS else f"-{branch}"


def _headers(host: System) -> tuple[str, ...]:
    """Headers of the very kernel that runs: DKMS builds for it, and a later kernel brings its own."""
    if host.family == "redhat":
        return (f"kernel-devel-{host.kernel}",)
    return (f"linux-headers-{host.kernel}",)


def _stream(host: System, branch: int, flavour: str) -> str:
    """The module stream that follows a branch; Enterprise Linux 10 has no modules any more."""
    if host.family != "redhat" or host.major not in ("8", "9"):
        return ""
    return f"nvidia-driver:{branch}-{'open' if flavour == OPEN else 'dkms'}"


def _choose_amd(host: System) -> Choice:
    return Choice(
        vendor="amd",
        family=host.family,
        flavour=OPEN,
        branch=0,
        module_package="amdgpu-dkms",
        packages=("amdgpu-dkms",),
        headers=_headers(host),
        groups=_GROUPS,
        reasons=("amdgpu-dkms: the card is AMD's; ROCm's libraries come with the engine",),
    )

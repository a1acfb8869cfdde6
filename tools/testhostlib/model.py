"""What a lab is, as values that are written to its state file."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import LabError

LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Reserved for tests between networks (RFC 2544): no real network is routed there.
NETWORK = ipaddress.ip_network("198.18.0.0/15")
SUBNET_COUNT = 512
MAX_HOSTS = 200
# With nspawn's own prefix and a host's number it just fits into an interface name's 15 characters.
BRIDGE_PREFIX = "lslab"
FIRST_HOST = 11  # .1 is the bridge


@dataclass(frozen=True)
class Bind:
    """A directory of this machine, seen inside of every host."""

    source: str
    target: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read SRC:DST or SRC:DST:ro."""
        parts = text.split(":")
        if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
            raise LabError(f"--bind wants SRC:DST or SRC:DST:ro, got {text!r}")
        if not all(path.startswith("/") for path in parts[:2]):
            raise LabError(f"--bind wants two absolute paths, got {text!r}")
        return cls(parts[0], parts[1], len(parts) == 3 and parts[2] == "ro")


@dataclass(frozen=True)
class Setup:
    """What every host of a lab gets beyond its base; environment: pairs for /etc/environment."""

    binds: tuple[Bind, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Host:
    """One host of a lab. layers: root file systems, the topmost first."""

    name: str
    number: int
    address: str
    base: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    start_time: int


@dataclass(frozen=True)
class Lab:
    """A network of hosts. `starter` runs `up`; `owner`, if any, is whom the lab shall not outlive."""

    name: str
    subnet: int
    hosts: tuple[Host, ...]
    starter: Process
    created: float
    checkout: str
    setup: Setup = Setup()
    owner: Process | None = None
    ready: bool = False

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The /24 of this lab."""
        return subnet_network(self.subnet)

    @property
    def gateway(self) -> str:
        """The bridge's address: where the hosts reach this machine."""
        return str(self.network[1])

    @property
    def bridge(self) -> str:
        """Name of the bridge, and of the nft table."""
        return f"{BRIDGE_PREFIX}{self.subnet}"

    def moved_to(self, subnet: int) -> Lab:
        """The same lab in another subnet."""
        hosts = tuple(replace(host, address=host_address(subnet, host.number)) for host in self.hosts)
        return replace(self, subnet=subnet, hosts=hosts)

    def machine(self, host: Host) -> str:
        """Name that is unique on this machine and short enough for a network interface."""
        return f"{self.bridge}-{host.number}"

    def to_json(self) -> str:
        """Text of the state file."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Lab:
        """Read a state file."""
        data = json.loads(text)
        data["hosts"] = tuple(Host(**{**host, "layers": tuple(host["layers"])}) for host in data["hosts"])
        binds = tuple(Bind(**bind) for bind in data["setup"]["binds"])
        data["setup"] = Setup(binds, tuple((name, value) for name, value in data["setup"]["environment"]))
        data["starter"] = Process(**data["starter"])
        data["owner"] = Process(**data["owner"]) if data["owner"] else None
        return cls(**data)


def subnet_network(subnet: int) -> ipaddress.IPv4Network:
    """The subnet-th /24 of the test range."""
    if not 0 <= subnet < SUBNET_COUNT:
        raise ValueError(f"subnet {subnet} is not in 0..{SUBNET_COUNT - 1}")
    start = int(NETWORK.network_address) + 256 * subnet
    return ipaddress.IPv4Network((start, 24))


def host_address(subnet: int, number: int) -> str:
    """Address of the number-th host, counted from 0, of a lab."""
    return str(subnet_network(subnet)[FIRST_HOST + number])


def check_names(lab: str, hosts: list[str]) -> None:
    """Refuse names that would not survive as interface, cgroup, path and host name."""
    if not LAB_NAME.fullmatch(lab):
        raise LabError(f"lab name {lab!r}: use 1 to 32 of a-z, 0-9 and -, not starting with -")
    if not hosts:
        raise LabError("name at least one host")
    if len(hosts) > MAX_HOSTS:
        raise LabError(f"{len(hosts)} hosts do not fit into a lab; the most is {MAX_HOSTS}")
    for host in hosts:
        if not HOST_NAME.fullmatch(host) or len(host) > 64:
            raise LabError(f"host name {host!r}: use a-z, 0-9, - and dots, at most 64 characters")
    twice = {host for host in hosts if hosts.count(host) > 1}
    if twice:
        raise LabError(f"named twice: {', '.join(sorted(twice))}")


def scenario_lab(scenario: str, checkout: Path) -> str:
    """Name of the lab that a checkout has for a Molecule scenario: other checkouts have others."""
    if len(scenario) > 25:
        raise LabError(f"scenario {scenario!r}: its name may have 25 characters, since it names the lab too")
    return f"{scenario.replace('_', '-')}-{hashlib.sha256(str(checkout).encode()).hexdigest()[:6]}"


def parse_host(text: str, default_base: str) -> tuple[str, str]:
    """Read HOST or HOST=BASE."""
    name, separator, base = text.partition("=")
    if separator and not base:
        raise LabError(f"{text!r}: what stands after = is a base, as in {name}=bookworm")
    return name, base or default_base


def parse_environment(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not ENVIRONMENT_NAME.fullmatch(name):
        raise LabError(f"--env wants NAME=VALUE, got {text!r}")
    if any(character in value for character in "\n\"'"):
        raise LabError(f"--env {name}: /etc/environment cannot hold quotes or line ends")
    return name, value

"""A lab's network: a bridge with a range of its own, and NAT so that its hosts reach the world."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import LabError
from .model import BRIDGE_PREFIX, SUBNET_COUNT, Lab, subnet_network
from .system import run

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def choose_subnet(taken: Iterable[int], in_use: Iterable[ipaddress.IPv4Network]) -> int:
    """The first subnet that no lab has and that no address or route of this machine overlaps."""
    taken, in_use = set(taken), list(in_use)
    for subnet in range(SUBNET_COUNT):
        network = subnet_network(subnet)
        if subnet not in taken and not any(network.overlaps(other) for other in in_use):
            return subnet
    raise LabError(f"all {SUBNET_COUNT} test networks are in use; `testhost list` shows the labs")


def bridges_in_use() -> list[int]:
    """Subnets whose bridge exists, whoever made it."""
    names = (link["ifname"] for link in _ip("link"))
    numbers = (name[len(BRIDGE_PREFIX) :] for name in names if name.startswith(BRIDGE_PREFIX))
    return [int(number) for number in numbers if number.isdecimal()]


def networks_in_use() -> list[ipaddress.IPv4Network]:
    """Networks of this machine's addresses and routes, except for the default route."""
    found = [
        f"{address['local']}/{address['prefixlen']}" for link in _ip("addr") for address in link.get("addr_info", [])
    ]
    found += [route["dst"] for route in _ip("route", "show", "table", "all") if route["dst"] != "default"]
    return [ipaddress.IPv4Network(text, strict=False) for text in found if text != "0.0.0.0/0"]


def uplink_mtu() -> int:
    """Largest packet that the default route takes; larger ones from a host might be lost on the way."""
    defaults = [route["dev"] for route in _ip("route", "show", "default")]
    sizes: list[int] = [link["mtu"] for link in _ip("link") if link["ifname"] in defaults]
    return min([1500, *sizes])


def nameservers(texts: Iterable[str]) -> list[str]:
    """Name servers that hosts can reach: those of the first resolv.conf that are not this machine's own."""
    for text in texts:
        words = [line.split() for line in text.splitlines()]
        addresses = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and ":" not in w[1]]
        reachable = [a for a in addresses if ipaddress.ip_address(a) not in LOOPBACK]
        if reachable:
            return reachable
    return []


def machine_nameservers() -> list[str]:
    """Name servers of this machine; systemd-resolved keeps the real ones in a file of its own."""
    paths = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
    return nameservers(path.read_text() for path in paths if path.exists())


def ruleset(lab: Lab) -> str:
    """The lab's nft table: NAT to the world, no way to other labs."""
    return f"""\
table ip {lab.bridge} {{
  chain nat {{
    type nat hook postrouting priority srcnat
    ip saddr {lab.network} ip daddr != {lab.network} masquerade
  }}
  chain isolate {{
    type filter hook forward priority filter
    iifname "{lab.bridge}" oifname != "{lab.bridge}" oifname "{BRIDGE_PREFIX}*" drop
  }}
}}
"""


def up(lab: Lab, mtu: int) -> None:
    """Make the bridge and the NAT."""
    run(["ip", "link", "add", lab.bridge, "mtu", str(mtu), "type", "bridge"])
    run(["ip", "addr", "add", f"{lab.gateway}/24", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])
    run(["nft", "-f", "-"], stdin=ruleset(lab))


def down(lab: Lab) -> None:
    """Remove the bridge, the hosts' links to it and the NAT, whichever of them exist."""
    for link in _ip("link"):
        name = link["ifname"]
        if name == lab.bridge or name.startswith(f"vb-{lab.bridge}-"):
            run(["ip", "link", "delete", name], check=False)  # a dying host takes its link along
    # Adding first makes it no error that the table does not exist.
    run(["nft", "-f", "-"], stdin=f"add table ip {lab.bridge}\ndelete table ip {lab.bridge}\n")


def _ip(*words: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run(["ip", "-4", "-json", *words]) or "[]")
    return answer

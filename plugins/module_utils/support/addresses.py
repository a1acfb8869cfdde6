"""What may be a port, an address or a host's name."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

HIGHEST_PORT = 65535
# What a host may be called: RFC 1123 section 2.1, and the underscore that inventories and resolvers take as well.
HOSTNAME = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")


def is_port(value: Any) -> bool:
    """Tell whether something is a TCP port that can be listened on."""
    return str(value).isdecimal() and 0 < int(value) <= HIGHEST_PORT


def is_address(value: str) -> bool:
    """Tell whether something is an IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def is_host(value: str) -> bool:
    """Tell whether something is an IP address or could be a host's name."""
    # Four numbers that are no address look like a name, and no resolver knows it.
    looks_like_address = bool(re.fullmatch(r"[0-9.]+", value))
    return is_address(value) or (bool(HOSTNAME.fullmatch(value)) and not looks_like_address)

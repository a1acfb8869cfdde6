"""Reading what GPU tools print: values with units, the many spellings of «absent», PCI addresses."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

# «Not Supported» and «N/A» mean that the card has no such thing; the others that it did not say.
NOT_APPLICABLE = frozenset({"n/a", "not supported", "not applicable"})
UNKNOWN = frozenset(
    {
        "",
        "none",
        "not found",
        "not available",
        "unknown",
        "unknown error",
        "insufficient permissions",
        "gpu is lost",
        "gpu requires reset",
        "requires reset",
        "err!",
        "error",
    }
)

# nvidia-smi prints MiB; AMD's tools say MB and mean 2**20 as well.
_UNIT_BYTES = {
    "b": 1,
    "kib": 2**10,
    "kb": 2**10,
    "mib": 2**20,
    "mb": 2**20,
    "gib": 2**30,
    "gb": 2**30,
    "tib": 2**40,
    "tb": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?", re.IGNORECASE)
# Without a domain only with a function, else every time of day would be an address.
_PCI = re.compile(
    r"(?<![0-9a-f])(?P<domain>[0-9a-f]{4,8}):(?P<slot>[0-9a-f]{2}:[0-9a-f]{2})(?:\.(?P<function>[0-7]))?(?!:?[0-9a-f])"
    r"|(?<![0-9a-f:])(?P<short>[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?![0-9a-f])",
    re.IGNORECASE,
)


class OutputError(ValueError):
    """A tool's output is not what its parser can read; the message says what was found instead."""


def bare(text: str | None) -> str:
    """Return the text without surrounding space and the brackets that CSV output puts around «[N/A]»."""
    value = (text or "").strip()
    return value[1:-1].strip() if value.startswith("[") and value.endswith("]") else value


def not_applicable(text: str | None) -> bool:
    """Say whether the tool states that the card has no such value."""
    return bare(text).lower() in NOT_APPLICABLE


def known(text: str | None) -> str | None:
    """Return the value, or None where the tool has none to give."""
    value = bare(text)
    return None if value.lower() in NOT_APPLICABLE | UNKNOWN else value


def integer(text: str | None) -> int | None:
    """Return a decimal or 0x-prefixed integer, or None."""
    value = known(text)
    if value is None:
        return None
    try:
        return int(value, 0)
    except ValueError:
        return None


def size_bytes(text: str | None, default_unit: str = "MiB") -> int | None:
    """Return bytes of «81920 MiB», «196592 MB» or a bare number in `default_unit`; None when absent."""
    match = _SIZE.fullmatch(known(text) or "")
    if not match:
        return None
    return int(float(match[1]) * _UNIT_BYTES[(match[2] or default_unit).lower()])


def version(text: str | None) -> str | None:
    """Return a dotted version number, or None for «Not Found», «N/A», «ERR!»."""
    match = re.fullmatch(r"\d+(?:\.\d+)*", known(text) or "")
    return match[0] if match else None


def pci_address(text: str | None) -> str | None:
    """Return «00000000:18:00.0» in sysfs's form, «0000:18:00.0»; None when there is no address in it."""
    match = _PCI.search(text or "")
    if not match:
        return None
    if match["short"]:
        return f"0000:{match['short']}".lower()
    return f"{int(match['domain'], 16):04x}:{match['slot']}.{match['function'] or '0'}".lower()

"""Xid errors in the kernel's log: how many of each since the start of the host, when the last, and what they mean."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass

from .kernel_log import parse_xids

# NVIDIA's catalogue of Xid errors, by what is to be done: nothing but mend the program; look at the memory; at the
# links; at the seat, the power and the card; at driver and firmware.
_CLASSES: dict[str, frozenset[int]] = {
    "application": frozenset((13, 31, 43, 45, 68, 69, 109)),
    "memory": frozenset((48, 63, 64, 92, 94, 95, 140, 160)),
    "link": frozenset((74, 136, 137, 144, 145, 146, 147, 148, 149, 150, 155)),
    "lost": frozenset((54, 79, 151)),
    "firmware": frozenset((38, 61, 62, 119, 120, 143)),
}
OTHER = "other"
# NVLink reports what it mended itself, too.
_NONFATAL = re.compile(r"\bXid \([^)]*\): \d+, \S+ Nonfatal\b")
# A record of /dev/kmsg: priority, number, microseconds since the start, flags; message.
_RECORD = re.compile(r"^\d+,\d+,(?P<microseconds>\d+),[^;]*;")


@dataclass(frozen=True)
class XidCount:
    """Errors of one number on one card; last_seconds is since the start of the host."""

    address: str
    number: int
    kind: str
    count: int
    last_seconds: float


def kind(number: int) -> str:
    """Return the class of an Xid number."""
    return next((name for name, numbers in _CLASSES.items() if number in numbers), OTHER)


def count(records: str) -> tuple[XidCount, ...]:
    """Count the Xid errors in records of /dev/kmsg, by card and number; those that are not fatal are none."""
    found: dict[tuple[str, int], tuple[int, float]] = {}
    for line in records.splitlines():
        record = _RECORD.match(line)
        if not record or _NONFATAL.search(line):
            continue
        seconds = int(record["microseconds"]) / 1e6
        for error in parse_xids(line):
            key = (error.address or "", error.number)
            number, last = found.get(key, (0, 0.0))
            found[key] = (number + 1, max(last, seconds))
    return tuple(
        XidCount(address, number, kind(number), times, last)
        for (address, number), (times, last) in sorted(found.items())
    )

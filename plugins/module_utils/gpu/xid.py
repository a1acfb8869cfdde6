"""Xid errors in the kernel's log: how many of each since the start of the host, when the last, and what they mean."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass

from .kernel_log import parse_xids

# NVIDIA's catalogue of Xid errors, by what is to be done: nothing but mend the program; look at the memory; at the
# links; at the card, its seat and its power, for one that is gone as for one that is ill connected; reset the card, and
# look at driver and firmware.
_CLASSES: dict[str, frozenset[int]] = {
    "application": frozenset(
        (
            *(8, 11, 13, 25, 31, 37, *range(39, 42), 43, 45, 60, *range(68, 73), *range(75, 78), 80, *range(82, 87)),
            *(88, 89, *range(96, 106), *range(126, 136), 137, 139, 141, 142),
        )
    ),
    "memory": frozenset((48, 57, 58, 63, 64, 92, 94, 95, 140, 156, 157, 160, 161, 168, 171, 172)),
    "link": frozenset((74, 136, *range(144, 151), 155, 173)),
    "lost": frozenset((79,)),
    "bus": frozenset((32, 54, 167)),
    "firmware": frozenset((38, 46, 59, 61, 62, 109, 110, 119, 120, 122, 123, 143, 151, 158)),
    # What was tried, mended or decided; another error says why, if there is one.
    "information": frozenset((106, 107, 121, 154, 162)),
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


def pattern(kind: str) -> str:
    """Return a regular expression for lines with an error of a class; a later error may name the one that caused it.

    Those that are not fatal are left out, as by count().
    """
    numbers = "|".join(map(str, sorted(_CLASSES[kind])))
    return rf"(?:Xid \([^)]*\): |caused by previous Xid )(?:{numbers})\b(?!, \S+ Nonfatal)"


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

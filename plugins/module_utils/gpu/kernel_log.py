"""What the kernel log says about cards that the driver could not start."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from . import problems
from .model import Problem
from .text import pci_address

# The log's ring holds a few thousand records; a busy writer must not keep us reading.
_MAX_RECORDS = 50_000
_RECORD_BYTES = 8192
_RELEVANT = re.compile(r"nvrm|nvidia|nouveau|\bxid\b|module", re.IGNORECASE)
# What syslog, dmesg and /dev/kmsg put before a message.
_STAMP = re.compile(r"^(?:\S.*?\skernel:\s)?\s*(?:\[[^\]]*\]\s*|\d+,\d+,\d+,[^;]*;)?")

# The most decisive first: a card that failed to start for a named reason also logs the general failure.
_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        ("version_mismatch", r"NVRM: API mismatch"),
        ("open_module_required", r"requires use of (?:the )?NVIDIA open kernel modules"),
        (
            "unsupported_card",
            r"is not supported by (?:the NVIDIA|open nvidia)|is supported through the NVIDIA|"
            r"NVRM: No NVIDIA GPU found that is supported",
        ),
        ("nouveau_in_use", r"a driver such as:? .*nouveau|NVRM: nouveau, rivafb"),
        (
            "module_rejected",
            r"nvidia.*(?:key was rejected|required key not available)|"
            r"(?:key was rejected|required key not available).*nvidia|"
            r"unsigned module.*nvidia|nvidia.*unsigned module loading is restricted",
        ),
        ("taken_by_another_driver", r"another driver was loaded and|probe routine was not called"),
        ("memory_window_missing", r"PCI I/O region assigned to your NVIDIA device is invalid|BAR\d is 0M"),
        ("insufficient_power", r"does not have the necessary power cables|insufficiently powered"),
        ("gpu_lost", r"fallen off the bus|NVRM: GPU .* is lost|Xid \([^)]*\): 79\b"),
        ("firmware_timeout", r"Xid \([^)]*\): (?:119|120)\b|GSP.*timeout|timeout.*GSP"),
        ("init_failed", r"RmInitAdapter failed|rm_init_adapter failed|Cannot initialize GSP firmware"),
    )
)
_XID = re.compile(r"Xid \(PCI:(?P<address>[0-9a-f:.]+)\): (?P<number>\d+)", re.IGNORECASE)
_STATUS = re.compile(r"RmInitAdapter failed! \((?P<status>[^)]*)\)")
_CLIENT = re.compile(r"client has the version\s+(?P<version>[\d.]*\d)")
_KERNEL = re.compile(r"kernel module has the version\s+(?P<version>[\d.]*\d)")


@dataclass(frozen=True)
class Finding:
    """One sign of trouble: a problem's code, the card (None when the line names none), and the line."""

    code: str
    address: str | None
    line: str


@dataclass(frozen=True)
class Xid:
    """An error that a card reported; the numbers are NVIDIA's Xid catalogue's."""

    address: str | None
    number: int


def _messages(text: str) -> list[str]:
    """Return the messages without time stamps, a continuation joined to the line that it continues."""
    messages: list[str] = []
    for line in textwrap.dedent(text).splitlines():
        stamped = _STAMP.match(line)
        message = line[stamped.end() if stamped else 0 :].strip()
        is_continuation = bool(stamped and not stamped[0].strip()) and line.startswith((" ", "\t"))
        # The driver prints one sentence as several «NVRM:» lines.
        continues = re.match(r"NVRM:\s+(?:installed in this|this kernel module|make sure|components)", message)
        if messages and (is_continuation or continues):
            messages[-1] += f" {re.sub(r'^NVRM:', '', message).strip()}"
        elif message:
            messages.append(message)
    return messages


def parse(text: str) -> tuple[Finding, ...]:
    """Return the signs of trouble in kernel log text (dmesg, journalctl -k or /dev/kmsg), in its order."""
    return tuple(
        Finding(code, pci_address(message), message)
        for message in _messages(text)
        for code, pattern in _SIGNS
        if pattern.search(message)
    )


def parse_xids(text: str) -> tuple[Xid, ...]:
    """Return the Xid errors in kernel log text, in its order."""
    return tuple(
        Xid(pci_address(match["address"]), int(match["number"]))
        for message in _messages(text)
        for match in [_XID.search(message)]
        if match
    )


def explain(
    text: str, address: str | None = None, *, kernel: str | None = None, needs_open_module: bool = False
) -> Problem | None:
    """Return the most decisive problem in kernel log text, or None.

    With `address` only what is said about that card, or about none in particular, counts. `needs_open_module` says
    that a card of the host is of a generation that the loaded (proprietary) module cannot start.
    """
    order = [sign[0] for sign in _SIGNS]
    findings = [finding for finding in parse(text) if not address or finding.address in (address, None)]
    if not findings:
        return None
    # of equals the last said counts
    best = min(reversed(findings), key=lambda finding: order.index(finding.code))
    code = "open_module_required" if best.code == "init_failed" and needs_open_module else best.code
    where = best.address or next((finding.address for finding in findings if finding.address), address)
    status = _STATUS.search(" ".join(finding.line for finding in findings)) if code == "init_failed" else None
    client, module = _CLIENT.search(best.line), _KERNEL.search(best.line)
    return problems.make(
        code,
        where=where,
        remark=f"status {status['status']}" if status else None,
        kernel=module["version"] if module else kernel or "of unknown version",
        library=client["version"] if client else "of another version",
    )


def read(root: Path) -> str:
    """Return the kernel log's lines about drivers, empty when it may not be read."""
    lines = []
    try:
        log = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        for _record in range(_MAX_RECORDS):
            try:
                record = os.read(log, _RECORD_BYTES)
            except BrokenPipeError:  # that record was overwritten meanwhile
                continue
            if not record:
                break
            lines.append(record.decode(errors="replace"))
    except OSError:  # EAGAIN: the end of the log
        pass
    finally:
        os.close(log)
    return "\n".join(line for line in "".join(lines).splitlines() if _RELEVANT.search(line))

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on a file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .errors import DiskFullError

GIB = 1024**3
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# For manifests, directories and what the file system keeps for itself.
MARGIN_BYTES = 64 * 1024**2


def free_bytes(path: Path) -> int:
    """Count the bytes that may still be written below a path, which need not exist yet."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    status = os.statvfs(existing)
    return status.f_bavail * status.f_frsize


def require_space(path: Path, needed_bytes: int) -> None:
    """Refuse what will not fit; raises DiskFullError with the sum that is missing."""
    if not needed_bytes:
        return
    available_bytes = free_bytes(path)
    missing_bytes = needed_bytes + MARGIN_BYTES - available_bytes
    if missing_bytes > 0:
        raise DiskFullError(
            f"{human(needed_bytes)} are still to be fetched to {path}, {human(MARGIN_BYTES)} have to stay free, and its"
            f" file system has {human(available_bytes)} free: {human(missing_bytes)} are missing. Free that much, or"
            " choose a file system with more room by the option root (models_root of the role)."
        )


def human(count_bytes: float) -> str:
    """Write a number of bytes for people."""
    return f"{count_bytes / GIB:.1f} GiB" if count_bytes >= GIB else f"{count_bytes / 1024**2:.1f} MiB"

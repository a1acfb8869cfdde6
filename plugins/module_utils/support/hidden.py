# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that the collection's services may not look into."""

from __future__ import annotations

from pathlib import Path

HIDDEN_FOLDERS = ("home", "root", "run/user")  # by ProtectHome=yes, see systemd.exec(5)


def is_hidden(path: Path, root: Path = Path("/")) -> bool:
    """Whether services may not look there."""
    return any(root / folder in (path, *path.parents) for folder in HIDDEN_FOLDERS)

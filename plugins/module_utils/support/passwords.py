# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords in URLs, which end where everybody reads them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def has_password(url: str) -> bool:
    """Tell whether a URL holds a password. Raises ValueError for what is no URL."""
    return bool(urlsplit(url).password)


def environment_problems(environment: Mapping[str, object], variable: str) -> list[str]:
    """Return a sentence for each URL with a password in a task's environment: Ansible puts that into a command line."""
    return [
        f"{variable}: {name} holds a password, which every user of the host would read in the list of processes: put it"
        " into /root/.netrc there, which uv reads, or name an index or a proxy that asks for none"
        for name, value in environment.items()
        if _seems_to_have_password(str(value))
    ]


def _seems_to_have_password(value: str) -> bool:
    try:
        return "://" in value and has_password(value)
    except ValueError:
        return False

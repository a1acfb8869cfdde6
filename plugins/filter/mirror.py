# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the site's mirrors of the Hub are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

GROUP = "mirror"
DEFAULT_PORT = 8090


def mirror_urls(
    setting: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Name the mirrors."""
    if setting == "none":
        return []
    if setting == "auto":
        return [_url(host, hostvars[host]) for host in groups.get(GROUP, [])]
    if not setting.startswith(("http://", "https://")):
        raise AnsibleFilterError(f"models_mirror: expected auto, none or a URL, found {setting!r}")
    return [setting.rstrip("/")]


def _url(host: str, variables: Mapping[str, Any]) -> str:
    if variables.get("mirror_url"):
        return str(variables["mirror_url"]).rstrip("/")
    scheme = "https" if variables.get("mirror_tls_certificate") else "http"
    address = str(variables.get("ansible_host", host))
    if ":" in address:
        address = f"[{address}]"
    return f"{scheme}://{address}:{variables.get('mirror_port', DEFAULT_PORT)}"


class FilterModule:
    """The filter of the roles mirror and models."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name it."""
        return {"mirror_urls": mirror_urls}

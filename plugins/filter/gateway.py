# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's routes and key maps, from what the inventory says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.gateway.clients import maps
from ..module_utils.gateway.discover import routes
from ..module_utils.gateway.errors import GatewayError
from ..module_utils.gateway.routes import backends as grouped
from ..module_utils.gateway.settings import problems


def gateway_routes(
    gateway: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return what the inventory's engines serve, as the gateway reaches it."""
    try:
        return routes(gateway, groups, lambda host: hostvars[host])
    except GatewayError as error:
        raise AnsibleFilterError(str(error)) from error


def gateway_backends(routes: Sequence[Mapping[str, Any]], mixed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Group routes into one backend for each model; those named in mixed may be on both engines."""
    try:
        return [backend.as_dict() for backend in grouped(routes, mixed)]
    except GatewayError as error:
        raise AnsibleFilterError(str(error)) from error


def gateway_maps(clients: Sequence[Mapping[str, Any]], backends: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the text of each map file, for clients and the backends that gateway_backends returned."""
    try:
        return asdict(maps(clients, {backend["model"]: backend["name"] for backend in backends}))
    except GatewayError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of the gateway role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "gateway_backends": gateway_backends,
            "gateway_maps": gateway_maps,
            "gateway_problems": problems,
            "gateway_routes": gateway_routes,
        }

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds gathered GPU facts against an engine's requirements, without a round trip to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.module_utils.gpu.model import plain
from ansible_collections.llm.serving.plugins.module_utils.gpu.requirements import Requirements, check


def gpu_check(
    gpu: object,
    *,
    required: object = "auto",
    vllm_version: str | None = None,
    cuda_version: str | None = None,
    min_compute_capability: str | None = None,
    features: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the verdict on a host's GPU facts."""
    if not isinstance(gpu, Mapping) or "devices" not in gpu:
        raise AnsibleFilterError("gpu_check: expected ansible_facts.gpu, gathered by llm.serving.gpu_facts")
    chosen = {"min_compute_capability": str(min_compute_capability)} if min_compute_capability else {}
    try:
        wanted = Requirements(
            required=str(required).lower(),
            vllm_version=str(vllm_version) if vllm_version else None,
            cuda_version=str(cuda_version) if cuda_version else None,
            features=tuple(features),
            **chosen,
        )
    except ValueError as error:
        raise AnsibleFilterError(f"gpu_check: {error}") from error
    verdict: dict[str, Any] = plain(check(gpu, wanted))
    return verdict


class FilterModule:
    """The collection's GPU filters."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"gpu_check": gpu_check}

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

DOCUMENTATION = r"""
name: gpu_check
version_added: 0.1.0
short_description: Hold GPU facts against what an engine needs
description:
  - Compares C(ansible_facts.gpu) with the driver, CUDA and compute capability that an engine's wheel needs.
  - Tells everything that is wrong at once. Nothing is asked of the host.
positional: _input
options:
  _input:
    description: What M(llm.serving.gpu_facts) returned as C(ansible_facts.gpu).
    type: dict
    required: true
  required:
    description:
      - V(true) refuses a host without a usable GPU, V(auto) one with a GPU that cannot be used, V(false) none.
    type: str
    default: auto
    choices: [auto, "true", "false"]
  vllm_version:
    description: The vLLM version whose wheel is to be installed; tells the CUDA version that it is built with.
    type: str
  cuda_version:
    description: The CUDA version of the build that is to be installed; wins over O(vllm_version)'s.
    type: str
  min_compute_capability:
    description: The lowest compute capability to accept.
    type: str
    default: "7.5"
  features:
    description: Number formats that every card must have, V(bfloat16) or V(fp8).
    type: list
    elements: str
    default: []
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Refuse a host whose driver is too old for the wheel
  ansible.builtin.assert:
    that: verdict.failures == []
    fail_msg: "{{ verdict.failures | join('\n') }}"
  vars:
    verdict: "{{ ansible_facts.gpu | llm.serving.gpu_check(vllm_version='0.33.0') }}"
"""

RETURN = r"""
_value:
  description: The verdict.
  type: dict
  contains:
    summary:
      description: The host's GPUs in one line.
      type: str
    failures:
      description: What is wrong, one text each; empty when all is well.
      type: list
      elements: str
    warnings:
      description: What is worth knowing.
      type: list
      elements: str
    cuda_version:
      description: The CUDA version that was checked for, V(null) when none was named.
      type: str
"""


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

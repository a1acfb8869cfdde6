# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which engine suits a wished model on a host, without a round trip to the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.module_utils.engines.choice import choose, host_from_facts, wish_from

DOCUMENTATION = r"""
name: engine_choice
version_added: 0.1.0
short_description: Say which engine suits a model on a host, and why
description:
  - Decides between Ollama and vLLM by the collection's table of rules (docs/choosing-an-engine.md).
positional: _input
options:
  _input:
    description:
      - The wish, a dictionary with C(name) and whatever is known of C(parameters), C(weights_bytes), C(format),
        C(concurrency), C(latency_sensitive), C(goal), C(effort) and C(switches_models).
    type: dict
    required: true
  gpu:
    description: What M(llm.serving.gpu_facts) returned as C(ansible_facts.gpu).
    type: dict
    required: true
  is_edge:
    description: Whether the host is an edge device.
    type: bool
    default: false
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Say which engine suits
  ansible.builtin.debug:
    msg: "{{ {'name': 'qwen32b', 'concurrency': 24} | llm.serving.engine_choice(ansible_facts.gpu) }}"
"""

RETURN = r"""
_value:
  description: The choice.
  type: dict
  contains:
    model:
      description: Name of the wish.
      type: str
    engine:
      description: V(ollama) or V(vllm); null when both are ruled out.
      type: str
    reasons:
      description: Every rule that applies, the decisive ones first.
      type: list
      elements: str
    weights:
      description: What spoke for each engine, added up.
      type: dict
"""


def engine_choice(wish: object, gpu: object, *, is_edge: bool = False) -> dict[str, Any]:
    """Return the choice for a wish."""
    if not isinstance(wish, Mapping) or not isinstance(gpu, Mapping):
        raise AnsibleFilterError("engine_choice: expected a wish and ansible_facts.gpu, both dictionaries")
    try:
        return choose(host_from_facts(gpu, is_edge), wish_from(wish)).as_dict()
    except ValueError as error:
        raise AnsibleFilterError(f"engine_choice: {error}") from error


class FilterModule:
    """The collection's filter for choosing engines."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"engine_choice": engine_choice}

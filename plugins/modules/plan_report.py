#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: plan_report
version_added: 0.1.0
short_description: Plan models for many hosts, and show why on a page
description:
  - Plans every model of every host on the control node, from facts that were gathered before, and returns a report.
  - Writes one self-contained HTML page with memory bars, concurrency against context length, alternatives and formulas.
  - Hosts that are alike are planned once. Models that no host has are read from the Hub, each once, by range requests.
  - It touches no managed host. The playbook C(llm.serving.plan) shows its use.
options:
  hosts:
    description:
      - One dictionary per host with C(name), C(gpu) (what M(llm.serving.gpu_facts) returned), C(memory_total_bytes),
        C(memory_available_bytes), C(cpu_count), C(numa_nodes) and, by engine, C(vllm) (C(version), C(wishes),
        C(sources), C(found), C(running), C(reserved_bytes)) and C(ollama) (what M(llm.serving.ollama_plan) returned).
    type: list
    elements: dict
    default: []
  unreached:
    description: Hosts to name as not looked at.
    type: list
    elements: str
    default: []
  imagined:
    description:
      - Plan for GPUs that are only thought of, by the variables C(gpu), C(model) and wishes of the command line.
    type: bool
    default: false
  path:
    description: Where to write the page. Without it there is none.
    type: str
    default: ""
  endpoint:
    description: The Hub, or a mirror.
    type: str
    default: https://huggingface.co
  token:
    description: Token for repositories that are not public. It is sent to the Hub only.
    type: str
    default: ""
  vllm_version:
    description: The release to plan for with O(imagined).
    type: str
    default: 0.33.0
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The page is written in check mode too, as it is the answer.
  diff_mode:
    support: none
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Plan for GPUs that are only thought of
  llm.serving.plan_report:
    imagined: true
    path: ./plan.html
"""

RETURN = r"""
report:
  description: The plans for a terminal.
  returned: success
  type: str
path:
  description: Where the page is.
  returned: when a page was asked for
  type: str
refused:
  description: Names of models that do not fit.
  returned: success
  type: list
  elements: str
seconds:
  description: How long planning took.
  returned: success
  type: float
"""

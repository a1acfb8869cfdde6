#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: status_report
version_added: 0.1.0
short_description: Print what runs on a fleet, and what differs from its inventory
description:
  - Prints the rows that the roles C(vllm) and C(ollama) have gathered, as a table or as JSON. It runs on the control
    node; the playbook C(llm.serving.status) shows its use.
options:
  states:
    description: The rows.
    type: list
    elements: dict
    required: true
  format:
    description: How to print them.
    type: str
    choices: [text, json]
    default: text
  path:
    description: File of the control node to write the rows to, as JSON. Without it there is none.
    type: str
    default: ""
  fail_on_drift:
    description: Whether to fail when anything differs.
    type: bool
    default: false
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The file is written in check mode too, as it is the answer.
  diff_mode:
    support: none
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Report
  llm.serving.status_report:
    states: "{{ states }}"
    fail_on_drift: true
"""

RETURN = r"""
states:
  description: The rows.
  returned: always
  type: list
  elements: dict
differing:
  description: How many of them differ from the inventory.
  returned: always
  type: int
"""

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: refuse
version_added: 0.1.0
short_description: End a host's run with everything that speaks against it
description:
  - Fails when there are problems, and names all of them. Otherwise tells the notes.
  - Does what M(ansible.builtin.assert) would, but evaluates what it is given only once.
  - It touches no managed host.
options:
  problems:
    description: Sentences that say what is wrong. Where there are none, the task succeeds.
    type: list
    elements: str
    required: true
  heading:
    description: What to say before the problems.
    type: str
    default: ""
  notes:
    description: What to tell when there are no problems.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.control_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Refuse what cannot work
  llm.serving.refuse:
    heading: Nothing was changed.
    problems: "{{ vllm_models | llm.serving.vllm_problems }}"
"""

RETURN = r"""
msg:
  description: The problems, or the notes.
  returned: when there are any
  type: str
"""

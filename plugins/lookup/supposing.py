# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables would be if others were different.

`ansible.builtin.template` could say it, too, and copies all variables first, which takes longer than the rest.
"""

from __future__ import annotations

DOCUMENTATION = """
name: supposing
version_added: 0.1.0
short_description: Say what variables would be, supposing that others had other values
description:
  - Evaluates variables anew, and everything that they refer to, with other values for some of the variables.
options:
  _terms:
    description: Names of variables.
    type: list
    elements: str
    required: true
notes:
  - Every keyword is the name of a variable, with the value to suppose for it.
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = """
- name: Show what a host would be sent
  ansible.builtin.debug:
    msg: "{{ lookup('llm.serving.supposing', 'greeting', name='world') }}"
  vars:
    name: you
    greeting: "Hello, {{ name }}."
"""

RETURN = """
_raw:
  description: The values, in the order of the names.
  type: list
  elements: raw
"""

from typing import Any

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Evaluate variables with other values for some."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[Any]:
        """Return the values."""
        templar = self._templar.copy_with_new_env(available_variables={**variables, **kwargs})
        return [templar.resolve_variable_expression(name) for name in terms]

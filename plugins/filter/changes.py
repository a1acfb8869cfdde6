# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changing hosts one after another works out on the control node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: failure_text
version_added: 0.1.0
short_description: Say why a task failed
description:
  - Returns what a module said, of a loop what it said about each item that failed, with the last lines of a journal
    where the module returned some.
positional: _input
options:
  _input:
    description: The result, such as C(ansible_failed_result).
    type: dict
    required: true
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Say what failed
  ansible.builtin.debug:
    msg: "{{ ansible_failed_result | llm.serving.failure_text }}"
"""

RETURN = r"""
_value:
  description: Why it failed.
  type: str
"""

JOURNAL_LINES = 10


def failure_text(result: Mapping[str, Any]) -> str:
    """Return why a task failed."""
    items = [item for item in result.get("results") or [] if item.get("failed")]
    texts = [text for text in (failure_text(item) for item in items) if text]
    if texts:
        return "\n".join(texts)
    lines = [str(line) for line in result.get("journal") or []][-JOURNAL_LINES:]
    return "\n".join([str(result.get("msg", "the task said nothing")), *lines])


def hosts_to_change(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the hosts whose registered result of this name says that something is pending."""
    return [host for host in hosts if host in hostvars and _is_pending(hostvars[host].get(name))]


def _is_pending(result: Any) -> bool:
    return isinstance(result, Mapping) and bool(result.get("pending"))


class FilterModule:
    """The filters of changes."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"failure_text": failure_text, "hosts_to_change": hosts_to_change}

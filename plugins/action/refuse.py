# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a host's run with everything that speaks against it.

An action of our own and no `assert`: that one evaluates the problems three times (its condition and both of its
messages), and working them out is most of what a run without changes costs on the control node.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

OPTIONS = {
    "problems": {"type": "list", "elements": "str", "required": True},
    "heading": {"type": "str", "default": ""},
    "notes": {"type": "list", "elements": "str", "default": []},
    "report": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):
    """Fail with the problems, or tell the notes and the lines of a report."""

    TRANSFERS_FILES = False
    _requires_connection = False
    supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failure where there are problems."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(OPTIONS)[1]
        result["changed"] = False
        if options["problems"]:
            return result | {"failed": True, "msg": _listed(options["heading"], options["problems"])}
        told = [_listed("", options["notes"])] if options["notes"] else []
        if told or options["report"]:
            result |= {"msg": "\n".join([*told, *options["report"]]), "_ansible_verbose_always": True}
        return result


def _listed(heading: str, lines: list[str]) -> str:
    """Return the lines below a heading; a single line without one stands for itself."""
    if not heading and len(lines) == 1:
        return lines[0]
    return "\n".join([*([heading] if heading else []), *(f"- {line}" for line in lines)])

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the state of a fleet as it is, which a task's result would not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.llm.serving.plugins.module_utils.changes.states import render

OPTIONS = {
    "states": {"type": "list", "elements": "dict", "required": True},
    "format": {"type": "str", "choices": ["text", "json"], "default": "text"},
    "path": {"type": "str", "default": ""},
    "fail_on_drift": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Print, write, and fail if asked to."""

    supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the rows and how many of them differ."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(OPTIONS)[1]
        states = options["states"]
        text = json.dumps(states, indent=2, ensure_ascii=False)
        Display().display(text if options["format"] == "json" else render(states))
        if options["path"]:
            Path(options["path"]).expanduser().write_text(text + "\n", encoding="utf-8")
        differing = [f"{state['host']} {state['instance']}" for state in states if state["differences"]]
        if options["fail_on_drift"] and differing:
            result.update(failed=True, msg=f"these differ from the inventory: {', '.join(differing)}")
        return {**result, "changed": False, "states": states, "differing": len(differing)}

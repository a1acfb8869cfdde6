# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name, names the host as the inventory does, and goes on printing new lines.

A module returns once; a person who follows a log wants each line when it comes. So this asks for what is new,
again and again, and prints it.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.llm.serving.plugins.module_utils.status.report import render

MODULE = "llm.serving.serving_status"
# A full disk or a busy journal passes; what goes on failing is said rather than hidden behind silence.
MOST_FAILURES = 10
display = Display()


class ActionModule(ActionBase):
    """Look once, and follow if asked to."""

    supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; print and repeat with `follow`."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        result.update(self._execute_module(module_name=MODULE, module_args=self._task.args, task_vars=variables))
        if result.get("failed"):
            return result
        host = variables.get("inventory_hostname", "")
        result["report"] = render(host, result)
        options = result.get("invocation", {}).get("module_args", {})
        if options.get("follow"):
            display.display(result["report"])
            lost = self._follow(host, result, options, variables)
            if lost:
                return {**result, "failed": True, "msg": f"{host} is not followed any more: {lost}"}
        return result

    def _follow(self, host: str, result: dict[str, Any], options: dict[str, Any], variables: dict[str, Any]) -> str:
        """Print until the time is up; return why it ended before, or nothing."""
        cursors = {unit["name"]: unit["cursor"] for unit in result["units"] if unit["cursor"]}
        started, failures = time.monotonic(), 0
        while not options["follow_seconds"] or time.monotonic() - started < options["follow_seconds"]:
            time.sleep(options["interval_seconds"])
            arguments = {**self._task.args, "after": cursors or {"": ""}}
            news = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
            failures = failures + 1 if news.get("failed") else 0
            if failures == 1:
                display.warning(f"{host} cannot be looked at: {news.get('msg', 'it said nothing')}")
            if failures == MOST_FAILURES:
                return str(news.get("msg", "it said nothing"))
            for unit in news.get("units", []):
                cursors[unit["name"]] = unit["cursor"]
                for line in unit["log"]:
                    display.display(f"{host} | {unit['name']} | {line}")
        return ""

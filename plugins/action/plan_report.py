# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for all hosts at once, on the control node: one process, each model read once, one page for all.

An action and no module: the facts of a thousand hosts need not be packed, sent and unpacked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.llm.serving.plugins.module_utils.report import what_if
from ansible_collections.llm.serving.plugins.module_utils.report.fleet import imagined_group, plan_fleet
from ansible_collections.llm.serving.plugins.module_utils.report.page import render
from ansible_collections.llm.serving.plugins.module_utils.report.sources import ControlNode
from ansible_collections.llm.serving.plugins.module_utils.report.text import report
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.remote import RemoteHub

OPTIONS = {
    "hosts": {"type": "list", "elements": "dict", "default": []},
    "unreached": {"type": "list", "elements": "str", "default": []},
    "imagined": {"type": "bool", "default": False},
    "path": {"type": "str", "default": ""},
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "token": {"type": "str", "default": "", "no_log": True},
    "vllm_version": {"type": "str", "default": "0.33.0"},
}


class ActionModule(ActionBase):
    """Plan, tell, and write the page."""

    supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the report as text, and where the page is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(OPTIONS)[1]
        started = time.monotonic()
        hub = RemoteHub(options["endpoint"], options["token"])
        source = ControlNode(hub, reads_directories=options["imagined"])
        try:
            if options["imagined"]:
                asked = what_if.parse(extra_variables())
                groups = [
                    imagined_group(gpus, asked.wishes, options["vllm_version"], source, asked.circumstances)
                    for gpus in asked.gpus
                ]
            else:
                groups = plan_fleet(options["hosts"], source)
        except SizingError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(
            changed=False,
            report=report(groups, options["unreached"]),
            refused=[outcome.name for group in groups for outcome in group.outcomes if outcome.refusal],
            seconds=round(time.monotonic() - started, 3),
        )
        if options["path"]:
            path = Path(options["path"]).expanduser()
            when = time.strftime("%Y-%m-%d %H:%M %Z")
            write(path, render(groups, options["unreached"], when))
            result["path"] = str(path.absolute())
        return result


def extra_variables() -> Mapping[str, Any]:
    """What was given by -e. Only there can a misspelt wish be told from a variable of the inventory."""
    return load_extra_vars(DataLoader()) if context.CLIARGS else {}


def write(path: Path, page: str) -> None:
    """Write the page, also in check mode: it is the answer, and no host is touched."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, "utf-8")
    except OSError as error:
        raise AnsibleActionFail(
            f"plan_report: the page cannot be written to {path}: {error.strerror}. Set plan_report to another path."
        ) from error

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name and tells it which run this is, and whether another of this control node is over."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "llm.serving.host_lock"


class ActionModule(ActionBase):
    """The controller's part of host_lock."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and once more when a lock is held by a run of this control node that is over."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        parent = multiprocessing.parent_process()  # tasks run in processes of their own
        identity = {
            "user": getpass.getuser(),
            "node": socket.gethostname(),
            "pid": (parent.pid if parent else None) or os.getpid(),
        }
        arguments = {**identity, **self._task.args}
        answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        holder = answer.get("holder") or {}
        if answer.get("failed") and holder.get("node") == identity["node"] and not is_running(holder["pid"]):
            arguments["over"] = holder["pid"]
            answer = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        if answer.get("taken_over"):
            Display().warning(f"taken over from a run that ended without giving its lock back: {answer['taken_over']}")
        return {**result, **answer}


def is_running(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs hf_model and meanwhile says how far it is.

The module writes that to a file; this reads it over a connection of its own, now and then. A run that is done before
the first time costs nothing more.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import ModelError
from ansible_collections.llm.serving.plugins.module_utils.hub.space import human
from ansible_collections.llm.serving.plugins.module_utils.hub.store import Home

DEFAULT_SECONDS = 15
DEFAULT_ROOT = "/srv/models"
LINES_PER_SECOND = 2  # of all hosts together


class ActionModule(ActionBase):
    """The controller's part of hf_model."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, watched when it may take long and somebody may be watching."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        path = self._progress_path()
        if path is None or self._task.async_val or self._task.check_mode:
            module = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            return {**result, **module}
        host = task_vars.get("inventory_hostname", "")
        crowd = len(task_vars.get("ansible_play_batch", [])) / LINES_PER_SECOND
        ended = threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(ended, host, path, max(self._seconds(), crowd)), daemon=True
        )
        started = time.monotonic()
        watcher.start()
        try:
            module = self._execute_module(task_vars=task_vars)
        finally:
            ended.set()
            watcher.join()
        seconds = time.monotonic() - started
        if module.get("downloaded_bytes") and seconds > self._seconds():
            Display().display(f"  {host}: {summary(module, seconds)}")
        return {**result, **module}

    def _seconds(self) -> float:
        return float(self._task.args.get("progress_seconds", DEFAULT_SECONDS))

    def _progress_path(self) -> str | None:
        """Where the module says how far it is; None when nobody wants to know."""
        arguments = self._task.args
        repo = arguments.get("repo") or arguments.get("repo_id") or arguments.get("model")
        if not repo or self._seconds() <= 0 or os.environ.get("CI"):
            return None
        try:
            return str(Home(Path(arguments.get("root") or DEFAULT_ROOT), str(repo)).progress_file())
        except ModelError:
            return None  # the module says what is wrong with the name

    def _watch(self, ended: threading.Event, host: str, path: str, seconds: float) -> None:
        # The module occupies this task's connection.
        connection = copy.copy(self._connection)
        before = None
        while not ended.wait(seconds):
            try:
                code, output, _error = connection.exec_command(f"cat {shlex.quote(path)}", in_data=None, sudoable=False)
                told = json.loads(output) if code == 0 else None
            except Exception as error:
                # Watching must never end what is watched.
                Display().vvv(f"progress of {host}: {error}")
                continue
            if told and not ended.is_set():
                Display().display(f"  {host}: {line(told, before)}")
                before = told


def line(told: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    """Put a progress file into words. The rate is that since the last look: what was there before came at another."""
    done, total = told["bytes_done"], told["bytes_total"]
    since = before if before and before["phase"] == told["phase"] else {"seconds": 0, "bytes_done": 0}
    seconds = told["seconds"] - since["seconds"]
    rate = max(0, done - since["bytes_done"]) / seconds if seconds > 0 else 0
    words = [
        f"{told['phase']} {told['repo']}",
        f"{told['files_done']} of {told['files_total']} files",
        f"{human(done)} of {human(total)}",
    ]
    if rate:
        words += [f"{human(rate)}/s", f"{duration((total - done) / rate)} left"]
    return ", ".join(words)


def summary(module: dict[str, Any], seconds: float) -> str:
    """Say what a fetch came to."""
    size = module["downloaded_bytes"]
    return (
        f"{module['repo']} is there: {human(size)} in {len(module['fetched'])} files fetched and verified in"
        f" {duration(seconds)}, {human(size / seconds)}/s"
    )


def duration(seconds: float) -> str:
    """Write seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

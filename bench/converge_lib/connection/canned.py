# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for a host: gives every module the result that it had on a real one, at once."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: canned
short_description: Answer for modules what they answered before
description: Reads the file that the variable CANNED_RESULTS of the environment names.
author: The llm.serving maintainers (@llm-serving)
options: {}
"""

MODULE = re.compile(rb"module_fqn='[\w.]*?(\w+)'")


class Connection(ConnectionBase):
    """A host that needs no time and no network."""

    transport = "canned"
    has_pipelining = True
    always_pipeline_modules = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Answer for the module in in_data."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        found = MODULE.search(in_data or b"")
        if not found:
            return 1, b"", f"nothing is known of: {cmd}".encode()
        results: dict[str, Any] = json.loads(Path(os.environ["CANNED_RESULTS"]).read_text("utf-8"))
        return 0, json.dumps(results[found[1].decode()]).encode(), b""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Nothing is kept."""

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """There is nothing to fetch."""

    def close(self) -> None:
        """There is nothing to end."""
        self._connected = False

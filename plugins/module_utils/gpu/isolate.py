"""Calling a vendor's library in a child process: it may hang in the kernel, crash, or print."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any


class ChildTimeoutError(Exception):
    """The call did not return in time."""


class ChildCrashError(Exception):
    """The child died; the message names the signal or the exit status."""


def _read_until(deadline: float, reader: int) -> bytes:
    data = b""
    while True:
        ready = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            raise ChildTimeoutError
        chunk = os.read(reader, 65536)
        if not chunk:
            return data
        data += chunk


def _child(function: Callable[[], Any], writer: int) -> None:
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # what the library prints must not mix with the module's own output
        os.dup2(null, 2)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(function()).encode())
        status = 0
    finally:
        os._exit(status)


def call(function: Callable[[], Any], timeout_seconds: float) -> Any:
    """Return what `function` returns (plain JSON values), computed in a child process.

    Raises ChildTimeoutError and ChildCrashError. A child stuck in the kernel is killed but not waited for.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(function, writer)
    os.close(writer)
    try:
        data = _read_until(time.monotonic() + timeout_seconds, reader)
    except ChildTimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)
        raise
    finally:
        os.close(reader)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        raise ChildCrashError(signal.Signals(os.WTERMSIG(status)).name)
    if os.WEXITSTATUS(status) != 0:
        raise ChildCrashError(f"exit status {os.WEXITSTATUS(status)}")
    return json.loads(data)

"""Running a GPU tool that may hang in the kernel."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Where the tools are when a non-login shell's PATH does not say: WSL, ROCm, sbin.
_MORE_PATHS = ("/usr/sbin", "/sbin", "/usr/local/bin", "/opt/rocm/bin", "/usr/lib/wsl/lib")


@dataclass(frozen=True)
class Completed:
    """A finished command; `returncode` is None when it did not answer in time."""

    returncode: int | None
    stdout: str
    stderr: str


Run = Callable[[Sequence[str], float], Completed]


def find(name: str) -> str | None:
    """Return the path of a tool, None when it is not installed."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join((path, *_MORE_PATHS)))


def run(argv: Sequence[str], timeout_seconds: float) -> Completed:
    """Run a command; never wait longer than the timeout, even for a process stuck in the driver.

    `subprocess.run` would wait for the killed process, which stays while the kernel holds it.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
    except FileNotFoundError as error:
        return Completed(127, "", str(error))
    except OSError as error:
        return Completed(126, "", str(error))
    try:
        stdout, stderr = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return Completed(None, "", "")
    return Completed(process.returncode, stdout, stderr)

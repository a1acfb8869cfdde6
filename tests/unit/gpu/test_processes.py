"""Child processes that hang, crash and print."""

from __future__ import annotations

import os
import signal
import time

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import command, isolate


def test_value_comes_back() -> None:
    assert isolate.call(lambda: {"a": [1, None, "x" * 200_000]}, 5) == {"a": [1, None, "x" * 200_000]}


def test_child_that_hangs_is_given_up() -> None:
    started = time.monotonic()
    with pytest.raises(isolate.ChildTimeoutError):
        isolate.call(lambda: time.sleep(30), 0.2)
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("quiet_crash")
def test_child_that_crashes_is_named() -> None:
    with pytest.raises(isolate.ChildCrashError, match="SIGSEGV"):
        isolate.call(lambda: os.kill(os.getpid(), signal.SIGSEGV), 5)


def test_child_that_raises() -> None:
    with pytest.raises(isolate.ChildCrashError, match="exit status 1"):
        isolate.call(lambda: 1 / 0, 5)


def test_child_cannot_print(capfd: pytest.CaptureFixture[str]) -> None:
    isolate.call(lambda: os.write(1, b"noise") and os.write(2, b"noise"), 5)
    assert capfd.readouterr() == ("", "")


def test_command_output() -> None:
    completed = command.run(["sh", "-c", "echo out; echo err >&2; exit 7"], 5)
    assert (completed.returncode, completed.stdout, completed.stderr) == (7, "out\n", "err\n")


def test_command_that_hangs() -> None:
    started = time.monotonic()
    assert command.run(["sleep", "30"], 0.2).returncode is None
    assert time.monotonic() - started < 20


def test_missing_command() -> None:
    assert command.run(["/nonexistent/tool"], 5).returncode == 127
    assert command.find("no-such-tool-anywhere") is None

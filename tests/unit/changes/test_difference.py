"""What is not as it should be, and processes that run with what is not in force any more."""

from __future__ import annotations

import dataclasses
import getpass
import os
import time
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.changes.difference import Setup, is_stale


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "folder").mkdir()
    (tmp_path / "unit").write_text("[Service]\n")
    (tmp_path / "unit").chmod(0o644)
    (tmp_path / "link").symlink_to("1.0")
    return Setup(
        user=getpass.getuser(),
        groups=(),
        folders=(tmp_path / "folder",),
        files={tmp_path / "unit": "[Service]\n"},
        modes={tmp_path / "unit": 0o644},
        links={tmp_path / "link": "1.0"},
    )


def test_nothing_differs_from_itself(setup: Setup) -> None:
    assert setup.differences() == []


@pytest.mark.parametrize("what", ["unit", "mode", "link", "folder", "no file"])
def test_each_difference_is_named(setup: Setup, tmp_path: Path, what: str) -> None:
    if what == "unit":
        (tmp_path / "unit").write_text("[Service]\nNice=1\n")
    elif what == "mode":
        (tmp_path / "unit").chmod(0o600)
    elif what == "link":
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("2.0")
    elif what == "folder":
        (tmp_path / "folder").rmdir()
    else:
        (tmp_path / "unit").unlink()
    (sentence,) = setup.differences()
    assert str(tmp_path) in sentence


def test_a_user_that_is_missing_is_named(setup: Setup) -> None:
    (sentence,) = dataclasses.replace(setup, user="nobody-by-this-name").differences()
    assert sentence == "the user nobody-by-this-name is missing"


def test_a_process_is_stale_when_something_was_written_after_its_start(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\n")
    os.utime(file, (1, 1))
    assert not is_stale(os.getpid(), [file])
    os.utime(file, (time.time(), time.time()))
    proc = tmp_path / "proc"
    (proc / "7").mkdir(parents=True)
    (proc / "stat").write_text(f"cpu 1\nbtime {int(time.time()) - 1000}\n")
    (proc / "7" / "stat").write_text("7 (ollama) " + " ".join(["S", *["0"] * 18, "100", "0"]))
    assert is_stale(7, [file, tmp_path / "missing"], proc)
    assert not is_stale(8, [file], proc)
    assert not is_stale(7, [tmp_path / "missing"], proc)

"""A unit runs with what its files say, also after a run that ended before the restart."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.changes.unit import Unit, look

STARTED = 1_000.0
NOW = 2_000.0
RUNNING = Unit("a.service", True, True, True, False, STARTED, ())


def written(path: Path, seconds: float) -> Path:
    """Return a file that was written then."""
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def test_what_runs_with_its_files_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "old", STARTED - 1)
    assert replace(RUNNING, own_files=(file,)).wanted([file, tmp_path / "missing"], NOW) == []


@pytest.mark.parametrize("is_own", [True, False])
def test_what_was_written_after_the_start_is_taken_up(tmp_path: Path, is_own: bool) -> None:
    file = written(tmp_path / "new", STARTED + 1)
    unit = replace(RUNNING, own_files=(file,) if is_own else ())
    assert unit.wanted([] if is_own else [file], NOW) == ["daemon-reload", "restart"]


def test_a_file_of_the_future_says_nothing(tmp_path: Path) -> None:
    """The clock was put back: the file would restart the unit in every run until then."""
    assert RUNNING.wanted([written(tmp_path / "later", NOW + 1)], NOW) == []


@pytest.mark.parametrize(
    ("others", "due"),
    [
        ({"is_active": False}, ["start"]),
        ({"is_active": False, "is_enabled": False}, ["enable", "start"]),
        ({"is_enabled": False}, ["enable"]),
        ({"needs_reload": True}, ["daemon-reload"]),
    ],
)
def test_what_is_due(others: dict[str, bool], due: list[str], tmp_path: Path) -> None:
    file = written(tmp_path / "old", STARTED - 1)
    assert replace(RUNNING, **others).wanted([file], NOW) == due


def test_systemd_is_read(tmp_path: Path) -> None:
    entered_us = int((time.monotonic() - 5) * 1e6)
    drop_ins = f"{tmp_path}/one.conf {tmp_path}/two.conf"
    text = (
        f"LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nFragmentPath={tmp_path}/a\n"
        f"DropInPaths={drop_ins}\nActiveEnterTimestampMonotonic={entered_us}\n"
    )
    unit = look(lambda _words: (0, text, ""), "a.service")
    assert (unit.is_known, unit.is_active, unit.is_enabled, unit.needs_reload) == (True, True, True, False)
    assert unit.since_seconds == pytest.approx(time.time() - 5, abs=1)
    assert unit.own_files == (tmp_path / "a", tmp_path / "one.conf", tmp_path / "two.conf")


def test_a_unit_that_is_none_is_known_as_such() -> None:
    text = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nActiveEnterTimestampMonotonic=0\n"
    unit = look(lambda _words: (0, text, ""), "none.service")
    assert not unit.is_known
    assert unit.wanted([], NOW) == ["enable", "start"]
    with pytest.raises(OSError, match=r"systemctl show none\.service ended with 1: no bus"):
        look(lambda _words: (1, "", "no bus"), "none.service")

"""A unit runs with what its files say, also after a run that ended before the restart."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.changes.unit import due_actions, started_seconds
from ansible_collections.llm.serving.plugins.module_utils.engines.systemd import UnitState, unit_states

STARTED = 1_000.0
NOW = 2_000.0
RUNNING = UnitState("a.service", load="loaded", active="active", enabled="enabled")


def written(path: Path, seconds: float) -> Path:
    """Return a file that was written then."""
    path.touch()
    os.utime(path, (seconds, seconds))
    return path


def due(unit: UnitState, *files: Path) -> list[str]:
    """Return what is due for a unit that became active at STARTED."""
    return due_actions(unit, files, STARTED, NOW)


def test_what_runs_with_its_files_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "old", STARTED - 1)
    assert due(replace(RUNNING, files=(str(file),)), file, tmp_path / "missing") == []


@pytest.mark.parametrize("is_own", [True, False])
def test_what_was_written_after_the_start_is_taken_up(tmp_path: Path, is_own: bool) -> None:
    file = written(tmp_path / "new", STARTED + 1)
    unit = replace(RUNNING, files=(str(file),) if is_own else ())
    assert due(unit, *([] if is_own else [file])) == ["daemon-reload", "restart"]


def test_a_file_of_the_future_says_nothing(tmp_path: Path) -> None:
    """The clock was put back: the file would restart the unit in every run until then."""
    assert due(RUNNING, written(tmp_path / "later", NOW + 1)) == []


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"active": "inactive"}, ["start"]),
        ({"active": "inactive", "enabled": "disabled"}, ["enable", "start"]),
        ({"enabled": "disabled"}, ["enable"]),
        ({"needs_reload": True}, ["daemon-reload"]),
    ],
)
def test_what_is_due(others: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    file = written(tmp_path / "old", STARTED - 1)
    assert due(replace(RUNNING, **others), file) == expected


def test_systemd_is_read(tmp_path: Path) -> None:
    entered_us = int((time.monotonic() - 5) * 1e6)
    drop_ins = f"{tmp_path}/one.conf {tmp_path}/two.conf"
    text = (
        f"LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\nFragmentPath={tmp_path}/a\n"
        f"DropInPaths={drop_ins}\nActiveEnterTimestampMonotonic={entered_us}\n"
    )
    unit = unit_states(lambda _words: (0, text, ""), ["a.service"])["a.service"]
    assert (unit.load, unit.is_active, unit.enabled, unit.needs_reload) == ("loaded", True, "enabled", False)
    assert started_seconds(unit) == pytest.approx(time.time() - 5, abs=1)
    assert unit.files == tuple(str(tmp_path / name) for name in ("a", "one.conf", "two.conf"))


def test_a_unit_that_is_none_is_known_as_such() -> None:
    text = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nActiveEnterTimestampMonotonic=0\n"
    unit = unit_states(lambda _words: (0, text, ""), ["none.service"])["none.service"]
    assert unit.load == "not-found"
    assert started_seconds(unit) == 0
    assert due(unit) == ["enable", "start"]
    with pytest.raises(OSError, match="systemctl show ended with 1: no bus"):
        unit_states(lambda _words: (1, "", "no bus"), ["none.service"])

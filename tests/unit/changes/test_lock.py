"""Who may change a host, on a made-up /proc."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.changes.lock import (
    LEASE_SECONDS,
    LockedError,
    current_holder,
    hold,
    release,
    session_of,
)

SESSION = 500


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """This process came by an SSH session."""
    folder = tmp_path / "proc"
    for pid, comm, parent in ((os.getpid(), "python3", 600), (600, "sh", SESSION), (SESSION, "sshd-session", 1)):
        process(folder, pid, comm, parent)
    return folder


def process(proc: Path, pid: int, comm: str, parent: int, started: int = 77) -> None:
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "comm").write_text(f"{comm}\n")
    fields = " ".join(["S", str(parent), *["0"] * 17, str(started)])
    (proc / str(pid) / "stat").write_text(f"{pid} ({comm} (x)) {fields} 0\n")


def take(tmp_path: Path, proc: Path, who: tuple[str, str, int], now: float = 1000.0, over: int | None = None):
    return hold(*who, over=over, place=tmp_path / "run/lock", proc=proc, clock=lambda: now)


ANNA, BEN = ("anna", "control1", 11), ("ben", "control2", 22)


def test_the_session_is_the_connection_that_a_run_came_by(proc: Path) -> None:
    assert session_of(os.getpid(), proc) == SESSION


def test_a_second_run_is_told_who_holds_the_host(tmp_path: Path, proc: Path) -> None:
    assert take(tmp_path, proc, ANNA) is None
    with pytest.raises(LockedError, match=r"being changed by anna@control1, process 11, since 1970-01-01 00:16:40Z"):
        take(tmp_path, proc, BEN)


def test_a_run_may_hold_and_release_as_often_as_it_likes(tmp_path: Path, proc: Path) -> None:
    take(tmp_path, proc, ANNA, 1000)
    take(tmp_path, proc, ANNA, 2000)
    holder = current_holder(tmp_path / "run/lock")
    assert (holder.since, holder.renewed) == (1000, 2000)
    assert not release(*BEN, place=tmp_path / "run/lock")
    assert release(*ANNA, place=tmp_path / "run/lock")
    assert not release(*ANNA, place=tmp_path / "run/lock")
    assert take(tmp_path, proc, BEN) is None


def test_it_is_taken_over_when_the_session_is_gone_and_the_lease_is_over(tmp_path: Path, proc: Path) -> None:
    take(tmp_path, proc, ANNA, 1000)
    process(proc, SESSION, "sshd-session", 1, started=99)  # another one by the same number
    with pytest.raises(LockedError):
        take(tmp_path, proc, BEN, 1000 + LEASE_SECONDS - 1)
    former = take(tmp_path, proc, BEN, 1000 + LEASE_SECONDS)
    assert former.user == "anna"
    assert current_holder(tmp_path / "run/lock").user == "ben"


def test_a_live_session_keeps_it_for_as_long_as_it_takes(tmp_path: Path, proc: Path) -> None:
    take(tmp_path, proc, ANNA, 1000)
    with pytest.raises(LockedError):
        take(tmp_path, proc, BEN, 1000 + 100 * LEASE_SECONDS)


def test_a_clock_that_went_back_does_not_lock_for_ever(tmp_path: Path, proc: Path) -> None:
    take(tmp_path, proc, ANNA, 1e9)
    process(proc, SESSION, "sshd-session", 1, started=99)
    assert take(tmp_path, proc, BEN, 1000).user == "anna"


def test_a_control_node_knows_which_of_its_own_runs_are_over(tmp_path: Path, proc: Path) -> None:
    take(tmp_path, proc, ANNA)
    later = ("anna", "control1", 33)
    assert take(tmp_path, proc, later, over=11).pid == 11
    with pytest.raises(LockedError):
        take(tmp_path, proc, ("ben", "control2", 22), over=33)  # a process of another control node


@pytest.mark.parametrize("text", ["", "{", json.dumps({"user": "anna"})])
def test_what_says_nothing_holds_nothing(tmp_path: Path, proc: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").write_text(text)
    assert take(tmp_path, proc, BEN) is None
    assert current_holder(tmp_path / "run/lock").user == "ben"

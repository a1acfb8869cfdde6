"""Whatever ends a run, the next one goes on or takes it back, and the host is as it should be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.adopt import steps
from ansible_collections.llm.serving.plugins.module_utils.adopt.errors import AdoptError
from ansible_collections.llm.serving.plugins.module_utils.adopt.steps import Book, Owner, Step
from ansible_collections.llm.serving.plugins.module_utils.hub.digests import Digest

UID, GID = os.getuid(), os.getgid()
FILE, FOLDER = Owner(UID, GID, 0o644), Owner(UID, GID, 0o755)
STEPS = 8


class StoppedError(Exception):
    """The run was ended."""


class Systemd:
    """Remembers which units run, and ends the run at a chosen call."""

    def __init__(self) -> None:
        self.active = {"old.service"}
        self.enabled = {"old.service"}
        self.calls: list[list[str]] = []

    def __call__(self, words: Sequence[str]) -> tuple[int, str, str]:
        self.calls.append(list(words))
        verb, unit = words[1], words[-1]
        if verb == "disable":
            self.active.discard(unit)
            self.enabled.discard(unit)
        elif verb == "enable":
            self.enabled.add(unit)
        elif verb == "start":
            self.active.add(unit)
        elif verb == "is-active":
            return (0 if unit in self.active else 3), "", ""
        return 0, "", ""


def state(root: Path) -> dict[str, Any]:
    """Everything below a folder but the record: names, content, modes and links."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("record"):
            kind = "folder" if path.is_dir() else path.read_bytes()
            found[name] = (kind, path.stat().st_mode & 0o777, path.stat().st_ino)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for name, text in (("home/a", "weights"), ("home/b", "more"), ("etc/old.service", "unit"), ("stays/c", "c")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "home/a").chmod(0o600)
    (tmp_path / "stays/c").chmod(0o600)
    return tmp_path


def plan(host: Path) -> list[Step]:
    digest = Digest("sha256", sha256(b"weights").hexdigest())
    return [
        steps.make_folder(host / "srv", FOLDER),
        steps.make_folder(host / "srv/m", FOLDER),
        steps.place(host / "home/a", host / "srv/m/a", digest, FILE),
        steps.place(host / "home/b", host / "srv/m/b", None, FILE),
        steps.own(host / "stays/c", FILE),
        steps.write(host / "srv/m/manifest", {"files": [{"path": "a"}]}),
        steps.stop_unit("old.service", active=True, enabled=True),
        steps.put_away(host / "etc/old.service"),
    ]


def stopped_before(book: Book, number: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do an adoption's first steps only, as if the run was killed then."""
    done = []
    original = Book._do

    def limited(self: Book, step: Step, record: int) -> None:
        if len(done) == count:
            raise StoppedError
        done.append(step)
        original(self, step, record)

    with monkeypatch.context() as patch:
        patch.setattr(Book, "_do", limited)
        if count < STEPS:
            with pytest.raises(StoppedError):
                book.carry_out(number)
        else:
            book.carry_out(number)


def test_the_number_of_steps(host: Path) -> None:
    assert len(plan(host)) == STEPS


@pytest.mark.parametrize("count", range(STEPS + 1))
def test_a_run_that_ended_is_gone_on_with(host: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd()
    book = Book(host / "record", systemd)
    number = book.begin(plan(host), ["new.service"])
    stopped_before(book, number, count, monkeypatch)
    book.carry_out(number)
    assert book.unfinished() is None
    assert (host / "srv/m/a").samefile(host / "home/a")
    assert (host / "srv/m/a").stat().st_mode & 0o777 == 0o644
    assert not (host / "etc/old.service").exists()
    assert systemd.active == set()
    assert systemd.calls[-1] == ["systemctl", "daemon-reload"]


@pytest.mark.parametrize("count", range(STEPS + 1))
def test_it_can_be_taken_back_from_anywhere(host: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(host)
    units = {name: values for name, values in before.items() if name == "etc/old.service"}
    systemd = Systemd()
    book = Book(host / "record", systemd)
    number = book.begin(plan(host), ["new.service"])
    stopped_before(book, number, count, monkeypatch)
    systemd.active.add("new.service")
    assert book.undo(number) == []
    after = state(host)
    # The unit was copied away and back: the same but for its inode.
    assert {name: values for name, values in after.items() if name not in units} == {
        name: values for name, values in before.items() if name not in units
    }
    assert after["etc/old.service"][:2] == before["etc/old.service"][:2]
    assert systemd.active == systemd.enabled == {"old.service"}
    assert not (host / "record").exists()


def test_an_undo_that_ended_must_be_finished_first(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(host / "record", Systemd())
    number = book.begin(plan(host), [])
    book.carry_out(number)
    with monkeypatch.context() as patch:
        patch.setattr(Book, "_undo", lambda *_arguments: (_ for _ in ()).throw(StoppedError))
        with pytest.raises(StoppedError):
            book.undo(number)
    with pytest.raises(AdoptError, match="half undone"):
        book.unfinished()
    book.undo(number)
    assert not (host / "srv").exists()


def test_settling_removes_old_names_only(host: Path) -> None:
    book = Book(host / "record", Systemd())
    number = book.begin(plan(host), [])
    book.carry_out(number)
    assert book.settle(number) == 0
    assert (host / "srv/m/a").read_text() == "weights"
    assert not (host / "home").exists()
    assert (host / "stays/c").exists()
    assert book.numbers() == []


def test_a_file_of_somebody_else_is_not_overwritten(host: Path) -> None:
    book = Book(host / "record", Systemd())
    number = book.begin(plan(host), [])
    (host / "srv/m").mkdir(parents=True)
    (host / "srv/m/a").write_text("something else")
    with pytest.raises(AdoptError, match="found another file"):
        book.carry_out(number)
    book.undo(number)
    assert (host / "srv/m/a").read_text() == "something else"


def test_what_is_spoiled_is_found_before_anything(host: Path) -> None:
    todo = plan(host)
    assert steps.corrupt(todo) == []
    (host / "home/a").write_text("weightz")
    assert steps.corrupt(todo) == [host / "home/a"]


def test_a_unit_that_cannot_be_stopped_is_told(host: Path) -> None:
    class Stubborn(Systemd):
        def __call__(self, words: Sequence[str]) -> tuple[int, str, str]:
            return (1, "", "refused") if words[1] == "disable" else super().__call__(words)

    book = Book(host / "record", Stubborn())
    number = book.begin(plan(host), [])
    with pytest.raises(AdoptError, match=r"old\.service cannot be stopped: refused"):
        book.carry_out(number)


def test_another_file_system_is_copied_to(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    before = state(host / "home")
    monkeypatch.setattr(os, "link", refused)
    book = Book(host / "record", Systemd())
    number = book.begin(plan(host), [])
    book.carry_out(number)
    assert (host / "srv/m/a").read_text() == "weights"
    assert not (host / "srv/m/a").samefile(host / "home/a")
    book.undo(number)
    assert state(host / "home") == before
    assert not (host / "srv").exists()

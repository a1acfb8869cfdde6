"""Generations on a host below a temporary root, whose systemctl remembers what it was told."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.changes import generations
from ansible_collections.llm.serving.plugins.module_utils.changes.generations import GenerationError, Store
from ansible_collections.llm.serving.plugins.module_utils.changes.services import service
from ansible_collections.llm.serving.plugins.module_utils.engines.instances import HEADER

KEY = "sk-not-to-be-read"


class Host:
    """Files as the role vllm writes them, and units that run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        self.etc, self.engines = root / "etc/vllm", root / "opt/vllm"
        self.unit = root / "etc/systemd/system/vllm@.service"
        self.store = Store(service("vllm", root), root / "generations", self.run)
        (root / "srv/one").mkdir(parents=True)

    def run(self, command: Sequence[str]) -> tuple[int, str, str]:
        self.calls.append(list(command))
        return 0, "", ""

    def serve(self, engine: str, **instances: str) -> None:
        """Have these instances, each with its text, run by an engine."""
        for folder in (self.engines / engine, self.etc / ".started", self.unit.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.unit.write_text("[Service]\n")
        generations.point(self.engines / "current", engine)
        for old in [*self.etc.glob("*.*"), *(self.etc / ".started").iterdir()]:
            if old.is_file():
                old.unlink()
        for name, text in instances.items():
            (self.etc / f"{name}.yaml").write_text(f"{HEADER}model: {self.root}/srv/one\nport: {text}\n")
            environment = self.etc / f"{name}.env"
            environment.write_text(f"{HEADER}VLLM_API_KEY={KEY}\n")
            environment.chmod(0o600)
            (self.etc / ".started" / name).write_text(f"{engine} {text}")

    def restore(self, number: int | None = None) -> dict[str, str]:
        self.calls.clear()
        return self.store.restore(self.store.choose(number))

    def restarted(self) -> list[str]:
        return [unit for call in self.calls if call[1] == "restart" for unit in call[2:]]

    def port(self, name: str) -> str:
        return (self.etc / f"{name}.yaml").read_text().rpartition("port: ")[2].strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_is_recorded_once_is_not_recorded_again(host: Host) -> None:
    host.serve("1.0", a="1")
    assert host.store.current() is None
    assert not host.store.is_recorded()
    first = host.store.record(3)
    assert host.store.is_recorded()
    assert host.store.record(3) == first
    assert [item.number for item in host.store.all()] == [1]
    assert set(first.needs) == {str(host.engines / "1.0"), str(host.root / "srv/one")}


def test_going_back_restarts_only_what_was_started_with_something_else(host: Host) -> None:
    host.serve("1.0", a="1", b="2")
    host.store.record(3)
    host.serve("1.0", a="9", b="2")
    host.store.record(3)
    assert host.restore() == {"vllm@a.service": "restarted", "vllm@b.service": "unchanged"}
    assert host.restarted() == ["vllm@a.service"]
    assert (host.port("a"), host.port("b")) == ("1", "2")
    assert (host.etc / ".started/a").read_text() == "1.0 1"
    assert host.store.current().number == 1
    assert host.store.is_recorded()


def test_going_back_brings_removed_instances_back_and_removes_new_ones(host: Host) -> None:
    host.serve("1.0", a="1")
    host.store.record(3)
    host.serve("2.0", b="2")
    host.store.record(3)
    assert host.restore(1) == {"vllm@a.service": "started", "vllm@b.service": "removed"}
    assert sorted(path.name for path in host.etc.glob("[a-z]*.*")) == ["a.env", "a.yaml"]
    assert (host.engines / "current").readlink() == Path("1.0")
    assert ["systemctl", "disable", "--quiet", "--now", "vllm@b.service"] in host.calls
    assert host.restore(2) == {"vllm@b.service": "started", "vllm@a.service": "removed"}


@pytest.mark.parametrize("broken", ["config", "link", "stamp", "unit"])
def test_a_change_that_was_interrupted_anywhere_is_undone(host: Host, broken: str) -> None:
    host.serve("1.0", a="1")
    host.store.record(3)
    if broken == "config":
        (host.etc / "a.yaml").write_text(f"{HEADER}port: 7\n")
    elif broken == "link":
        generations.point(host.engines / "current", "2.0")
    elif broken == "stamp":
        (host.etc / ".started/a").write_text("another")
    else:
        host.unit.write_text("[Service]\nRestart=no\n")
    assert not host.store.is_recorded()
    actions = host.restore(1)
    assert host.store.is_recorded()
    assert actions == {"vllm@a.service": "restarted" if broken == "stamp" else "unchanged"}


def test_what_a_generation_needs_must_be_there_before_anything_is_touched(host: Host) -> None:
    host.serve("1.0", a="1")
    host.store.record(3)
    host.serve("2.0", a="2")
    host.store.record(3)
    (host.engines / "1.0").rmdir()
    with pytest.raises(GenerationError, match=r"generation 1 needs .*/opt/vllm/1\.0, which is not there any more"):
        host.restore()
    assert host.port("a") == "2"
    assert host.calls == []


def test_only_so_many_are_kept_and_never_the_current_one_forgotten(host: Host) -> None:
    for number in range(1, 6):
        host.serve("1.0", a=str(number))
        host.store.record(3)
    assert [item.number for item in host.store.all()] == [5, 4, 3]
    host.restore(3)
    host.store.record(1)
    assert [item.number for item in host.store.all()] == [3]
    host.serve("1.0", a="6")
    assert host.store.record(3).number == 4


def test_numbers_that_are_not_kept_are_refused_with_those_that_are(host: Host) -> None:
    with pytest.raises(GenerationError, match="nothing was recorded yet that vllm could go back to"):
        host.restore()
    host.serve("1.0", a="1")
    host.store.record(3)
    with pytest.raises(GenerationError, match="no generation is older than the current one, 1; kept are: 1"):
        host.restore()
    with pytest.raises(GenerationError, match=r"expected one of those kept \(1\), found 7"):
        host.restore(7)


def test_secrets_are_roots_alone_and_keep_their_mode(host: Host) -> None:
    host.serve("1.0", a="1")
    host.store.record(3)
    folder = host.store.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "1").iterdir()} == {0o600}
    assert KEY not in json.dumps(host.store.current().summary())
    (host.etc / "a.env").unlink()
    host.restore(1)
    assert stat.S_IMODE((host.etc / "a.env").stat().st_mode) == 0o600
    assert KEY in (host.etc / "a.env").read_text()


def test_half_a_generation_is_none(host: Host) -> None:
    host.serve("1.0", a="1")
    host.store.record(3)
    (host.store.folder / ".new-left").mkdir()
    (host.store.folder / "2").mkdir()
    (host.store.folder / "2" / "generation.json").write_text('{"number": 2')
    assert [item.number for item in host.store.all()] == [1]
    host.serve("1.0", a="2")
    assert host.store.record(3).number == 2
    assert not (host.store.folder / ".new-left").exists()


def test_ollama_is_always_restarted(tmp_path: Path) -> None:
    calls: list[list[str]] = []
    places = service("ollama", tmp_path)
    for folder in (tmp_path / "opt/ollama/0.1", places.config_dir, places.unit_file.parent):
        folder.mkdir(parents=True)
    generations.point(places.link, "0.1")
    places.unit_file.write_text("[Service]\n")
    (places.config_dir / "ollama.env").write_text("A=1\n")
    store = Store(places, tmp_path / "generations", lambda command: calls.append(list(command)) or (0, "", ""))
    store.record(3)
    (places.config_dir / "ollama.env").write_text("A=2\n")
    assert store.restore(store.choose(1)) == {"ollama.service": "restarted"}
    assert (places.config_dir / "ollama.env").read_text() == "A=1\n"
    assert ["systemctl", "restart", "ollama.service"] in calls

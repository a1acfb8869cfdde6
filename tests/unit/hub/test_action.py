from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.action import hf_model
from ansible_collections.llm.serving.plugins.module_utils.hub.progress import Progress


def test_progress_in_words() -> None:
    progress = Progress("acme/big")
    progress.begin("fetching", 13, 4 * 1024**3)
    progress.add_fetched(1024**3)
    told = {**progress.as_dict(), "seconds": 16.0}
    assert hf_model.line(told) == "fetching acme/big, 0 of 13 files, 1.0 GiB of 4.0 GiB, 64.0 MiB/s, 48 s left"


def test_nothing_yet_in_words() -> None:
    told = Progress("acme/big").as_dict()
    assert hf_model.line({**told, "seconds": 0.0}) == "waiting acme/big, 0 of 0 files, 0.0 MiB of 0.0 MiB"


@pytest.mark.parametrize(("seconds", "words"), [(7.4, "7 s"), (61, "1 min 01 s"), (7322, "2 h 02 min")])
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert hf_model.duration(seconds) == words


def action(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> hf_model.ActionModule:
    plugin = hf_model.ActionModule.__new__(hf_model.ActionModule)
    plugin._task = SimpleNamespace(args=arguments, async_val=0, check_mode=False)
    monkeypatch.delenv("CI", raising=False)
    return plugin


def test_who_wants_no_progress_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert action(monkeypatch, path="/srv/x")._progress_path() is None
    assert action(monkeypatch, repo="acme/x", progress_seconds=0)._progress_path() is None
    assert action(monkeypatch, repo="no name")._progress_path() is None
    plugin = action(monkeypatch, model="acme/x", root="/m")
    assert plugin._progress_path() == "/m/acme/x/.progress.json"
    monkeypatch.setenv("CI", "true")
    assert plugin._progress_path() is None


class Connection:
    answers: list[Any]

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __copy__(self) -> Connection:
        return self

    def exec_command(self, _command: str, **_options: Any) -> tuple[int, bytes, bytes]:
        answer = self.answers.pop(0) if self.answers else (1, b"", b"")
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_failing_look_ends_neither_the_fetch_nor_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(hf_model.Display, "display", lambda _self, text: shown.append(text))
    plugin = action(monkeypatch, repo="acme/x")
    told = {"repo": "acme/x", "phase": "fetching", "files_done": 1, "files_total": 2, "bytes_done": 1, "bytes_total": 2}
    good = json.dumps({**told, "seconds": 0}).encode()
    plugin._connection = Connection(OSError("gone"), (0, b"half a {", b""), (1, b"", b"no such file"), (0, good, b""))
    ended = threading.Event()
    watcher = threading.Thread(target=plugin._watch, args=(ended, "web1", "/m/x", 0.01))
    watcher.start()
    deadline = time.monotonic() + 60
    while not shown and time.monotonic() < deadline:
        time.sleep(0.01)
    ended.set()
    watcher.join()
    assert shown == ["  web1: fetching acme/x, 1 of 2 files, 0.0 MiB of 0.0 MiB"]

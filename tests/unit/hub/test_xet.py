"""Xet beside plain HTTP: used where it works, left where it does not. bench/models_xet speaks to real servers of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub import errors, progress, transfer
from ansible_collections.llm.serving.plugins.module_utils.hub.client import HubClient, environment
from ansible_collections.llm.serving.plugins.module_utils.hub.patience import Patience
from ansible_collections.llm.serving.plugins.module_utils.hub.progress import Progress
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import Keeper, Outcome, Wish

from .conftest import REPO, SHARDS, Hub
from .test_snapshot import SHARD, content, flip_bit

Xet = Callable[[str, str, str, Path], Path]


def keep(hub: Hub, root: Path, xet: Xet | None, progress: Progress | None = None, **wishes: Any) -> Outcome:
    """Run what the module runs with a Hub that says of its large files that they are in Xet."""

    def connect(url: str) -> HubClient:
        client = HubClient(url, None, xet=False, cache=root / "cache", patience=Patience(attempts=2))
        listing = client.listing

        def in_xet(repo: str, revision: str) -> Any:
            told = listing(repo, revision)
            files = [replace(f, in_xet=f.entry.path.endswith(".safetensors")) for f in told.files]
            return replace(told, files=tuple(files))

        client.listing = in_xet
        client.xet = xet or client.xet
        return client

    wish = Wish(**{"repo": REPO, "revision": hub.commit, "root": root, "endpoint": hub.endpoint, **wishes})
    return Keeper(wish, connect, progress).keep()


class Server:
    """Brings files as Xet does; with `error` it fails, with `damage` it brings something else."""

    def __init__(self, model: Path, error: Exception | None = None, damage: str = "") -> None:
        self.model, self.error, self.damage = model, error, damage
        self.asked: list[str] = []

    def __call__(self, _repo: str, _commit: str, path: str, folder: Path) -> Path:
        self.asked.append(path)
        if self.error:
            raise self.error
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.model / path, folder / path)
        if path == self.damage:
            flip_bit(folder / path)
        return folder / path


def by_http(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in seen if r["path"].startswith("/cdn/") and r["method"] == "GET"]


def test_large_files_come_by_xet_and_are_proved(hub: Hub, tmp_path: Path) -> None:
    server = Server(hub.model)
    with hub.counted() as seen:
        outcome = keep(hub, tmp_path, server)
    assert content(outcome.path) == content(hub.model)
    assert len(server.asked) == SHARDS
    assert by_http(seen) == []
    assert outcome.downloaded_bytes == outcome.manifest.size_bytes
    assert outcome.warnings == ()


def test_where_xet_leads_nowhere_plain_http_does(hub: Hub, tmp_path: Path) -> None:
    server = Server(hub.model, errors.ModelError("the CAS server cannot be reached."))
    outcome = keep(hub, tmp_path, server, max_workers=1)
    assert content(outcome.path) == content(hub.model)
    # The first file finds it out for all.
    assert len(server.asked) == 1
    assert len(outcome.warnings) == 1
    assert "the CAS server cannot be reached" in outcome.warnings[0]
    assert "models_xet" in outcome.warnings[0]


def test_what_xet_alters_is_named_and_comes_again(hub: Hub, tmp_path: Path) -> None:
    outcome = keep(hub, tmp_path, Server(hub.model, damage=SHARD))
    assert content(outcome.path) == content(hub.model)
    assert f"{SHARD}: Xet delivered another content" in outcome.warnings[0]


@pytest.mark.parametrize("kind", [errors.AccessDeniedError, errors.DiskFullError, errors.TokenRejectedError])
def test_what_http_would_not_do_better_ends_the_run(hub: Hub, tmp_path: Path, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="no"):
        keep(hub, tmp_path, Server(hub.model, kind("no")))


def test_what_http_began_it_ends(hub: Hub, tmp_path: Path) -> None:
    begun = tmp_path / REPO / f".{hub.commit}.part" / ".part" / SHARD
    begun.parent.mkdir(parents=True)
    begun.write_bytes((hub.model / SHARD).read_bytes()[:1000])
    server = Server(hub.model)
    with hub.counted() as seen:
        outcome = keep(hub, tmp_path, server)
    assert content(outcome.path) == content(hub.model)
    assert SHARD not in server.asked
    assert [r["range"] for r in by_http(seen)] == ["bytes=1000-"]


def test_the_careful_way_is_plain_http_one_file_at_a_time(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, fetch = [], transfer.Fetcher.fetch
    one = threading.Lock()

    def alone(*arguments: Any) -> None:
        assert one.acquire(blocking=False), "another file is being fetched"
        fetch(*arguments)
        begun.append(arguments)
        one.release()

    monkeypatch.setattr(transfer.Fetcher, "fetch", alone)
    with hub.counted() as seen:
        outcome = keep(hub, tmp_path, None, max_workers=1)
    assert content(outcome.path) == content(hub.model)
    assert len(by_http(seen)) == SHARDS
    assert len(begun) == len(outcome.fetched)


def test_the_usual_way_fetches_files_side_by_side(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, fetch = threading.Barrier(SHARDS), transfer.Fetcher.fetch

    def meet(fetcher: Any, entry: Any, part: Path) -> None:
        if entry.path.endswith(".safetensors"):
            together.wait(timeout=60)
        fetch(fetcher, entry, part)

    monkeypatch.setattr(transfer.Fetcher, "fetch", meet)
    assert content(keep(hub, tmp_path, None, max_workers=SHARDS).path) == content(hub.model)


def test_the_environment_says_whether_and_how_patiently(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_XET_CLIENT_READ_TIMEOUT", "200s")
    careful, usual = environment(tmp_path, xet=False), environment(tmp_path, xet=True)
    assert (careful["HF_HUB_DISABLE_XET"], usual["HF_HUB_DISABLE_XET"]) == ("1", "0")
    assert usual["HF_XET_CLIENT_RETRY_MAX_ATTEMPTS"] == "3"
    assert usual["HF_XET_CLIENT_READ_TIMEOUT"] == "200s"


def test_a_person_can_watch_what_xet_brings(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WRITE_SECONDS", 0.01)
    counts, shown, bring = Progress(), threading.Event(), Server(hub.model)

    def server(repo: str, commit: str, path: str, folder: Path) -> Path:
        found = bring(repo, commit, path, folder)
        if path == SHARD:
            # Seen while it is still on its way.
            for _ in range(3000):
                if counts.bytes_done >= found.stat().st_size:
                    shown.set()
                    break
                threading.Event().wait(0.01)
        return found

    outcome = keep(hub, tmp_path, server, counts, max_workers=1)
    assert shown.is_set()
    assert counts.bytes_done == counts.bytes_total == outcome.downloaded_bytes

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub import digests, manifest, patience, space, store
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import BusyError, CorruptError, DiskFullError
from ansible_collections.llm.serving.plugins.module_utils.hub.names import Selection
from ansible_collections.llm.serving.plugins.module_utils.hub.progress import Progress
from hypothesis import given
from hypothesis import strategies as st

COMMIT = "c" * 40


# Hashes


def test_gits_hash_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content\n" * 1000)
    expected = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True).stdout
    assert digests.digest_file(path, digests.GIT_SHA1).hex == expected.strip()
    assert str(digests.digest_file(path, digests.SHA256)) == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_an_unknown_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="md5"):
        digests.hasher("md5", 0)


def test_corrupt_files_are_found_among_many(tmp_path: Path) -> None:
    files = []
    for i in range(20):
        path = tmp_path / str(i)
        path.write_bytes(os.urandom(1000 * i))
        files.append((path, digests.digest_file(path, digests.SHA256)))
    counted = []
    assert digests.find_corrupt(files, counted.append) == []
    assert sum(counted) == sum(1000 * i for i in range(20))
    (tmp_path / "7").write_bytes(b"x")
    assert digests.find_corrupt(files) == [tmp_path / "7"]


# Manifest


def a_manifest(*paths: str) -> manifest.Manifest:
    entries = tuple(manifest.FileEntry(p, 3, digests.Digest("sha256", "ab"), 5) for p in paths)
    return manifest.Manifest("acme/x", COMMIT, "https://hub", Selection(("*.json",), (), True), entries)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = a_manifest("a", "d/b")
    written.write(tmp_path)
    assert manifest.read_manifest(tmp_path) == written
    assert [p.name for p in tmp_path.iterdir()] == [".llm-serving.json"]
    assert stat.S_IMODE((tmp_path / ".llm-serving.json").stat().st_mode) == 0o644
    assert written.size_bytes == 6


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw.update(format=9),
        lambda raw: raw.pop("files"),
        lambda raw: raw["files"][0].pop("digest"),
        lambda raw: raw["files"][0].update(size_bytes="many"),
        lambda raw: raw.update(selection=None),
    ],
)
def test_a_strange_manifest_is_refused(tmp_path: Path, edit) -> None:
    a_manifest("a").write(tmp_path)
    path = tmp_path / ".llm-serving.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(CorruptError, match="no manifest of format 1"):
        manifest.read_manifest(tmp_path)


def test_a_manifest_that_points_outside_is_refused(tmp_path: Path) -> None:
    a_manifest("../../etc/shadow").write(tmp_path)
    with pytest.raises(Exception, match="not safe"):
        manifest.read_manifest(tmp_path)


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = a_manifest("a")
    old.write(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        a_manifest("b").write(tmp_path)
    assert manifest.read_manifest(tmp_path) == old
    assert len(list(tmp_path.iterdir())) == 1


# Room


def test_room_is_told_in_full() -> None:
    with pytest.raises(DiskFullError, match=r"1048576.0 GiB are still to be fetched .* are missing"):
        space.require_space(Path("/tmp/not/there/yet"), 1 << 50)  # noqa: S108 - nothing is written
    space.require_space(Path("/"), 0)


# Patience


@given(st.integers(1, 1000))
def test_waits_grow_and_stay_bounded(failures: int) -> None:
    usual = patience.Patience()
    wait = usual.wait_seconds(failures, None)
    assert 0.8 <= wait <= 1.2 * usual.longest_wait_seconds
    assert usual.wait_seconds(failures, 17.0) == 17.0
    assert usual.wait_seconds(failures, 1e9) == usual.longest_asked_wait_seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), (None, None), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert patience.retry_after_seconds(value) == seconds


# Store


def test_a_snapshot_in_use_is_not_removed(tmp_path: Path) -> None:
    home = store.Home(tmp_path, "acme/x")
    snapshot = home.snapshot(COMMIT)
    snapshot.mkdir(parents=True)
    (snapshot / "w").write_bytes(b"x" * 10000)
    command = [
        sys.executable,
        "-c",
        "import sys; f = open(sys.argv[1]); print(flush=True); input()",
        str(snapshot / "w"),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        with pytest.raises(BusyError, match=rf"in use by .*\({user.pid}\)"):
            home.remove(COMMIT)
        assert snapshot.exists()
        user.communicate(b"\n")
    home.remove(COMMIT)
    assert home.commits() == []


def test_a_mapped_file_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x" * 10000)
    script = (
        "import mmap, os, sys; fd = os.open(sys.argv[1], 0); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); os.close(fd);"
        "print(flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "w")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        assert [u for u in store.users_of(tmp_path) if f"({user.pid})" in u]
        user.communicate(b"\n")
    assert store.users_of(tmp_path) == []


def test_refs(tmp_path: Path) -> None:
    home = store.Home(tmp_path, "acme/x")
    home.path.mkdir(parents=True)
    assert home.known_commit("main") is None
    home.note_commit("main", COMMIT)
    home.note_commit(COMMIT, COMMIT)
    assert (home.known_commit("main"), home.known_commit(COMMIT)) == (COMMIT, None)
    (home.path / ".refs.json").write_text("[")
    assert home.known_commit("main") is None


# Progress


def test_progress_is_written_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.llm.serving.plugins.module_utils.hub.progress.WRITE_SECONDS", 0.02)
    path = tmp_path / "progress.json"
    progress = Progress()
    progress.begin("fetching", 3, 100)
    with progress.written_to(path):
        progress.add_fetched(40)
        progress.file_done()
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        told = json.loads(path.read_text())
        progress.add_fetched(-10)
    assert (told["files_done"], told["files_total"], told["bytes_done"], told["bytes_total"]) == (1, 3, 40, 100)
    assert (progress.bytes_done, progress.fetched_bytes) == (30, 40)
    assert not path.exists()

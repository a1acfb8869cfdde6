from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub import errors
from ansible_collections.llm.serving.plugins.module_utils.hub.manifest import read_manifest
from ansible_collections.llm.serving.plugins.module_utils.hub.names import MANIFEST_NAME, Selection
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import check_folder

from .conftest import REPO, ROOT, SHARDS, TOKEN, FaultyHandler, Hub, Keep, hub_server

SHARD = "model-00002-of-00003.safetensors"


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != MANIFEST_NAME
    }


def flip_bit(path: Path, at: int = -1) -> None:
    """Change a bit as a bad disk does: neither the size nor the modification time tell."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def fetched_paths(seen: list[dict[str, Any]]) -> list[str]:
    return [r["path"] for r in seen if r["method"] == "GET" and ("/resolve/" in r["path"] or "/cdn/" in r["path"])]


# The way it should be


def test_brings_a_repository_and_proves_every_byte(keep: Keep, hub: Hub) -> None:
    outcome = keep()
    assert outcome.changed
    assert outcome.verified == "full"
    assert content(outcome.path) == content(hub.model)
    assert outcome.downloaded_bytes == outcome.manifest.size_bytes == sum(map(len, content(hub.model).values()))
    assert outcome.path.name == hub.commit
    assert [p.name for p in outcome.path.parent.iterdir() if p.name.endswith(".part")] == []


def test_files_are_for_everybody_to_read_and_for_nobody_else_to_write(keep: Keep) -> None:
    old = os.umask(0o077)
    try:
        path = keep().path
    finally:
        os.umask(old)
    assert {p.stat().st_mode & 0o7777 for p in path.rglob("*") if p.is_file() and p.name != MANIFEST_NAME} == {0o644}
    assert path.stat().st_mode & 0o7777 == 0o755
    (path / SHARD).chmod(0o666)
    assert keep(dry_run=True).changed
    assert keep().changed
    assert (path / SHARD).stat().st_mode & 0o7777 == 0o644
    assert not keep().changed


def test_a_pinned_snapshot_needs_neither_the_hub_nor_a_hash(keep: Keep, hub: Hub) -> None:
    keep()
    with hub.counted() as seen:
        outcome = keep(endpoint="http://127.0.0.1:9")
    assert seen == []
    assert (outcome.changed, outcome.verified, outcome.downloaded_bytes) == (False, "quick", 0)


def test_a_branch_costs_two_questions_and_no_file(keep: Keep, hub: Hub) -> None:
    keep(revision="main")
    with hub.counted() as seen:
        assert not keep(revision="main").changed
    assert fetched_paths(seen) == []
    assert len(seen) == 2


def test_check_mode_says_what_would_come_and_writes_nothing(keep: Keep, tmp_path: Path, hub: Hub) -> None:
    outcome = keep(dry_run=True)
    assert outcome.changed
    assert outcome.verified is None
    assert outcome.download_bytes == sum(map(len, content(hub.model).values()))
    assert not (tmp_path / "models").exists()


def test_a_new_revision_comes_beside_the_old_one_and_takes_what_is_the_same_from_it(
    keep: Keep, hub: Hub, tmp_path: Path
) -> None:
    old = keep()
    newer = tmp_path / "newer"
    shutil.copytree(hub.model, newer)
    (newer / "generation_config.json").write_text("{}")
    commit = hub.publish(newer)
    try:
        foretold = keep(revision="main", dry_run=True)
        outcome = keep(revision="main")
    finally:
        hub.publish(hub.model)
    assert foretold.download_bytes == 2
    assert outcome.path.name == commit != hub.commit
    assert outcome.fetched == ("generation_config.json",)
    assert set(outcome.linked) == set(content(hub.model)) - {"generation_config.json"}
    assert outcome.downloaded_bytes == 2
    assert content(old.path) == content(hub.model)
    assert content(outcome.path) == content(newer)


def test_a_renamed_repository_is_found_and_told(keep: Keep) -> None:
    outcome = keep(repo="acme/old", revision="main")
    assert "acme/old is named acme/tiny on the Hub now" in outcome.warnings[0]
    assert outcome.path.parent.name == "old"


# Mending


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "pointer"])
def test_only_the_damaged_file_is_fetched_again(keep: Keep, hub: Hub, damage: str) -> None:
    path = keep().path
    shard = path / SHARD
    if damage == "bit":
        flip_bit(shard)
    elif damage == "cut":
        os.truncate(shard, 1000)
    elif damage == "gone":
        shard.unlink()
    else:
        shard.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2100000\n")
    with hub.counted() as seen:
        outcome = keep(verify="full")
    assert outcome.fetched == (SHARD,)
    assert outcome.corrupt == (() if damage == "gone" else (SHARD,))
    assert len(fetched_paths(seen)) == 2  # the resolution and the CDN
    assert outcome.downloaded_bytes == (hub.model / SHARD).stat().st_size
    assert content(path) == content(hub.model)
    assert not keep().changed


def test_a_reader_keeps_the_old_file_while_it_is_mended(keep: Keep) -> None:
    path = keep().path
    flip_bit(path / SHARD)
    with (path / SHARD).open("rb") as reader:
        inode = os.fstat(reader.fileno()).st_ino
        keep(verify="full")
    assert (path / SHARD).stat().st_ino != inode


def test_quick_trusts_the_modification_time_and_full_does_not(keep: Keep) -> None:
    path = keep().path
    flip_bit(path / SHARD)
    assert keep().verified == "quick"
    os.utime(path / SHARD)
    assert keep().fetched == (SHARD,)


def test_a_touched_file_is_hashed_once_and_trusted_again(keep: Keep) -> None:
    path = keep().path
    os.utime(path / SHARD)
    assert not keep().changed
    assert read_manifest(path) is not None
    entry = next(e for e in read_manifest(path).files if e.path == SHARD)
    assert entry.unchanged_in(path)


def test_offline_a_damaged_file_is_named_and_stays_refused(keep: Keep) -> None:
    path = keep().path
    flip_bit(path / SHARD)
    with pytest.raises(errors.CorruptError, match=SHARD):
        keep(verify="full", offline=True)
    # The proof is void from now on, for quick checks, too.
    with pytest.raises(errors.CorruptError, match=SHARD):
        keep(offline=True)
    assert keep().fetched == (SHARD,)


def test_offline_a_branch_means_what_it_meant(keep: Keep) -> None:
    with pytest.raises(errors.AbsentError, match="offline"):
        keep(revision="main", offline=True)
    keep(revision="main")
    assert not keep(revision="main", offline=True).changed


def test_a_folder_without_a_manifest_is_adopted(keep: Keep, hub: Hub) -> None:
    path = keep().path
    (path / MANIFEST_NAME).unlink()
    flip_bit(path / SHARD)
    outcome = keep()
    assert outcome.fetched == (SHARD,)
    assert outcome.verified == "full"
    assert content(path) == content(hub.model)


def test_an_unreadable_manifest_says_what_to_do(keep: Keep) -> None:
    path = keep().path
    (path / MANIFEST_NAME).write_text("{")
    with pytest.raises(errors.CorruptError, match="Remove it"):
        keep()


def test_files_that_nobody_fetched_are_told(keep: Keep) -> None:
    path = keep().path
    (path / "evil.bin").write_bytes(b"pickle")
    assert "evil.bin" in keep().warnings[0]


# What is chosen


@pytest.fixture
def mixed(hub: Hub, tmp_path: Path) -> str:
    folder = tmp_path / "mixed"
    shutil.copytree(hub.model, folder)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "original/params.pt", "tf_model.h5", "q4.gguf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)
    hub.publish(folder, "acme/mixed")
    return "acme/mixed"


def test_pickles_and_repetitions_are_left_out(keep: Keep, hub: Hub, mixed: str) -> None:
    assert set(content(keep(repo=mixed, revision="main").path)) == set(content(hub.model))


def test_another_choice_brings_the_difference_and_takes_away_the_rest(keep: Keep, mixed: str) -> None:
    path = keep(repo=mixed, revision="main").path
    more = keep(repo=mixed, revision="main", selection=Selection(allow_pickle=True))
    assert more.fetched == ("pytorch_model.bin",)
    with pytest.raises(errors.AbsentError, match="patterns"):
        keep(repo=mixed, revision="main", offline=True)
    keep(repo=mixed, revision="main")
    assert not (path / "pytorch_model.bin").exists()


def test_weights_in_pickles_only_are_refused_before_a_byte_comes(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "pickles"
    shutil.copytree(hub.model, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    (folder / "pytorch_model.bin").write_bytes(b"x")
    hub.publish(folder, "acme/pickles")
    with hub.counted() as seen, pytest.raises(errors.IncompleteError, match="allow_pickle"):
        keep(repo="acme/pickles", revision="main")
    assert fetched_paths(seen) == []
    assert keep(repo="acme/pickles", revision="main", selection=Selection(allow_pickle=True)).changed


def test_a_repository_that_is_no_whole_model_never_gets_its_name(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(hub.model, folder, ignore=shutil.ignore_patterns(SHARD, "tokenizer.json"))
    commit = hub.publish(folder, "acme/half")
    with pytest.raises(errors.IncompleteError, match=f"(?s)no tokenizer.*{SHARD}"):
        keep(repo="acme/half", revision="main")
    assert not (tmp_path / "models/acme/half" / commit).exists()
    assert keep(repo="acme/half", revision="main", check_model=False).changed


def test_patterns_that_leave_nothing_are_told(keep: Keep) -> None:
    with pytest.raises(errors.IncompleteError, match="allow_patterns"):
        keep(selection=Selection(allow=("*.zip",)))


# Each refusal in its own words


@pytest.mark.parametrize(
    ("wishes", "kind", "words"),
    [
        ({"repo": "acme/gated"}, errors.AccessDeniedError, "gated, and no token"),
        ({"token": "hf_wrong"}, errors.TokenRejectedError, "does not accept the token"),
        ({"repo": "acme/nothing"}, errors.RepositoryMissingError, "no repository acme/nothing"),
        ({"revision": "v9"}, errors.RevisionMissingError, "no revision v9"),
        ({"repo": "tiny"}, errors.InvalidNameError, "organisation/name"),
        ({"repo": "../etc"}, errors.InvalidNameError, "organisation/name"),
        ({"revision": "../x"}, errors.InvalidNameError, "revision"),
    ],
)
def test_refusals(keep: Keep, tmp_path: Path, wishes: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        keep(**{"revision": "main", **wishes})
    assert "hf_wrong" not in str(caught.value)
    assert list((tmp_path / "models").rglob("*.safetensors")) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [("GatedRepo", "is gated, and the token given has no access to it"), ("", "forbids to read acme/gated")],
)
def test_a_token_without_the_right_to_read(keep: Keep, hub: Hub, code: str, words: str) -> None:
    class Forbidding(FaultyHandler):
        def refusal(self, repo_id: str, *, is_file: bool) -> tuple[int, dict[str, str]] | None:
            return (403, hub_server.hub_error(code, "Ask for it.")) if is_file else None

    origin = hub.front
    with hub_server.Front(("127.0.0.1", 0), origin.state, origin.olah_port, origin.rules, Forbidding) as front:
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with pytest.raises(errors.AccessDeniedError, match=words):
            keep(repo="acme/gated", token=TOKEN, endpoint=front.url)
        front.shutdown()
        front.log.close()


def test_a_good_token_opens_a_gated_repository_and_is_kept_nowhere(keep: Keep, tmp_path: Path, hub: Hub) -> None:
    keep(repo="acme/gated", token=TOKEN)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_an_endpoint_without_a_server(keep: Keep) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(errors.HubUnreachableError, match="cannot be reached"):
        keep(endpoint=f"http://127.0.0.1:{port}")


def test_a_branch_without_the_hub_says_what_is_there(keep: Keep) -> None:
    commit = keep(revision="main").path.name
    with pytest.raises(errors.HubUnreachableError, match=rf"{commit[:12]}, is on this host: set offline"):
        keep(revision="main", endpoint="http://127.0.0.1:9")


# Bad lines


def test_a_connection_that_breaks_is_continued_where_it_broke(keep: Keep, hub: Hub) -> None:
    hub.faults.cut_after_bytes += [500_000, 300_000, 100_000]
    with hub.counted() as seen:
        outcome = keep(max_workers=1)
    assert outcome.downloaded_bytes == outcome.manifest.size_bytes
    ranges = [r["range"] for r in seen if "/cdn/" in r["path"] and r["range"]]
    assert ranges == ["bytes=500000-", "bytes=800000-", "bytes=900000-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(keep: Keep, hub: Hub) -> None:
    hub.faults.ignore_ranges = True
    hub.faults.cut_after_bytes += [500_000]
    assert keep(max_workers=1).verified == "full"


def test_busy_servers_are_asked_again_and_their_wait_is_honoured(keep: Keep, hub: Hub) -> None:
    hub.faults.statuses += [(429, {"Retry-After": "1"}), (503, {})]
    started = time.monotonic()
    assert keep(max_workers=1).changed
    assert time.monotonic() - started >= 1


def test_a_server_that_stays_busy_is_given_up(keep: Keep, hub: Hub) -> None:
    hub.faults.statuses += [(503, {})] * 50
    with pytest.raises(errors.HubUnavailableError, match="gave up after 3 failures"):
        keep()


def test_a_stalled_connection_is_made_anew(keep: Keep, hub: Hub) -> None:
    hub.faults.stall_seconds += [60.0]
    started = time.monotonic()
    assert keep(max_workers=1, attempts=30, stall_seconds=1.0).verified == "full"
    assert time.monotonic() - started < 60


def test_altered_content_is_refused_and_named(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    hub.faults.flip_byte_at = 1000
    with pytest.raises(errors.CorruptError, match=r"safetensors: http://127.0.0.1:\d+ delivered"):
        keep()
    assert not (tmp_path / "models" / REPO / hub.commit).exists()
    hub.faults.flip_byte_at = None
    assert content(keep().path) == content(hub.model)


def test_a_failing_revision_leaves_the_earlier_one_alone(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    old = keep()
    newer = tmp_path / "newer"
    shutil.copytree(hub.model, newer)
    flip_bit(newer / SHARD)
    hub.publish(newer)
    hub.faults.statuses += [(503, {})] * 50
    try:
        with pytest.raises(errors.HubUnavailableError):
            keep(revision="main")
    finally:
        hub.publish(hub.model)
    assert content(old.path) == content(hub.model)
    assert not keep().changed


CHILD = """
import sys
from pathlib import Path
from ansible_collections.llm.serving.plugins.module_utils.hub.client import HubClient
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import Keeper, Wish
endpoint, commit, root = sys.argv[1:]
wish = Wish("acme/tiny", commit, Path(root), endpoint, max_workers=2)
Keeper(wish, lambda url: HubClient(url, None, xet=True, cache=Path(root) / "cache")).keep()
"""


def test_killed_in_the_middle_nothing_comes_twice(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    hub.faults.bytes_per_second = 1_000_000
    command = [sys.executable, "-c", CHILD, hub.endpoint, hub.commit, str(tmp_path / "models")]
    home = tmp_path / "models" / REPO
    total = sum(map(len, content(hub.model).values()))

    def there() -> dict[str, int]:
        staging = home / f".{hub.commit}.part"
        return {p.name: p.stat().st_size for p in staging.rglob("*.safetensors")}

    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")})
    # Two shards at a time, of two seconds each: when the third begins, at least one is whole.
    while len(there()) < SHARDS and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # the server notices, and logs, that nobody reads any more
    assert process.returncode == -signal.SIGKILL
    assert not (home / hub.commit).exists()
    begun = {name: size for name, size in there().items() if size < (hub.model / name).stat().st_size}
    assert 1 <= len(begun) < SHARDS
    kept_bytes = sum(there().values())
    hub.faults.bytes_per_second = None
    with hub.counted() as seen:
        outcome = keep()
    assert content(outcome.path) == content(hub.model)
    assert {name for name in outcome.fetched if name.endswith(".safetensors")} == set(begun)
    assert {r["range"] for r in seen if "/cdn/" in r["path"] and r["method"] == "GET"} == {
        f"bytes={size}-" for size in begun.values()
    }
    assert outcome.downloaded_bytes <= total - kept_bytes


def test_full_also_means_what_an_earlier_run_began(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    final = keep().path
    staging = final.with_name(f".{hub.commit}.part")
    final.rename(staging)
    flip_bit(staging / "tokenizer.json", 100)
    outcome = keep(verify="full")
    assert (outcome.verified, outcome.corrupt, outcome.fetched) == ("full", ("tokenizer.json",), ("tokenizer.json",))
    assert content(outcome.path) == content(hub.model)


# Room


def test_too_little_room_is_refused_before_the_first_byte(
    keep: Keep, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def small(path: Any) -> os.statvfs_result:
        values = list(real(path))
        values[4] = 1_000_000 // values[1]  # f_bavail
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", small)
    with hub.counted() as seen, pytest.raises(errors.DiskFullError, match=r"\d+\.\d MiB are missing"):
        keep()
    assert fetched_paths(seen) == []
    with pytest.raises(errors.DiskFullError):
        keep(dry_run=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that can be filled")
def test_a_disk_that_fills_up_ends_clearly_and_can_be_continued(keep: Keep, hub: Hub, tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(root)], check=True)
    try:
        hub.faults.bytes_per_second = 1_000_000
        ballast = root / "ballast"

        def fill() -> None:
            """Take the room away once the fetch has begun."""
            while not list(root.rglob("*.safetensors")):
                time.sleep(0.02)
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(b"\0" * 100_000)
                        file.flush()
                except OSError:
                    pass

        thread = threading.Thread(target=fill)
        thread.start()
        with pytest.raises(errors.DiskFullError, match="filled up"):
            keep(root=root)
        thread.join()
        ballast.unlink()
        hub.faults.bytes_per_second = None
        outcome = keep(root=root)
        assert content(outcome.path) == content(hub.model)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


# Two at once


def test_a_second_run_waits_and_then_names_who_holds_the_model(keep: Keep, tmp_path: Path) -> None:
    home = tmp_path / "models" / REPO
    home.mkdir(parents=True)
    with (home / ".lock").open("a+") as holder:
        holder.write("4711\n")
        holder.flush()
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(errors.BusyError, match="Process 4711"):
            keep()
    assert keep().changed


# Folders of their own


def test_a_folder_with_a_manifest_is_proved_by_it(keep: Keep, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(keep().path, copy)
    assert check_folder(copy, "quick").verified == "quick"
    assert check_folder(copy, "full").verified == "full"
    flip_bit(copy / SHARD)
    with pytest.raises(errors.CorruptError, match=SHARD):
        check_folder(copy, "full")


def test_a_folder_without_one_is_judged_by_its_structure(hub: Hub, tmp_path: Path) -> None:
    assert check_folder(hub.model, "full").verified == "structure"
    with pytest.raises(errors.IncompleteError, match="no such directory"):
        check_folder(tmp_path / "nothing", "quick")


def test_the_manifest_holds_what_the_hub_states(keep: Keep, hub: Hub) -> None:
    manifest = read_manifest(keep().path)
    assert manifest is not None
    assert (manifest.repo, manifest.commit, manifest.endpoint) == (REPO, hub.commit, hub.endpoint)
    assert replace(manifest) == manifest
    algorithms = {entry.path: entry.digest.algorithm for entry in manifest.files}
    assert algorithms[SHARD] == "sha256"
    assert algorithms["config.json"] == "git-sha1"

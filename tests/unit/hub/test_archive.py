"""A disk between a host that sees the Hub and one that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPO, ROOT, Hub, Keep
from .test_module import run
from .test_snapshot import content, flip_bit

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def disk(keep: Keep, hub: Hub, tmp_path: Path) -> Path:
    """A disk that was filled from a host's models, as an operator would."""
    host = keep(revision="main")
    answer = run(repo=REPO, source=str(tmp_path / "models"), root=str(tmp_path / "disk"), endpoint=NOBODY)
    assert answer["fetched_from"] == {str(host.path): host.manifest.size_bytes}
    assert content(tmp_path / "disk" / REPO / hub.commit) == content(hub.model)
    return tmp_path / "disk"


def take(disk: Path, tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    return run(**{"repo": REPO, "source": str(disk), "root": str(tmp_path / "far"), "endpoint": NOBODY, **arguments})


def test_the_way_there_and_back(disk: Path, hub: Hub, tmp_path: Path) -> None:
    check = take(disk, tmp_path, _ansible_check_mode=True)
    assert not (tmp_path / "far").exists()
    with hub.counted() as seen:
        answers = [take(disk, tmp_path), take(disk, tmp_path)]
    assert seen == []
    assert [a["changed"] for a in (check, *answers)] == [True, True, False]
    assert check["download_bytes"] == answers[0]["downloaded_bytes"] == answers[0]["size_bytes"]
    assert answers[0]["verified"] == "full"
    assert content(Path(answers[0]["path"])) == content(hub.model)
    # As if it had been fetched: also the next checks need neither Hub nor disk.
    manifest = Path(answers[0]["path"]) / ".llm-serving.json"
    assert hub.endpoint in manifest.read_text()
    pinned = {"repo": REPO, "revision": hub.commit, "root": str(tmp_path / "far"), "offline": True}
    assert run(**pinned, verify="full")["verified"] == "full"


def test_neither_huggingface_hub_nor_a_connection_is_needed(disk: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["huggingface_hub"] = None
import socket
def refuse(*_args, **_options): raise SystemExit("a connection was made")
socket.socket.connect = refuse
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.modules import hf_model
with patch_module_args({{"repo": "{REPO}", "source": "{disk}", "root": "{tmp_path}/far"}}):
    hf_model.main()
"""
    environment = {"PYTHONPATH": str(ROOT / ".collections"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert '"changed": true' in done.stdout, done.stderr + done.stdout


def test_what_the_disk_has_corrupt_is_named_and_never_served(disk: Path, hub: Hub, tmp_path: Path) -> None:
    victim = disk / REPO / hub.commit / "model-00002-of-00003.safetensors"
    flip_bit(victim, 1_000_000)
    answer = take(disk, tmp_path)
    assert answer["failed"]
    assert f"{victim.name}: {victim.parent} delivered" in answer["msg"]
    assert not (tmp_path / "far" / REPO / hub.commit).exists()
    # The good files are kept: once the disk is mended only the rest is copied.
    flip_bit(victim, 1_000_000)
    again = take(disk, tmp_path)
    assert again["changed"]
    assert victim.name in again["fetched"]
    assert content(Path(again["path"])) == content(hub.model)


def test_what_the_disk_lacks_is_named_before_a_byte_is_copied(disk: Path, hub: Hub, tmp_path: Path) -> None:
    (disk / REPO / hub.commit / "config.json").unlink()
    answer = take(disk, tmp_path)
    assert "config.json missing or cut short" in answer["msg"]
    assert not (tmp_path / "far").exists() or not list((tmp_path / "far").rglob("*.safetensors"))


def test_a_revision_that_the_disk_does_not_hold(disk: Path, hub: Hub, tmp_path: Path) -> None:
    answer = take(disk, tmp_path, revision="0" * 40)
    assert answer["failed"]
    assert f"revisions there: {hub.commit[:12]}" in answer["msg"]
    assert "hf_model with root=" in answer["msg"]

"""The module as Ansible runs it: its arguments in, its JSON out."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.filter import models as filters
from ansible_collections.llm.serving.plugins.module_utils.hub.digests import Digest
from ansible_collections.llm.serving.plugins.module_utils.hub.manifest import FileEntry, Manifest
from ansible_collections.llm.serving.plugins.module_utils.hub.names import Selection
from ansible_collections.llm.serving.plugins.modules import hf_model

from .conftest import REPO, ROOT, TOKEN, Hub


def run(**arguments: Any) -> dict[str, Any]:
    out = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        hf_model.main()
    return json.loads(out.getvalue())


@pytest.fixture
def base(hub: Hub, tmp_path: Path) -> dict[str, Any]:
    return {"repo": REPO, "root": str(tmp_path / "models"), "endpoint": hub.endpoint}


def test_check_run_check_run(hub: Hub, base: dict[str, Any]) -> None:
    check = {"_ansible_check_mode": True, "_ansible_diff": True}
    answers = [run(**base, **check), run(**base), run(**base, **check), run(**base)]
    assert [a["changed"] for a in answers] == [True, True, False, False]
    assert answers[0]["download_bytes"] == answers[1]["downloaded_bytes"] > 6_000_000
    assert answers[0]["diff"] == answers[1]["diff"]
    assert answers[0]["diff"]["before"] == ""
    assert "config.json 586 git-sha1:" in answers[0]["diff"]["after"]
    assert answers[2]["diff"]["before"] == answers[2]["diff"]["after"]
    # RV(commit) names the directory
    assert answers[1]["path"] == f"{base['root']}/{REPO}/{answers[1]['commit']}"
    assert sum(f["size_bytes"] for f in answers[1]["files"]) == answers[1]["size_bytes"]


def test_absent(base: dict[str, Any]) -> None:
    commit = run(**base)["commit"]
    check = run(**base, state="absent", _ansible_check_mode=True)
    assert (check["changed"], check["removed"]) == (True, [commit])
    assert run(**base)["changed"] is False
    assert run(**base, state="absent", revision="0" * 40)["changed"] is False
    assert run(**base, state="absent", revision="main")["removed"] == [commit]
    assert run(**base, state="absent")["changed"] is False


def test_a_path_is_checked_only(hub: Hub, tmp_path: Path) -> None:
    answer = run(path=str(hub.model))
    assert (answer["changed"], answer["verified"], answer["commit"]) == (False, "structure", None)
    assert {f["digest"] for f in answer["files"]} == {None}
    assert "no such directory" in run(path=str(tmp_path / "no"))["msg"]
    assert "name it by repo" in run(path=str(tmp_path), state="absent")["msg"]


def test_the_token_is_not_told(base: dict[str, Any]) -> None:
    answer = run(**{**base, "repo": "acme/gated"}, token=TOKEN)
    assert answer["changed"]
    assert TOKEN not in json.dumps(answer).replace(json.dumps(answer.get("invocation", {})), "")


def test_errors_are_messages(base: dict[str, Any]) -> None:
    answer = run(**{**base, "repo": "acme/gated"})
    assert answer["failed"]
    assert "models_hub_token" in answer["msg"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("root", "models", "root: expected an absolute path, found 'models'"),
        ("source", "disk", "source: expected an absolute path"),
        ("endpoint", "localhost:80", "endpoint: expected a URL such as"),
        (
            "mirrors",
            ["http://mirror:8090", "http://mirror:99999"],
            "mirrors: expected a URL .* found 'http://mirror:99999'",
        ),
        ("max_workers", 0, "max_workers: expected at least 1, found 0"),
        ("stall_timeout", 0, "stall_timeout: expected at least 1"),
        ("keep", -1, "keep: expected 0 or more"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_happens(
    base: dict[str, Any], option: str, value: Any, words: str
) -> None:
    answer = run(**{**base, option: value})
    assert answer["failed"]
    assert re.search(words, answer["msg"])
    assert not Path(base["root"]).exists()


# The role's filters

PINNED = "a" * 40


def test_unpinned_revisions_are_told() -> None:
    models = [{"model": "a/b"}, {"model": "a/c", "revision": PINNED}, {"model": "/srv/x"}]
    assert len(filters.models_problems(models, "warn")["warnings"]) == 1
    assert len(filters.models_problems(models, "refuse")["errors"]) == 1
    assert filters.models_problems(models, "accept") == {"errors": [], "warnings": []}


def test_code_from_the_repository_needs_a_commit() -> None:
    problems = filters.models_problems([{"name": "x", "model": "a/b", "trust_remote_code": True}], "accept")
    assert "models_list, x: trust_remote_code" in problems["errors"][0]
    pinned = {"model": "a/b", "trust_remote_code": True, "revision": PINNED}
    assert filters.models_problems([pinned], "accept")["errors"] == []


def test_names_must_differ_and_be_names() -> None:
    errors = filters.models_problems([{"model": "a/b"}, {"model": "a/b"}, {"model": "b"}], "accept")["errors"]
    assert len(errors) == 2


@pytest.mark.parametrize(("root", "refused"), [("/home/models", True), ("/home", True), ("/homes/models", False)])
def test_a_root_that_services_do_not_see_is_refused(root: str, refused: bool) -> None:
    errors = filters.models_problems([], "accept", root)["errors"]
    assert [error.startswith(f"models_root: services may not look into {root}: set it to") for error in errors] == (
        [True] if refused else []
    )


def test_the_result_is_by_name() -> None:
    models = [
        {"model": "a/b", "name": "x", "revision": PINNED},
        {"model": "/srv/y"},
        {"model": "a/c", "state": "absent"},
    ]
    wanted = filters.models_wanted(models, "/srv/models")
    results = [{"skipped": True}, {"path": "/srv/y", "verified": "structure"}, {"changed": True}]
    summary = filters.models_result(wanted, results)
    assert list(summary) == ["x", "/srv/y"]
    assert (summary["x"]["path"], summary["x"]["present"]) == (f"/srv/models/a/b/{PINNED}", False)
    assert summary["/srv/y"]["present"]


# Other revisions


def test_superfluous_revisions_go_but_not_those_in_use(hub: Hub, base: dict[str, Any], tmp_path: Path) -> None:
    commits = []
    for i in range(4):
        copy = tmp_path / str(i)
        shutil.copytree(hub.model, copy)
        (copy / "generation_config.json").write_text(f'{{"top_k": {i}}}')
        hub.publish(copy, "acme/many")
        commits.append(run(**{**base, "repo": "acme/many"}, revision="main")["commit"])
    many = {**base, "repo": "acme/many", "revision": commits[3], "keep": 1}
    home = Path(base["root"]) / "acme/many"
    (home / f".{'d' * 40}.part").mkdir()
    with (home / commits[1] / "config.json").open():
        check = run(**many, _ansible_check_mode=True)
        assert check["removed"] == [commits[0], "d" * 40]
        assert run(**many)["removed"] == [commits[0], "d" * 40]
    assert run(**many, keep_revisions=[commits[1]])["removed"] == []
    assert run(**many)["removed"] == [commits[1]]
    assert {p.name for p in home.iterdir() if not p.name.startswith(".")} == set(commits[2:])
    assert run(**many)["changed"] is False


# The timer's script

VERIFIER = ROOT / "roles/models/files/llm-models-verify"


def verify(root: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(VERIFIER), root, *more], capture_output=True, text=True, check=False)


def test_the_timers_script_agrees_with_the_module(base: dict[str, Any], tmp_path: Path) -> None:
    path = Path(run(**base)["path"])
    done = verify(base["root"], str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 snapshots verified\n", "")
    told = (tmp_path / "llm_models.prom").read_text()
    assert f'llm_models_corrupt_files{{repo="{REPO}",commit="{path.name}"}} 0' in told
    shard = path / "model-00001-of-00003.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    (path / "config.json").unlink()
    done = verify(base["root"], str(tmp_path))
    assert done.returncode == 1
    assert str(shard) in done.stderr
    assert str(path / "config.json") in done.stderr
    assert "} 2" in (tmp_path / "llm_models.prom").read_text()


def test_the_timers_script_goes_on_past_a_broken_manifest(base: dict[str, Any], tmp_path: Path) -> None:
    for repo in ("acme/gated", REPO):
        path = Path(run(**{**base, "repo": repo}, token=TOKEN)["path"])
    gated = path.parents[2] / "acme/gated" / path.name
    (gated / ".llm-serving.json").write_text('{"files": [')
    done = verify(base["root"], str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "2 snapshots verified\n")
    assert done.stderr == f"{gated}/.llm-serving.json is missing or not what the Hub stated\n"
    told = (tmp_path / "llm_models.prom").read_text()
    assert f'{{repo="acme/gated",commit="{path.name}"}} 1' in told
    assert f'{{repo="{REPO}",commit="{path.name}"}} 0' in told
    (gated / ".llm-serving.json").unlink()
    assert verify(base["root"]).returncode == 1


AS_ON_A_HOST = """
import contextlib, json, resource, runpy, sys
with contextlib.suppress(SystemExit):
    runpy.run_module("ansible_collections.llm.serving.plugins.modules.hf_model", run_name="__main__")
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"modules": sorted(sys.modules), "seconds": used.ru_utime + used.ru_stime}), file=sys.stderr)
"""


def test_a_check_of_a_hundred_files_costs_little_and_loads_little(tmp_path: Path) -> None:
    """Ten gigabytes that are holes: a quick check reads no content."""
    folder = tmp_path / REPO / ("c" * 40)
    folder.mkdir(parents=True)
    digest = Digest("sha256", "0" * 64)
    entries = []
    for number in range(100):
        name = f"model-{number:05}.safetensors"
        with (folder / name).open("wb") as file:
            file.truncate(100_000_000)
        entries.append(FileEntry(name, 100_000_000, digest).proved_in(folder))
    Manifest(REPO, folder.name, "https://hub.example.org", Selection(), tuple(entries)).write(folder)
    arguments = tmp_path / "arguments.json"
    wish = {"repo": REPO, "root": str(tmp_path), "revision": folder.name}
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": wish}))
    command = [sys.executable, "-c", AS_ON_A_HOST, str(arguments)]
    environment = {"PYTHONPATH": str(ROOT / ".collections"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["verified"] == "quick"
    told = json.loads(done.stderr.splitlines()[-1])
    assert not {"concurrent.futures", "http.client", "huggingface_hub", "ssl"} & set(told["modules"])
    # Reading the files would take ten times as long; bench/models says how long it really is.
    assert told["seconds"] < 1

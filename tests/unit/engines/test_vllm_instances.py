"""The module vllm_instances against a systemctl that remembers what it was told."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.modules import vllm_instances

# Units that were started are listed in ./active and enabled ones in ./enabled; every call goes to ./calls.
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> calls
verb=$1; shift
units() { for word; do case $word in vllm@*) echo "$word";; esac; done; }
case $verb in
  show)
    for unit in $(units "$@"); do
      grep -qxF "$unit" active && state=active || state=inactive
      grep -qxF "$unit" enabled && file=enabled || file=disabled
      printf 'Id=%s\\nActiveState=%s\\nUnitFileState=%s\\nNRestarts=0\\nMainPID=1\\n\\n' "$unit" $state $file
    done ;;
  restart) units "$@" >> active ;;
  enable) units "$@" >> enabled ;;
  disable) for unit in $(units "$@"); do sed -i "/^$unit$/d" active enabled; done ;;
esac
"""
FIRST = {"name": "first", "config": {"port": 8001}, "environment": {"A": "1"}, "secrets": {"VLLM_API_KEY": "sk-hidden"}}
SECOND = {"name": "second", "config": {"port": 8002}}
Keep = Callable[..., dict[str, Any]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    for name in ("active", "enabled", "calls"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


@pytest.fixture
def keep(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    monkeypatch.setattr("shutil.which", lambda _: None)  # nobody is asked what the user vllm may read

    def run(*instances: dict[str, Any], check_mode: bool = False, **options: Any) -> dict[str, Any]:
        calls.write_text("")
        arguments = {
            "instances": list(instances),
            "unit": "[Service]\n",
            "engine": "0.33.0-cuda",
            "config_dir": str(tmp_path / "etc"),
            "unit_dir": str(tmp_path),
            "group": "root",
            "_ansible_check_mode": check_mode,
            **options,
        }
        output = io.StringIO()
        with patch_module_args(arguments), redirect_stdout(output), pytest.raises(SystemExit):
            vllm_instances.main()
        result: dict[str, Any] = json.loads(output.getvalue())
        return result

    return run


def restarted(calls: Path) -> list[str]:
    lines = [line.split() for line in calls.read_text().splitlines()]
    return [word for line in lines if line[0] == "restart" for word in line[1:]]


def test_first_run_starts_and_second_changes_nothing(keep: Keep, calls: Path) -> None:
    assert keep(FIRST, SECOND)["actions"] == {"first": "started", "second": "started"}
    again = keep(FIRST, SECOND)
    assert (again["changed"], again["actions"]) == (False, {"first": "unchanged", "second": "unchanged"})
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["show"]


@pytest.mark.parametrize(
    "change", [{"config": {"port": 9}}, {"environment": {"A": "2"}}, {"secrets": {"VLLM_API_KEY": "sk-other"}}]
)
def test_a_change_restarts_its_own_instance_alone(keep: Keep, calls: Path, change: dict[str, Any]) -> None:
    keep(FIRST, SECOND)
    assert keep({**FIRST, **change}, SECOND)["actions"] == {"first": "restarted", "second": "unchanged"}
    assert restarted(calls) == ["vllm@first.service"]


@pytest.mark.parametrize("option", [{"engine": "0.34.0-cuda"}, {"unit": "[Service]\nNice=5\n"}])
def test_what_all_share_restarts_all(keep: Keep, calls: Path, option: dict[str, str]) -> None:
    keep(FIRST, SECOND)
    keep(FIRST, SECOND, **option)
    assert restarted(calls) == ["vllm@first.service", "vllm@second.service"]


def test_a_run_that_ended_before_the_restart_is_made_good(keep: Keep, calls: Path, tmp_path: Path) -> None:
    keep(FIRST, SECOND)
    (tmp_path / "etc" / ".started" / "first").write_text("what ran before")
    result = keep(FIRST, SECOND)
    assert result["changed"]
    assert restarted(calls) == ["vllm@first.service"]


def test_an_instance_that_is_listed_no_more_goes(keep: Keep, calls: Path, tmp_path: Path) -> None:
    keep(FIRST, SECOND)
    assert keep(SECOND)["actions"] == {"first": "removed", "second": "unchanged"}
    assert "disable --quiet --now vllm@first.service" in calls.read_text()
    assert [path.name for path in sorted((tmp_path / "etc").glob("*.*"))] == [".started", "second.env", "second.yaml"]


def test_files_of_somebody_else_stay(keep: Keep, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "other.yaml").write_text("port: 1\n")
    keep(FIRST)
    assert (tmp_path / "etc" / "other.yaml").exists()


def test_modes_are_mended_without_a_restart(keep: Keep, calls: Path, tmp_path: Path) -> None:
    keep(FIRST)
    environment = tmp_path / "etc" / "first.env"
    environment.chmod(0o644)
    result = keep(FIRST)
    assert (result["changed"], result["actions"]["first"]) == (True, "unchanged")
    assert environment.stat().st_mode & 0o777 == 0o600
    assert restarted(calls) == []


def test_check_mode_predicts_and_touches_nothing(keep: Keep, calls: Path, tmp_path: Path) -> None:
    result = keep(FIRST, check_mode=True)
    assert (result["changed"], result["actions"]) == (True, {"first": "started"})
    assert not (tmp_path / "etc").exists()
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["show"]


def test_secrets_are_in_the_file_and_in_nothing_that_is_returned(keep: Keep, tmp_path: Path) -> None:
    result = keep(FIRST)
    assert "VLLM_API_KEY=sk-hidden" in (tmp_path / "etc" / "first.env").read_text()
    assert "sk-hidden" not in json.dumps(result["diff"])
    assert "VLLM_API_KEY=(secret)" in json.dumps(result["diff"])


def test_one_mistake_keeps_all_from_being_touched(keep: Keep, calls: Path, tmp_path: Path) -> None:
    options = tmp_path / "options.txt"
    options.write_text("port\nmax-model-len\n")
    wrong = {"name": "wrong", "config": {"max-modl-len": 1}}
    result = keep(FIRST, wrong, options_file=str(options))
    assert result["problems"] == ["wrong: vLLM has no option 'max-modl-len'; did you mean 'max-model-len'?"]
    assert calls.read_text() == ""
    assert not (tmp_path / "etc").exists()

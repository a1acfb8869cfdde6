"""Playbooks refuse values that are none of their variables'."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

FOLDER = Path(__file__).resolve().parents[2] / "playbooks"
LOOK = ("--check", "--tags", "vllm_preflight")
SPECIFIED = sorted(path.name.removesuffix(".meta.yml") for path in FOLDER.glob("*.meta.yml"))
# A run that changes nothing has six tasks; «serial» and the role refuse what is no value of these.
WITHOUT_TASK = {"vllm", "ollama"}


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def specs(playbook: str) -> dict[str, dict[str, Any]]:
    return read(f"{playbook}.meta.yml")["argument_specs"]


@pytest.mark.parametrize("playbook", SPECIFIED)
def test_specifications_are_of_plays_that_hold_their_variables_against_them(playbook: str) -> None:
    plays = {play["name"]: play for play in read(f"{playbook}.yml")}
    for name in specs(playbook):
        tasks = plays[name]["tasks"]
        validating = [task for task in tasks if task.get("ansible.builtin.import_tasks") == "tasks/arguments.yml"]
        assert [task["vars"]["__playbook"] for task in validating] == ([] if playbook in WITHOUT_TASK else [playbook])


@pytest.mark.parametrize("playbook", SPECIFIED)
def test_specifications_are_ones(playbook: str) -> None:
    for spec in specs(playbook).values():
        for name, option in spec["options"].items():
            assert (
                {"type", "description"}
                <= set(option)
                <= {
                    *("type", "description", "default", "choices", "elements", "required"),
                }
            ), name
        values = {name: option["default"] for name, option in spec["options"].items() if "default" in option}
        required = {name: "x" for name, option in spec["options"].items() if option.get("required")}
        plain = {
            name: {key: value for key, value in option.items() if key not in ("description", "default")}
            for name, option in spec["options"].items()
        }
        assert ArgumentSpecValidator(plain).validate({**values, **required}).error_messages == []


@pytest.mark.parametrize("playbook", SPECIFIED)
def test_every_specified_variable_is_read(playbook: str) -> None:
    files = [FOLDER / f"{playbook}.yml", *(FOLDER / "tasks").glob("*.yml")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    text += "\n".join(path.read_text("utf-8") for path in FOLDER.parent.glob("roles/common/tasks/*.yml"))
    for spec in specs(playbook).values():
        for name in spec["options"]:
            assert re.search(rf"\b{name}\b", text), name


def test_the_benchmark_knows_the_specified_variables() -> None:
    """Roles take its tasks in without its playbook, so they name the variables themselves."""
    refuse = yaml.safe_load((FOLDER / "tasks" / "benchmark.yml").read_text("utf-8"))[0]
    specified = next(iter(specs("benchmark").values()))["options"]
    assert sorted(refuse["vars"]["__benchmark_known"]) == sorted(specified)


@pytest.mark.parametrize(
    ("playbook", "variable", "told"),
    [
        ("adopt", "adopt_state=gone", "value of adopt_state must be one of: found, adopted, undone, settled"),
        ("benchmark", "benchmark_endpoint=chats", "value of benchmark_endpoint must be one of: chat, completions"),
        ("doctor", "format=html", "value of format must be one of: text, json"),
        ("logs", "lines=many", "argument 'lines' is of type str and we were unable to convert to int"),
        ("rollback", "generation=last", "argument 'generation' is of type str and we were unable to convert to int"),
        ("status", "fail_on_drift=perhaps", "argument 'fail_on_drift' is of type str and we were unable to convert"),
    ],
)
def test_what_is_no_value_is_refused(playbook: str, variable: str, told: str, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("vllm: {hosts: {here: {ansible_connection: local, ansible_become: false}}}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", FOLDER / f"{playbook}.yml", "-i", inventory, "-e", variable],
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((done.stdout + done.stderr).replace("''", "'").split())
    assert done.returncode == 2, said
    assert told in said
    assert " ok=0 " in said


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"vllm_version": "0.32.0"}, "correct model"),  # a lock for the CPU alone
        ({"vllm_version": "0.33.0"}, "expected one of 0.32.0 for cpu, found 0.33.0: set vllm_requirements"),
        ({"vllm_version": "9.9.9"}, "expected one of 0.32.0 for cpu, found 9.9.9: set vllm_requirements"),
        ({"vllm_variant": "cuda", "vllm_version": "0.32.0"}, "expected one of 0.33.0 for cuda, found 0.32.0"),
    ],
)
def test_a_version_without_a_lock_is_refused_in_words(variables: dict[str, str], told: str, tmp_path: Path) -> None:
    """On this machine, as a host without cards; nothing but the look runs."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    models = [{"name": "tiny", "model": str(tmp_path / "none")}]
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"vllm": {"hosts": {"here": {**here, "vllm_models": models, **variables}}}}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", FOLDER / "vllm.yml", "-i", inventory, *LOOK],
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "Nothing was changed." in said
    assert told in said

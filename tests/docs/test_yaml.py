"""Every block of YAML is held against argument specifications, documented return values, or Ansible's parser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from . import known
from .blocks import ROOT, Code, everything

BLOCKS = everything("yaml")
# Variables that playbooks read, and the option of a module whose value they are.
OF_MODULES = {"benchmark_slo": ("openai_benchmark", "slo")}
# Lists and dictionaries of the connection's own, which Ansible knows and no role has to.
CONNECTION = re.compile(r"ansible_\w+")
SAMPLES: dict[str, Any] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}


def load(code: Code) -> Any:
    return yaml.safe_load(code.text)


def kind(data: Any) -> str:
    """Say what a block is: plays, tasks, an inventory, variables, or values that are none of these."""
    if isinstance(data, list):
        if any({"hosts", "ansible.builtin.import_playbook"} & set(item) for item in data):
            return "plays"
        return "tasks" if any("." in key for item in data for key in item) else "values"
    if all(isinstance(value, dict) and set(value) <= known.INVENTORY_KEYS and value for value in data.values()):
        return "inventory"
    return "variables" if any(spec(name) for name in data) else "values"


def spec(name: str) -> dict[str, Any] | None:
    """Return the specification of a variable, or None where there is none."""
    if name in OF_MODULES:
        module, option = OF_MODULES[name]
        return known.documentation(module)[0][option]
    return known.role_options().get(name)


def fill_in(value: Any, wanted: dict[str, Any]) -> Any:
    """Put a sample of the right type where a page has a template or «…»."""
    if isinstance(value, str) and ("{{" in value or value == "…"):
        return SAMPLES.get(wanted.get("type", "str"), value)
    inner = wanted.get("options", {})
    if isinstance(value, dict):
        return {key: fill_in(item, inner.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        of_each = {"type": wanted.get("elements", "str"), "options": inner}
        return [fill_in(item, of_each) for item in value]
    return value


def problems(variables: dict[str, Any]) -> list[str]:
    """Say what is wrong with variables, as a role would."""
    said = []
    for name, value in variables.items():
        wanted = spec(name)
        if wanted is None:
            if not CONNECTION.fullmatch(name):
                said.append(f"{name}: no role and no playbook reads it")
            continue
        said += ArgumentSpecValidator({name: wanted}).validate({name: fill_in(value, wanted)}).error_messages
    return said


def inventory_variables(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the variables of every group and host of an inventory."""
    found = []
    for group in data.values():
        hosts = group.get("hosts") or {}
        found += [group.get("vars") or {}, *(values for values in hosts.values() if values)]
        found += inventory_variables(group.get("children") or {})
    return found


@pytest.mark.parametrize("code", [code for code in BLOCKS if kind(load(code)) == "variables"], ids=str)
def test_variables(code: Code) -> None:
    assert problems(load(code)) == []


@pytest.mark.parametrize("code", [code for code in BLOCKS if kind(load(code)) == "inventory"], ids=str)
def test_inventory(code: Code) -> None:
    assert [problem for variables in inventory_variables(load(code)) for problem in problems(variables)] == []


@pytest.mark.parametrize("code", [code for code in BLOCKS if kind(load(code)) in ("plays", "tasks")], ids=str)
def test_plays_and_tasks(code: Code, tmp_path: Path) -> None:
    data = load(code)
    plays = data if kind(data) == "plays" else [{"hosts": "localhost", "gather_facts": False, "tasks": data}]
    for play in plays:
        for role in play.get("roles", ()):
            assert problems(role.get("vars", {})) == []
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump(plays, sort_keys=False), "utf-8")
    command = ["ansible-playbook", "--syntax-check", "-i", "localhost,", playbook]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("code", [code for code in BLOCKS if kind(load(code)) == "values"], ids=str)
def test_values(code: Code, exceptions: dict) -> None:
    """What a page shows as an answer has the keys that the one who gives it documents."""
    data = load(code)
    sample = data[0] if isinstance(data, list) else data
    entry = next(
        (e for e in exceptions["values"] if (e["page"], e["first_key"]) == (code.page, next(iter(sample)))), None
    )
    assert entry, "expected variables, plays, tasks or an inventory, found values that exceptions.yml does not name"
    documented = known.returned_keys(entry["returned_by"])
    assert set(sample) - documented == set()


@pytest.mark.parametrize("inventory", sorted(path.name for path in (ROOT / "inventories").iterdir()))
def test_our_own_inventories(inventory: str) -> None:
    folder = ROOT / "inventories" / inventory
    hosts = yaml.safe_load((folder / "hosts.yml").read_text("utf-8"))
    said = [problem for variables in inventory_variables(hosts) for problem in problems(variables)]
    for path in [*folder.glob("group_vars/**/*.yml"), *folder.glob("host_vars/**/*.yml")]:
        said += problems(yaml.safe_load(path.read_text("utf-8")))
    assert said == []

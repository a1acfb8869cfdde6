#!/usr/bin/env python3
"""Stands in for a program while a page's commands are run: does it for real where that is cheap and harmless.

What would change hosts of the reader's is checked instead: its options by Ansible's own parser, the playbook,
inventory, hosts, variables and tags by what there is, its tasks by listing them. Each call is noted in $DOCS_RECORD.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.cli.playbook import PlaybookCLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.docs import known  # noqa: E402

BIN = ROOT / ".venv" / "bin"
# They look, and change nothing.
LOOKS = {"plan", "status", "doctor", "logs", "benchmark"}
NAMES_HOSTS = {"tune_host", "export_hosts"}


class WrongError(Exception):
    """What a page says is not so."""


def main(program: str, arguments: list[str]) -> int:
    """Do, or check, one call; say what is wrong with it. What went well on another page is not done again."""
    record = Path(os.environ["DOCS_RECORD"])
    command = [program, *arguments]
    if record.exists() and command in [json.loads(line)["command"] for line in record.read_text("utf-8").splitlines()]:
        return 0
    try:
        how = {"ansible-playbook": playbook, "ansible": ansible, "make": make, "molecule": molecule}[program](arguments)
    except WrongError as error:
        print(f"{program} {' '.join(arguments)}: {error}", file=sys.stderr)
        return 1
    with record.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"how": how, "command": command}) + "\n")
    return 0


def run(*command: str | Path) -> str:
    """Run a program; return what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise WrongError(f"«{' '.join(map(str, command))}» ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print(done.stdout)
    return done.stdout


def playbook(arguments: list[str]) -> str:
    """Check a call of ansible-playbook; run it when its playbook only looks."""
    options = parsed(arguments)
    paths = [playbook_path(name) for name in options["args"]]
    inventories = [Path(path) for path in options["inventory"] if path != constants.DEFAULT_HOST_LIST[0]]
    variables = extra_variables(options["extra_vars"])
    for path in paths:
        check_variables(path, variables)
    check_hosts(options, inventories, variables)
    if {path.stem for path in paths} <= LOOKS:
        run(BIN / "ansible-playbook", *arguments, *at_home(variables, bool(inventories)))
        return "run"
    listed = run(BIN / "ansible-playbook", "--list-tasks", *arguments)
    if "TAGS: [" not in listed.replace("TAGS: []\n\n", ""):
        raise WrongError("no task would be run")
    for path in paths:
        check_proof(path)
    return "checked"


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return what Ansible makes of the arguments."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            PlaybookCLI(["ansible-playbook", *arguments]).parse()
    except (AnsibleError, SystemExit) as error:
        raise WrongError(f"ansible-playbook does not take these arguments: {error}\n{said.getvalue()}") from error
    return dict(context.CLIARGS)


def playbook_path(name: str) -> Path:
    """Return the file of a playbook, given by path or by its full name."""
    path = (
        ROOT / "playbooks" / f"{name.removeprefix('llm.serving.')}.yml"
        if name.startswith("llm.serving.")
        else Path(name)
    )
    if not path.exists():
        raise WrongError(f"expected a playbook, found no {path}")
    return path


def extra_variables(given: tuple[str, ...]) -> dict[str, Any]:
    """Return the variables of -e, as Ansible reads them."""
    variables: dict[str, Any] = {}
    for text in given:
        variables |= json.loads(text) if text.startswith("{") else parse_kv(text)
    return variables


def check_variables(path: Path, variables: dict[str, Any]) -> None:
    """Refuse a variable that nothing reads."""
    # The use of a model, of which plan.yml's choice of the engine reads all that it knows.
    planned = (
        known.model_keys() | {"goal", "effort", "latency_sensitive", "switches_models"}
        if path.stem == "plan"
        else set()
    )
    for name in variables:
        if name not in planned and not known.is_read_by(path, name):
            raise WrongError(f"-e {name}: neither {path.name} nor one of its roles reads it")


def check_hosts(options: dict[str, Any], inventories: list[Path], variables: dict[str, Any]) -> None:
    """Refuse an inventory that is not there, and hosts or groups that it lacks."""
    for path in inventories:
        if not path.exists():
            raise WrongError(f"-i: expected an inventory, found no {path}")
    inventory = InventoryManager(DataLoader(), [str(path) for path in inventories] or ["localhost,"])
    there = {*inventory.hosts, *inventory.groups}
    named = {*(options["subset"] or "").split(",")} - {""} | {variables[name] for name in NAMES_HOSTS & set(variables)}
    if named - there:
        raise WrongError(f"expected hosts or groups of the inventory, found {', '.join(sorted(named - there))}")


def check_proof(path: Path) -> None:
    """Refuse a playbook that no scenario applies: then nothing shows that the command works."""
    wanted = re.compile(rf'\b{path.stem}\.yml\b|llm\.serving\.{path.stem}\b|\bplay\w*\("{path.stem}"')
    if not any(
        wanted.search(file.read_text("utf-8")) for file in ROOT.glob("molecule/**/*") if file.suffix in (".yml", ".py")
    ):
        raise WrongError(f"no scenario of molecule/ applies {path.name}")


def at_home(variables: dict[str, Any], has_inventory: bool) -> list[str]:
    """Return what leads a call to the test's own host, away from the Hub, and to an end."""
    more = ["-e", "models_hub_endpoint=http://127.0.0.1:9"]
    if has_inventory:
        more += ["-i", os.environ["DOCS_FLEET"]]
    if "benchmark_concurrency" in variables:  # says what would be sent: no engine runs on that host
        more += ["--check"]
    if "follow" in variables:
        more += ["-e", "follow_seconds=1"]
    return more


def ansible(arguments: list[str]) -> str:
    """Run an ad-hoc call against the test's own host."""
    run(BIN / "ansible", *arguments, "-i", os.environ["DOCS_FLEET"])
    return "run"


def make(arguments: list[str]) -> str:
    """Check that make knows a target, and say what it would do."""
    run("/usr/bin/make", "-n", *arguments)
    return "checked"


def molecule(arguments: list[str]) -> str:
    """Check that there is such a scenario, or any if none is named."""
    if arguments == ["test"]:
        return "checked"
    name = arguments[1 + max(arguments.index(flag) for flag in ("-s", "--scenario-name") if flag in arguments)]
    if not Path("molecule", name, "molecule.yml").exists():
        raise WrongError(f"expected a scenario, found no molecule/{name}")
    return "checked"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

"""A copy of the checkout in which a page's commands are run, one booted host, and what answers as engines do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from .blocks import ROOT

sys.path.insert(0, str(ROOT))
from tests.unit.benchmark.server import Engine, serving
from tests.unit.openai import server as scripted

SHIMMED = ("ansible-playbook", "ansible", "make", "molecule")
TESTHOST = """#!/usr/bin/env python3
# Labs get names of this run's own, so that nobody's lab of that name is touched.
import os, sys
words = sys.argv[1:]
for flag in [at for at, word in enumerate(words) if word == "--lab"]:
    words[flag + 1] = "{prefix}" + words[flag + 1]
if words[0] in ("exec", "inventory") and not words[1].startswith("-"):
    words[1] = "{prefix}" + words[1]
os.execv("{tool}", ["{tool}", *words])
"""


@dataclass(frozen=True)
class Sandbox:
    """Where commands are run, and how."""

    folder: Path
    environment: dict[str, str]
    stand_ins: dict[str, str]
    record: Path

    def bash(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as a reader would, from the root of a checkout."""
        for name, value in self.stand_ins.items():
            script = script.replace(name, value)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        raise pytest.UsageError("tests/docs boots a host and needs root")


@pytest.fixture(scope="session")
def exceptions() -> dict:
    return yaml.safe_load((ROOT / "tests" / "docs" / "exceptions.yml").read_text("utf-8"))


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    with serving(Engine()) as url:
        yield url


@pytest.fixture(scope="session")
def chat() -> Iterator[str]:
    """What the examples talk to."""
    reply = {"choices": [{"message": {"content": "A model of language."}, "text": "A model"}]}
    answers = {
        "/v1/models": (200, json.dumps({"data": [{"id": "qwen32b"}]})),
        "/v1/chat/completions": (200, json.dumps(reply)),
        "/v1/completions": (200, json.dumps(reply)),
    }
    pieces = [scripted.event({"choices": [{"delta": {"content": "A model"}}]}), b"data: [DONE]\n\n"]
    script = scripted.Script(answers=answers, streams={"/v1/chat/completions": pieces})
    with scripted.serving(script) as url:
        yield url


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory by which every host of inventories/prod is one and the same booted host."""
    lab = f"docs{os.getpid()}"
    os.environ.setdefault("TESTHOST_OWNER", str(os.getpid()))  # a killed run's labs are known as stale
    tool = ROOT / "tools" / "testhost"
    try:
        path = subprocess.run([tool, "up", "--lab", lab, "gate1"], check=True, capture_output=True, text=True).stdout
        host = yaml.safe_load(Path(path.strip()).read_text())["all"]["hosts"]["gate1"]
        prod = yaml.safe_load((ROOT / "inventories" / "prod" / "hosts.yml").read_text())["all"]["children"]
        # A group of hosts for engines, as pages call it where they show a single role.
        groups = {**{name: group["hosts"] for name, group in prod.items()}, "inference": {"gpu1": {}}}
        inventory = tmp_path_factory.mktemp("fleet") / "hosts.yml"
        inventory.write_text(
            yaml.safe_dump(
                {"all": {"children": {name: {"hosts": dict.fromkeys(hosts, host)} for name, hosts in groups.items()}}}
            )
        )
        yield inventory
    finally:
        subprocess.run([tool, "down", "--lab", lab], check=True, capture_output=True)


@pytest.fixture(scope="session")
def sandbox(fleet: Path, engine: str, chat: str, exceptions: dict) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp(prefix="llm-docs-"))
    prefix = f"docs{os.getpid()}-"
    try:
        listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
        there = [name for name in listed.split("\0") if name and name != ".venv" and os.path.lexists(ROOT / name)]
        subprocess.run(["cp", "-a", "--parents", *there, folder], cwd=ROOT, check=True)
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name in SHIMMED:
            write_program(
                programs / name, f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/docs/shim.py" {name} "$@"\n'
            )
        path = f"{programs}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
        (programs / "activate").write_text(f"export PATH={path}\n")
        (folder / "tools" / "testhost").unlink()
        write_program(folder / "tools" / "testhost", TESTHOST.format(prefix=prefix, tool=ROOT / "tools" / "testhost"))
        subprocess.run([ROOT / "tools" / "tiny_model.py", folder / "model"], check=True, capture_output=True)
        (folder / "findings.log").write_text("ValueError: Free memory on device (10/80 GiB) on startup is less\n")
        (folder / "home").mkdir()
        record = folder / "record.jsonl"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTEST_"))},
            "PATH": path,
            "HOME": str(folder / "home"),
            "LLM_SERVING_CACHE": os.environ.get("LLM_SERVING_CACHE", str(cache())),
            "DOCS_FLEET": str(fleet),
            "DOCS_RECORD": str(record),
            "EDITOR": "true",
            "KEY": "none",
            "PASSPHRASE": "",
            "NO_COLOR": "1",
        }
        values = {"engine": engine, "chat": chat, "model": str(folder / "model"), "file": str(folder / "findings.log")}
        stand_ins = {name: text.format(**values) for name, text in exceptions["stand_ins"].items()}
        yield Sandbox(folder, environment, stand_ins, record)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for lab in ("mine", "other"):
            subprocess.run(
                [ROOT / "tools" / "testhost", "down", "--lab", prefix + lab], check=True, capture_output=True
            )


def cache() -> Path:
    """Return where bases of test hosts are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llm-serving"


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)

"""What the scenarios' common configuration promises, tried on a scenario made for it in a checkout of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

CONVERGE = """\
- name: Converge
  hosts: all
  gather_facts: false
  tasks:
    - name: Leave a mark
      ansible.builtin.command:
        cmd: touch /mark
        creates: {creates}
    - name: Use a secret
      ansible.builtin.command: echo hunter2
      changed_when: false
      no_log: true
"""
TEST = """\
def test_mark(host):
    assert host.file("/mark").exists
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as a scenario needs."""
    for part in ("tools/testhost", "tools/testhostlib", "molecule/common", ".config/molecule"):
        source, target = ROOT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    scenario = tmp_path / "molecule" / "probe"
    (scenario / "inventory").mkdir(parents=True)
    (scenario / "tests").mkdir()
    (scenario / "molecule.yml").write_text("{}\n")
    (scenario / "inventory/hosts.yml").write_text("all: {hosts: {probe: {}}}\n")
    (scenario / "inventory/lab").symlink_to("../../common/lab")
    # Molecule takes .config/molecule/config.yml from the root of a repository.
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def molecule(checkout: Path, creates: str) -> tuple[dict[str, str], str]:
    """Run the probe: what became of each step, and all that was printed."""
    (checkout / "molecule/probe/converge.yml").write_text(CONVERGE.format(creates=creates))
    (checkout / "molecule/probe/tests/test_probe.py").write_text(TEST)
    done = subprocess.run(
        ["molecule", "test", "--scenario-name", "probe"],
        cwd=checkout,
        # Where this run's report goes and which of its tests are wanted is no matter of the probe's.
        env={**os.environ, "NO_COLOR": "1", "MOLECULE_GLOB": "molecule/*/molecule.yml", "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    steps = dict(re.findall(r"\[probe > (\w+)\] Executed: (\w+)", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)))
    steps["test"] = "Successful" if done.returncode == 0 else "Failed"
    labs = subprocess.run([checkout / "tools/testhost", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert str(checkout) not in labs
    return steps, done.stdout


def test_a_good_scenario_passes_and_keeps_secrets(checkout: Path) -> None:
    steps, said = molecule(checkout, creates="/mark")
    assert steps == dict.fromkeys(
        ("destroy", "create", "prepare", "check", "converge", "idempotence", "verify", "test"), "Successful"
    ), said
    assert "1 passed" in said
    assert "hunter2" not in said


def test_a_change_in_the_second_run_fails_the_scenario(checkout: Path) -> None:
    steps, said = molecule(checkout, creates="/other")
    assert (steps["converge"], steps["idempotence"], steps["test"]) == ("Successful", "Failed", "Failed"), said
    assert "Idempotence test failed because of the following tasks:\n*  => Leave a mark" in said
    assert "verify" not in steps

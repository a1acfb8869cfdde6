"""playbooks/adopt.yml where it writes into the inventory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".json"])
def test_a_file_with_the_hosts_variables_is_not_hidden_by_a_folder(tmp_path: Path, suffix: str) -> None:
    """The folder is meant as seen from where the playbook is called, whatever PWD says."""
    (tmp_path / "vars").mkdir()
    (tmp_path / f"vars/here{suffix}").write_text("{}", "utf-8")
    command = [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks/adopt.yml", "-i", "here,"]
    options = ["-c", "local", "-e", "ansible_become=false adopt_write_dir=vars"]
    environment = {**os.environ, "PWD": "/"}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert f"{tmp_path}/vars/here{suffix} would no longer be read beside a folder of that name" in said
    assert not (tmp_path / "vars/here").exists()

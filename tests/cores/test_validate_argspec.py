"""The files beside playbooks are what validate_argspec of ansible-core 2.20 reads; 2.19 would refuse the keyword."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from ansible.release import __version__

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def test_the_keyword_reads_the_files(tmp_path: Path) -> None:
    folder = shutil.copytree(PLAYBOOKS, tmp_path / "playbooks")
    plays = yaml.safe_load((folder / "adopt.yml").read_text("utf-8"))
    plays[0]["validate_argspec"] = True
    (folder / "adopt.yml").write_text(yaml.safe_dump(plays), "utf-8")
    command = [Path(sys.executable).parent / "ansible-playbook", folder / "adopt.yml", "-i", "here,", "-c", "local"]
    variables = ["-e", "ansible_become=false adopt_state=gone"]
    done = subprocess.run([*command, *variables], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    if __version__.startswith("2.19."):
        assert "'validate_argspec' is not a valid attribute for a Play" in said
    else:
        # Ours has another name, and would come second.
        assert "Validating arguments against arg spec Take over what was set up by hand" in said
        assert "value of adopt_state must be one of: found, adopted, undone, settled" in said
        assert "Refuse values that are none" not in said

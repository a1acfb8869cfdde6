"""playbooks/tune.yml where it writes into the inventory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".json"])
def test_a_file_with_the_hosts_variables_is_not_hidden_by_a_folder(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "hosts").write_text("[ollama]\nhere ansible_connection=local ansible_become=false\n", "utf-8")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / f"host_vars/here{suffix}").write_text('{"ollama_models": [{"name": "tiny"}]}', "utf-8")
    command = [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks/tune.yml", "-i", tmp_path / "hosts"]
    options = ["-e", "tune_host=here", "-e", '{"benchmark_slo": {"ttft_seconds": 1}}']
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert f"{tmp_path}/host_vars/here{suffix} would no longer be read beside a folder of that name" in said
    assert not (tmp_path / "host_vars/here").exists()

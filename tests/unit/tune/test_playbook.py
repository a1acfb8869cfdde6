"""playbooks/tune.yml where it writes into the inventory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def test_what_is_written_repeats_no_secret(tmp_path: Path) -> None:
    play = {
        "hosts": "here",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/tune_write.yml")}],
        "vars": {
            "vllm_models": [{"name": "tiny", "secrets": {"HF_TOKEN": "hf_hidden"}}, {"name": "other"}],
            "__tune_before": {"other": {"max_num_seqs": 2}, "tiny": {"max_model_len": 512, "max_num_seqs": 1}},
            "__tune_dest": str(tmp_path / "host_vars/here/tuned.yml"),
            "__tune_engine": "vllm",
            "__tune_model": "tiny",
            "__tune_settings": {"max_num_seqs": 8},
            "__tune_slo": {"ttft_seconds": 1},
            "__tune_trials": [{"settings": {"max_num_seqs": 8}, "summary": None, "error": "none"}],
        },
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]), "utf-8")
    command = [Path(sys.executable).parent / "ansible-playbook", tmp_path / "play.yml", "-i", "here,", "-c", "local"]
    done = subprocess.run([*command, "--diff"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "host_vars/here/tuned.yml").read_text("utf-8")
    assert yaml.safe_load(written) == {
        "vllm_tuned": {"other": {"max_num_seqs": 2}, "tiny": {"max_model_len": 512, "max_num_seqs": 8}}
    }
    assert "hf_hidden" not in written + done.stdout

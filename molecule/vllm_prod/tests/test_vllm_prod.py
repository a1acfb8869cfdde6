"""What the example fleet's GPU host would start, held against the launch line that it comes from."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
SNAPSHOT = "/srv/models/Qwen/Qwen2.5-32B-Instruct/5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd"
ENGINE = "/opt/vllm/0.33.0-cuda"


def environment_of(host, name):
    lines = host.file(f"/etc/vllm/{name}.env").content_string.splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_configuration_is_that_of_the_launch_line(host):
    config = yaml.safe_load(host.file("/etc/vllm/qwen32b.yaml").content_string)
    assert config == {
        "model": SNAPSHOT,
        "served-model-name": "qwen32b",
        "host": host.ansible.get_variables()["ansible_host"],
        "port": 8010,
        "tensor-parallel-size": 2,
        "dtype": "bfloat16",
        "max-model-len": 8192,
        "max-num-seqs": 8,
        "gpu-memory-utilization": 0.8,
        "max-num-batched-tokens": 4096,  # planned: the launch line leaves it to the card's name and size
    }


def test_the_environment_is_that_of_the_launch_line(host):
    environment = environment_of(host, "qwen32b")
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["PYTORCH_ALLOC_CONF"] == "expandable_segments:True,max_split_size_mb:256"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"


def test_the_unit_is_sound_and_lets_cuda_work(host):
    assert host.run("systemd-analyze verify vllm@qwen32b.service 2>&1").stdout == ""
    unit = host.file("/etc/systemd/system/vllm@.service").content_string
    whole_lines = unit.replace("\\\n", "").splitlines()
    directives = {line for line in whole_lines if line and not line.startswith("#")}
    (start,) = (line for line in directives if line.startswith("ExecStart="))
    assert start.endswith(" /opt/vllm/current/bin/vllm serve --config /etc/vllm/%i.yaml")
    assert "ExecStartPre=+-/usr/bin/nvidia-modprobe -c 0 -u" in directives
    names = {line.split("=")[0] for line in directives}
    breaks_cuda = {
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "MemoryDenyWriteExecute",
        "ProtectClock",
        "MemoryMax",
    }
    assert not names & breaks_cuda
    assert {"ProtectSystem", "NoNewPrivileges", "SystemCallFilter", "RestrictAddressFamilies"} <= names
    assert host.service("vllm@qwen32b").is_enabled


def test_the_engine_is_the_cuda_build(host):
    assert host.file("/opt/vllm/current").linked_to == ENGINE
    assert host.check_output(f"{ENGINE}/bin/python -c 'import torch; print(torch.version.cuda)'") == "13.0"
    assert "tensor-parallel-size" in host.file(f"{ENGINE}/options.txt").content_string.split()


def play(playbook, *options):
    """Run a playbook of the collection for this scenario's host, as its operator would."""
    command = [
        "ansible-playbook",
        f"--inventory={ROOT}/inventories/prod/",
        f"--inventory={SCENARIO}/inventory/",
        "--limit=gpu1",
        *options,
        str(ROOT / "playbooks" / playbook),
    ]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)


def test_the_plan_of_the_fleet_is_what_was_configured(host, tmp_path):
    since = host.check_output("date +%s")
    page = tmp_path / "plan.html"
    run = play("plan.yml", f"--extra-vars=plan_report={page}")
    assert run.returncode == 0, run.stdout
    assert re.search(r"gpu1 .*changed=0 .*failed=0", run.stdout)
    assert "2 × NVIDIA A100" in run.stdout
    row = next(line for line in run.stdout.splitlines() if re.match(r"\W*qwen32b\b", line))
    assert {"2", "8192", "8"} <= set(re.findall(r"[\d.]+", row.replace(",", ""))), row
    text = page.read_text(encoding="utf-8")
    assert "qwen32b" in text
    assert not re.search(r"""(?:src|href)=["']https?://""", text)
    assert host.check_output(f"find /etc/vllm /srv/models /opt/vllm -newermt @{since} -type f | wc -l") == "0"


def test_without_cuda_the_play_fails_at_once_and_says_why():
    run = play("vllm.yml")
    words = " ".join(run.stdout.split())
    assert run.returncode != 0
    assert "vllm@qwen32b.service is" in words
    assert "What to do: The engine sees no usable GPU" in words

"""A host with GPUs that its Ollama cannot use. The cards are stand-ins; the fallback to the CPU is real."""

from __future__ import annotations

import pytest
from conftest import module, play

H100_BYTES = 85520809984
LIMIT_BYTES = 60 * 10**9


@pytest.fixture(scope="module")
def environment(gpu):
    lines = gpu.file("/etc/ollama/ollama.env").content_string.splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_names_of_old_do_their_job_by_todays_means(environment):
    overhead = H100_BYTES - LIMIT_BYTES
    assert environment["OLLAMA_GPU_OVERHEAD"] == str(overhead)
    assert environment["LLAMA_ARG_FIT_TARGET"] == str(-(-overhead // 2**20))
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert not {"OLLAMA_MAX_VRAM", "OLLAMA_NUM_GPU", "OLLAMA_GPU_LAYERS"} & set(environment)


def test_they_are_in_force(environment):
    found = module("ollama_check", "gpu", environment=environment)
    for name in ("OLLAMA_GPU_OVERHEAD", "LLAMA_ARG_FIT_TARGET", "CUDA_VISIBLE_DEVICES"):
        assert found["config"][name] == environment[name]


def test_layers_on_the_gpu_are_a_parameter_of_the_model(gpu):
    shown = gpu.check_output("ollama show --parameters tiny").splitlines()
    assert ["num_gpu", "1"] in [line.split() for line in shown]


def test_a_silent_fallback_to_the_cpu_fails_the_play_with_its_reason(gpu):
    run = play("ollama.yml", "gpu", ollama_gpu_percent=100)
    assert not run.ok
    assert "tiny:latest: 0 % of its" in run.output
    assert "has no cuda* folder: this archive was built without support for these cards" in run.output
    assert "when it started the server found only: cpu" in run.output
    assert gpu.service("ollama").is_running


def test_an_official_installation_is_taken_over(gpu):
    assert gpu.file("/usr/local/bin/ollama").is_symlink
    unit = gpu.file("/etc/systemd/system/ollama.service").content_string
    assert 'Environment="' not in unit and "EnvironmentFile=/etc/ollama/ollama.env" in unit
    assert "127.0.0.1:11434" in gpu.check_output("ss -Htln")


def test_the_sandbox_leaves_the_cards_visible(gpu, cpu):
    assert gpu.check_output("systemctl show -P PrivateDevices ollama") == "no"
    assert cpu.check_output("systemctl show -P PrivateDevices ollama") == "yes"
    assert "video" in gpu.user("ollama").groups

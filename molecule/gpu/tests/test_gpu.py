"""Facts and refusals on booted hosts. GPUs are stand-ins: what a real card would answer is not proved here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import testinfra

HERE = Path(__file__).resolve().parents[1]
INVENTORY = HERE / "inventory"
MIB = 2**20
# Of the time that a module which does nothing takes.
TIMES_ALLOWED = 2


def on(name):
    return pytest.mark.parametrize(
        "host", [f"ansible://{name}?ansible_inventory={INVENTORY}"], indirect=True, ids=[name]
    )


@pytest.fixture(scope="module")
def host(request):
    return testinfra.get_host(request.param)


def gpu(host):
    return host.ansible("llm.serving.gpu_facts", check=False)["ansible_facts"]["gpu"]


def play(target, **options):
    """Run the scenario's own play as a user would; return its status and what it printed."""
    variables = [word for name, value in {"target": target, **options}.items() for word in ("-e", f"{name}={value}")]
    command = ["ansible-playbook", "-i", INVENTORY, HERE / "converge.yml", *variables]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@on("bare")
def test_host_without_a_gpu(host):
    facts = gpu(host)
    assert (facts["vendor"], facts["source"], facts["devices"], facts["problem"]) == (None, None, [], None)


@on("nvlink")
def test_eight_cards_behind_switches(host):
    facts = gpu(host)
    assert (facts["vendor"], facts["source"], facts["driver_version"]) == ("nvidia", "nvml", "580.95.05")
    assert facts["cuda_version"] == "13.0"
    assert [device["index"] for device in facts["devices"]] == list(range(8))
    assert {device["memory_total_bytes"] for device in facts["devices"]} == {81559 * MIB}
    assert [device["numa_node"] for device in facts["devices"]] == [0] * 4 + [1] * 4
    assert facts["topology"][0] == ["X", *["NV18"] * 7]
    assert facts["problem"] is None


@on("mig")
def test_mig_instances(host):
    (device,) = gpu(host)["devices"]
    assert device["mig_enabled"] is True
    assert [(mig["index"], mig["profile"]) for mig in device["mig_devices"]] == [
        (0, "3g.40gb"),
        (1, "2g.20gb"),
        (3, "2g.20gb"),
    ]


@on("unified")
def test_unified_memory_is_the_hosts(host):
    (device,) = gpu(host)["devices"]
    total_kib = int(re.search(r"MemTotal:\s+(\d+)", host.file("/proc/meminfo").content_string)[1])
    assert (device["unified_memory"], device["memory_total_bytes"]) == (True, total_kib * 1024)


@on("fallback")
def test_nvidia_smi_answers_where_the_library_is_missing(host):
    facts = gpu(host)
    assert (facts["source"], facts["driver_version"], facts["problem"]) == ("nvidia-smi", "570.86.15", None)
    a100, l40s = facts["devices"]
    assert (a100["compute_capability"], l40s["compute_capability"]) == ("8.0", "8.9")
    assert [mig["profile"] for mig in a100["mig_devices"]] == ["3g.20gb", "1g.10gb"]


@on("fallback")
def test_nvidia_smi_that_hangs_is_given_up(host):
    host.check_output("echo 60 > /etc/stub-nvidia-smi/seconds")
    try:
        facts = host.ansible("llm.serving.gpu_facts", "timeout=1", check=False)["ansible_facts"]["gpu"]
    finally:
        host.check_output("rm /etc/stub-nvidia-smi/seconds")
    assert (facts["devices"], facts["problem"]["code"]) == ([], "not_answering")


@on("mismatched")
def test_version_mismatch(host):
    problem = gpu(host)["problem"]
    assert problem["code"] == "version_mismatch"
    assert "580.105.08" in problem["message"]
    assert "Reboot" in problem["remedy"]


def test_role_refuses_a_version_mismatch():
    status, output = play("mismatched")
    assert status == 2
    assert "The GPUs of mismatched are not ready for the engine. Nothing was changed." in output
    assert "library 580.105.08" in output
    assert "Reboot" in output


def test_role_accepts_it_where_the_gpu_may_stay_unused():
    status, output = play("mismatched", gpu_required="false")
    assert status == 0, output
    assert "library 580.105.08" in output


def test_role_refuses_an_old_driver_and_names_the_ways_out():
    status, output = play("outdated")
    assert status == 2
    assert "needs an NVIDIA driver of at least 580.65.06; found 535.274.02" in output
    assert "0.19.1" in output
    assert 'gpu_cuda_version: "12.9"' in output


def test_role_accepts_the_old_driver_for_a_build_with_cuda_12():
    status, output = play("outdated", gpu_cuda_version="12.9")
    assert status == 0, output
    assert "2 × NVIDIA L4, driver 535.274.02" in output


def test_role_refuses_a_host_without_a_gpu_only_where_one_is_required():
    status, output = play("bare", gpu_required="true")
    assert status == 2
    assert "Expected a GPU (gpu_required: true)" in output


@on("nvlink")
def test_module_is_quick(host, capsys):
    """The whole module on the host, Python's start included, with eight cards, against one that does nothing.

    In processor time, turn by turn: that depends neither on what else the machine does nor on how fast it is. The
    module waits for nothing.
    """
    environment = {**os.environ, "ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_PIPELINING": "false"}
    for module in ("llm.serving.gpu_facts", "ansible.builtin.ping"):
        command = ["ansible", "-i", INVENTORY, "nvlink", "-m", module]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    timer = (
        "import glob, resource, subprocess, sys\n"
        "def used():\n"
        "    usage = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    return usage.ru_utime + usage.ru_stime\n"
        "def once(name):\n"
        "    [payload] = glob.glob(f'/root/.ansible/tmp/*/AnsiballZ_{name}.py')\n"
        "    before = used()\n"
        "    subprocess.run([sys.executable, payload], check=True, stdout=subprocess.DEVNULL)\n"
        "    return used() - before\n"
        "turns = [(once('gpu_facts'), once('ping')) for _ in range(5)]\n"
        "print(*map(min, zip(*turns)))\n"
    )
    ours, nothing = map(float, host.check_output("python3 -c %s", timer).split())
    host.check_output("rm -r /root/.ansible/tmp")
    with capsys.disabled():
        print(f"\ngpu_facts with 8 cards: {ours * 1000:.0f} ms, a module that does nothing: {nothing * 1000:.0f} ms")
    assert ours < TIMES_ALLOWED * nothing

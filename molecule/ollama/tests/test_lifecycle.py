"""Upgrades, rollbacks, refusals and removal."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import ROOT, module, play

PORT = 11500


@pytest.fixture(scope="module")
def versions():
    return list(json.loads(subprocess.check_output([ROOT / "tools" / "build_ollama"]))["versions"])


def served(host):
    return module("ollama_facts", host, host=f"0.0.0.0:{PORT}")["ansible_facts"]["ollama"]


def state(cpu):
    files = ("/etc/ollama/ollama.env", "/etc/systemd/system/ollama.service")
    return [cpu.check_output(f"stat -c '%Y %s' {path}") for path in files]


def test_upgrade_and_rollback_keep_the_environment_and_prune(cpu, versions):
    first, second = versions
    before = state(cpu)

    upgrade = play("ollama.yml", "cpu", ollama_version=second)
    assert upgrade.ok, upgrade.output
    facts = served("cpu")
    assert (facts["current"], facts["versions"]) == (second, [first, second])
    assert f"Ollama {second} at" in upgrade.output

    rollback = play("ollama.yml", "cpu", ollama_version=first, ollama_keep=1, ollama_keep_generations=1)
    assert rollback.ok, rollback.output
    # What a generation needed that is forgotten in this run goes in the next.
    assert play("ollama.yml", "cpu", ollama_version=first, ollama_keep=1, ollama_keep_generations=1).ok
    facts = served("cpu")
    assert (facts["current"], facts["versions"]) == (first, [first])
    assert f"Ollama {first} at" in rollback.output
    # Nothing is fetched again for a rollback, and neither run wrote what was right.
    assert "Install the release" not in rollback.output
    assert state(cpu) == before
    assert cpu.file("/usr/local/bin/ollama").linked_to.startswith(f"/opt/ollama/{first}/")


def test_a_release_that_is_not_what_it_should_be_is_refused(cpu):
    wrong = {"ollama-linux-amd64.tar.zst": "0" * 64}
    run = play("ollama.yml", "cpu", ollama_version="9.9", ollama_base_url=url(), ollama_checksums=wrong)
    assert not run.ok
    assert "expected SHA-256 0000" in run.output and "Nothing was installed" in run.output
    assert cpu.service("ollama").is_running


def url():
    # The first release's archives under a version that was never installed.
    return "http://{{ hostvars.mirror.ansible_host }}:8000/{{ first_version }}"


def test_a_release_without_checksum_is_refused_before_anything(cpu):
    run = play("ollama.yml", "cpu", ollama_version="9.9", ollama_checksums={})
    assert not run.ok
    assert "No checksum for ollama-linux-amd64.tar.zst of Ollama 9.9" in run.output
    assert "Nothing was changed" in run.output


def test_a_port_that_is_taken_is_refused_before_anything(cpu):
    before = state(cpu)
    run = play("ollama.yml", "cpu", ollama_host="0.0.0.0:22")
    assert not run.ok
    assert "Port 22 of cpu is taken by sshd" in run.output
    assert "unit ssh.service" in run.output
    assert state(cpu) == before


def test_another_setting_restarts(cpu):
    show = "systemctl show -P InvocationID ollama"
    before = cpu.check_output(show)
    assert play("ollama.yml", "cpu", ollama_keep_alive="23h").ok
    assert cpu.check_output(show) != before
    assert play("ollama.yml", "cpu").ok


def test_check_mode_tells_what_would_change(cpu):
    show = "systemctl show -P InvocationID ollama"
    before = cpu.check_output(show), state(cpu)
    run = play("ollama.yml", "cpu", "--check", "--diff", ollama_keep_alive="1h", ollama_max_queue=7)
    assert run.ok, run.output
    assert "+OLLAMA_KEEP_ALIVE=1h" in run.output and "+OLLAMA_MAX_QUEUE=7" in run.output
    assert "plan: OLLAMA_MAX_QUEUE=7: set by the operator" in run.output
    assert (cpu.check_output(show), state(cpu)) == before


def test_removal_keeps_the_models_unless_told_otherwise(gpu):
    store = "/usr/share/ollama/.ollama/models/manifests"
    assert play("ollama.yml", "gpu", ollama_state="absent").ok
    for path in ("/opt/ollama", "/etc/ollama", "/etc/systemd/system/ollama.service", "/usr/local/bin/ollama"):
        assert not gpu.file(path).exists
    assert gpu.file(store).exists and gpu.user("ollama").exists
    assert play("ollama.yml", "gpu", ollama_state="absent").is_unchanged
    assert play("ollama.yml", "gpu", ollama_state="absent", ollama_purge_models=True).ok
    assert not gpu.file(store).exists and not gpu.user("ollama").exists

"""What befalls engines under a stream of requests: each recovers without a hand, and the other serves meanwhile.

A stream that was cut off in the middle cannot be mended by anybody but its client, so those are counted apart. A
request that never began to be answered is sent to the other host by the gateway, and none of these may be lost where
the engine is dead or hangs behind an API that lives.
"""

from __future__ import annotations

import time

import pressure
import pytest
import yaml
from control import INVENTORY

testinfra_hosts = ["ansible://door"]
# A variable of the command line stands for all of what the inventory has.
VARIABLES = yaml.safe_load((INVENTORY / "group_vars" / "vllm.yml").read_text("utf-8"))
THREADS, (MODEL,) = VARIABLES["vllm_environment"], VARIABLES["vllm_models"]


def test_a_change_of_both_and_the_way_back(engine, requests, ansible):
    hosts = [engine(name) for name in ("left", "right")]
    lives, began = [host.life() for host in hosts], time.monotonic()
    changed = [{**MODEL, "max_num_seqs": 6}]
    run = ansible("ansible-playbook", "playbooks/vllm.yml", vllm_models=changed)
    assert run.returncode == 0, run.stdout
    outcomes = requests.report("a change of both backends", time.monotonic() - began)
    assert set(outcomes) == {"200"}
    changed_lives, began = [host.life() for host in hosts], time.monotonic()
    run = ansible("ansible-playbook", "playbooks/rollback.yml")
    assert run.returncode == 0, run.stdout
    outcomes = requests.report("both go back", time.monotonic() - began)
    assert set(outcomes) == {"200"}
    assert not set(lives) & set(changed_lives)
    assert not set(changed_lives) & {host.life() for host in hosts}


@pytest.mark.parametrize(
    ("name", "what", "process", "most_lost"),
    [
        ("left", "kill -9 of the API server", "api", 0),
        # Its API server lives on for a moment, and answers what was under way with an error of its own.
        ("right", "kill -9 of the engine", "core", pressure.SIDE_BY_SIDE),
    ],
)
def test_a_killed_process(engine, requests, name, what, process, most_lost):
    harmed = engine(name)
    life, began = harmed.life(), time.monotonic()
    harmed.host.check_output(f"kill -9 {getattr(harmed, process)()}")
    seconds = harmed.recovery_seconds(life, began)
    outcomes = requests.report(what, seconds)
    assert pressure.never_begun(outcomes) <= most_lost
    assert outcomes["broken"] <= pressure.SIDE_BY_SIDE


def test_a_hanging_engine_behind_an_api_that_lives(engine, requests):
    harmed = engine("left")
    life, began = harmed.life(), time.monotonic()
    harmed.host.check_output(f"kill -STOP {harmed.core()}")
    assert harmed.answers()
    seconds = harmed.recovery_seconds(life, began)
    assert "guard: the engine has not computed for 20 seconds" in harmed.host.check_output(
        f"journalctl -u vllm@tiny _SYSTEMD_INVOCATION_ID={life}"
    )
    outcomes = requests.report("SIGSTOP of the engine", seconds)
    assert pressure.never_begun(outcomes) == 0


def test_a_hanging_api(engine, requests):
    harmed = engine("right")
    life, began = harmed.life(), time.monotonic()
    harmed.host.check_output(f"kill -STOP {harmed.api()}")
    requests.report("SIGSTOP of the API server", harmed.recovery_seconds(life, began))


def test_a_broken_configuration(engine, requests, ansible):
    """The engine does not start with it: the host goes back, and the other one is never touched."""
    harmed, other = engine("left"), engine("right")
    life, began = other.life(), time.monotonic()
    run = ansible("ansible-playbook", "playbooks/vllm.yml", vllm_environment={**THREADS, "VLLM_LOGGING_LEVEL": "LOUD"})
    assert run.returncode != 0
    words = " ".join(run.stdout.split())
    assert "The change of left failed. The host was put back to generation" in words
    assert "LOUD" in words
    assert other.life() == life
    assert harmed.answers()
    outcomes = requests.report("a broken configuration", time.monotonic() - began)
    assert set(outcomes) == {"200"}


def test_a_full_disk(engine, requests, ansible):
    """The change is refused, and what served goes on without a restart."""
    harmed = engine("left")
    life = harmed.life()
    harmed.host.check_output(
        "cp -a /etc/vllm /root/etc-vllm && mount -t tmpfs -o size=64k,mode=0750 tmpfs /etc/vllm"
        " && chgrp vllm /etc/vllm && cp -a /root/etc-vllm/. /etc/vllm/ && ! dd if=/dev/zero of=/etc/vllm/.filler"
    )
    changed = {**THREADS, "MALLOC_ARENA_MAX": "2"}
    try:
        run = ansible("ansible-playbook", "playbooks/vllm.yml", "--limit", "left", vllm_environment=changed)
    finally:
        harmed.host.check_output("umount /etc/vllm")
    assert run.returncode != 0
    assert "No space left on device" in run.stdout
    assert "The host was put back to generation" in " ".join(run.stdout.split())
    assert harmed.life() == life
    outcomes = requests.report("a change on a host whose disk is full")
    assert set(outcomes) == {"200"}


def test_a_reboot(engine, requests, ansible):
    harmed = engine("right")
    life, began = harmed.life(), time.monotonic()
    run = ansible("ansible", "right", "-m", "ansible.builtin.reboot")
    assert run.returncode == 0, run.stdout
    requests.report("a reboot", harmed.recovery_seconds(life, began))

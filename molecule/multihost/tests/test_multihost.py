"""Two hosts serve one model: each has a part of it, and a part alone is none."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT, machine

UNIT = "vllm@big.service"
LIMIT_SECONDS = 600  # of which most is loading, on a busy machine
API_PORT, RANKS_PORT, LINK_PORT = 8010, 18010, 28010
testinfra_hosts = ["ansible://one"]
# Hosts have no curl.
ASK = """
import json, sys, urllib.request
body = {"model": "big", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
request = urllib.request.Request(sys.argv[1] + "/v1/chat/completions", json.dumps(body).encode())
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request, timeout=180).read().decode())
"""


@pytest.fixture(scope="module")
def one() -> Any:
    """The host that answers."""
    return machine("one")


@pytest.fixture(scope="module")
def two() -> Any:
    """The host that has the other part."""
    return machine("two")


def parts(host: Any) -> set[str]:
    """The processes of a host's part: all of the unit's but the guard, which is its first."""
    main = host.check_output(f"systemctl show -P MainPID {UNIT}")
    return set(host.run(f"pgrep -P {main}").stdout.split()) if main != "0" else set()


def answers(one: Any) -> bool:
    found = one.run("python3 -c %s http://127.0.0.1:%s", ASK, str(API_PORT))
    return found.rc == 0 and bool(json.loads(found.stdout).get("choices"))


def until(condition: Callable[[], bool], *hosts: Any) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("\n".join(host.run(f"journalctl -n 60 -u {UNIT}").stdout for host in hosts))
        time.sleep(1)


def test_each_host_has_a_part_and_one_answers(one, two):
    assert answers(one)
    assert parts(one) and parts(two)
    assert f":{API_PORT} " not in two.check_output("ss -tln")
    assert "headless: true" in two.file("/etc/vllm/big.yaml").content_string


def put_back(*options: str) -> subprocess.CompletedProcess[str]:
    """Go to the generation that there is: nothing restarts, and everything else happens."""
    command = ["ansible-playbook", "-i", str(INVENTORY), "playbooks/rollback.yml", "-e", "generation=1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=ENVIRONMENT)


def test_both_go_back_in_one_batch(one, two):
    before = parts(one), parts(two)
    run = put_back()
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("PLAY [Put vLLM back]") == 1
    assert "ok: [one]" in run.stdout and "ok: [two]" in run.stdout
    assert (parts(one), parts(two)) == before


def test_one_does_not_go_back_alone(one):
    before = parts(one)
    run = put_back("--limit", "one")
    assert run.returncode != 0
    assert "one shares a model with two, which this run leaves out" in " ".join(run.stdout.split())
    assert parts(one) == before


@pytest.mark.parametrize("port", [API_PORT, RANKS_PORT, LINK_PORT])
def test_nobody_else_reaches_the_ports(one, port):
    """This machine is a neighbour of the hosts and none of them."""
    address = one.check_output("hostname -I").split()[0]
    with (
        pytest.raises(OSError, match=r"refused|reset|timed out"),
        socket.create_connection((address, port), timeout=20),
    ):
        pass


def test_a_part_that_is_killed_takes_the_other_with_it_and_both_come_back(one, two):
    before = parts(one), parts(two)
    lives = one.check_output(f"systemctl show -P InvocationID {UNIT}")
    two.check_output(f"kill -9 {min(parts(two))}")
    until(lambda: not before[0] & parts(one), one, two)
    until(lambda: bool(parts(two)) and answers(one), one, two)
    assert not before[1] & parts(two)
    # The host that lost its fellow did not fail itself: nothing counts against it.
    assert one.check_output(f"systemctl show -P InvocationID {UNIT}") == lives


def test_a_part_waits_for_the_first_host_as_long_as_it_takes(one, two):
    before = parts(two)
    one.check_output(f"systemctl stop {UNIT}")
    until(lambda: not before & parts(two), one, two)
    time.sleep(5)  # It would be there again by now.
    assert not parts(two)
    assert two.check_output(f"systemctl show -P ActiveState {UNIT}") == "active"
    one.check_output(f"systemctl start {UNIT}")
    until(lambda: bool(parts(two)) and answers(one), one, two)

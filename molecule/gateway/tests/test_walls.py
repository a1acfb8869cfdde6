"""There is no other way in: not for an outsider, and not after the reboot that came before these tests."""

from __future__ import annotations

import re

import pytest

ENGINES = {"cpu1": 8010, "edge1": 11434}
# Connects to every address:port of its input and prints those that let it in.
KNOCK = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def knock(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
        return target
    except OSError:
        return None
print("\\n".join(filter(None, ThreadPoolExecutor(64).map(knock, sys.stdin.read().split()))))
"""


def reached(host, targets):
    return set(host.check_output("echo %s | python3 -c %s", " ".join(targets), KNOCK).split())


@pytest.fixture(scope="module")
def listening(guest, addresses):
    """Every TCP socket that listens on an address other than loopback, on every host with a firewall."""
    found = set()
    for name in ("gate", *ENGINES):
        host = guest(name)
        for line in host.check_output("ss -Hltn").splitlines():
            address, port = line.split()[3].rsplit(":", 1)
            if not address.startswith(("127.", "[::1]")):
                found.add(f"{addresses[name]}:{port}")
    return found


def test_engines_do_listen_on_the_network(listening, addresses):
    assert {f"{addresses[name]}:{port}" for name, port in ENGINES.items()} <= listening


def test_the_outsider_finds_ssh_and_the_door_alone(guest, listening, addresses):
    doors = {f"{addresses['gate']}:{port}" for port in (80, 443)}
    ssh = {f"{addresses[name]}:22" for name in ("gate", *ENGINES)}
    assert listening > doors | ssh
    assert reached(guest("outsider"), listening) == doors | ssh


def test_the_outsider_finds_no_port_that_is_not_listed(guest, addresses):
    targets = [f"{addresses[name]}:{port}" for name in ("gate", *ENGINES) for port in range(1, 12000, 7)]
    open_ports = {target.rsplit(":", 1)[1] for target in reached(guest("outsider"), targets)}
    assert open_ports <= {"22", "80", "443"}


def test_engines_do_not_reach_each_other(guest, addresses):
    assert reached(guest("edge1"), [f"{addresses['cpu1']}:8010"]) == set()
    assert reached(guest("cpu1"), [f"{addresses['edge1']}:11434"]) == set()


def test_the_gateway_reaches_the_engines(guest, addresses):
    engines = {f"{addresses[name]}:{port}" for name, port in ENGINES.items()}
    assert reached(guest("gate"), engines) == engines


def test_loopback_stays_open_for_management_over_ssh(guest):
    assert "tiny:latest" in guest("edge1").check_output("OLLAMA_HOST=127.0.0.1 /opt/ollama/current/bin/ollama list")


@pytest.mark.parametrize("name", ["gate", *ENGINES])
def test_rules_came_back_and_nobody_waits_to_take_them_back(guest, name):
    host = guest(name)
    assert "hook input" in host.check_output("nft list table inet llm_serving")
    assert host.service("llm-firewall").is_enabled
    assert host.check_output("systemctl list-units --all --no-legend 'llm-firewall-undo*'") == ""
    assert host.check_output("systemctl list-units --failed --no-legend") == ""


def test_tables_of_others_are_left_alone_and_do_not_take_ours_away(guest):
    host = guest("edge1")
    host.check_output("nft add table inet somebody_else")
    host.check_output("systemctl reload llm-firewall")
    assert "somebody_else" in host.check_output("nft list tables")
    # The distribution's service flushes everything.
    host.check_output("systemctl start nftables && systemctl restart nftables")
    host.check_output("timeout 10 sh -c 'until nft list table inet llm_serving; do sleep 0.2; done'")
    assert "somebody_else" not in host.check_output("nft list tables")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("gate", "haproxy"),
        ("cpu1", "vllm@tiny"),
        ("edge1", "ollama"),
        *((name, "llm-firewall") for name in ("gate", *ENGINES)),
    ],
)
def test_units_at_work_are_confined(guest, name, unit):
    """With what the distribution and drop-ins add. Every template is measured by tests/unit/test_hardening.py."""
    host = guest(name)
    assert host.service(unit).is_running
    verdict = host.check_output(f"systemd-analyze security --no-pager {unit} | tail -1")
    assert float(re.search(r"level for \S+: ([0-9.]+)", verdict)[1]) <= 2.0
    assert host.run(f"systemd-analyze verify {unit}.service").stdout == ""


def test_the_gateway_runs_without_root(guest):
    host = guest("gate")
    pid = host.check_output("systemctl show -p MainPID --value haproxy")
    assert host.check_output(f"ps -o user= -p {pid}") == "haproxy"
    capabilities = host.file(f"/proc/{pid}/status").content_string
    assert "CapBnd:\t0000000000000400\n" in capabilities
    assert host.run(f"nsenter --mount --target {pid} touch /etc/x").rc != 0

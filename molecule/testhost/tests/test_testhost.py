"""A test host is what a role may take for granted: booted, reachable, connected, and enforcing."""

from __future__ import annotations

import pytest

OTHER = {"current": "next", "next": "current"}


def test_every_unit_has_started(host):
    assert host.check_output("systemctl is-system-running") == "running"
    assert host.check_output("systemctl list-units --failed --no-legend") == ""


def test_name_and_suite(host):
    name = host.check_output("hostname")
    assert host.system_info.codename == {"current": "bookworm", "next": "trixie"}[name]


def test_service_came_back_after_the_reboot(host):
    assert host.service("hello").is_running
    assert host.service("hello").is_enabled


def test_sandboxing_is_enforced(host):
    pid = host.check_output("systemctl show -p MainPID --value hello")
    assert not host.file(f"/proc/{pid}/root/dev/fuse").exists
    assert host.run(f"nsenter --mount --target {pid} touch /usr/forbidden").rc != 0
    assert host.user(host.check_output(f"ps -o user= -p {pid}")).name not in ("root", "nobody")


def test_hosts_reach_each_other_by_name(host):
    other = OTHER[host.check_output("hostname")]
    code = f"import urllib.request as u; print(u.urlopen('http://{other}:8080/', timeout=5).status)"
    assert host.check_output(f'python3 -c "{code}"') == "200"


def test_debian_packages_are_reached(host):
    assert host.run("apt-get update -qq").rc == 0
    assert host.run("apt-get install -y -qq python3-venv").rc == 0


@pytest.fixture
def venv(host):
    """An environment with pip, as roles make them."""
    host.check_output("apt-get install -y -qq python3-venv")
    host.check_output("python3 -m venv /opt/probe")
    yield "/opt/probe/bin"
    host.check_output("rm -rf /opt/probe /tmp/probe")


def test_python_packages_are_reached_by_pip_and_uv(host, venv):
    assert host.run(f"{venv}/pip install -q uv").rc == 0
    answer = host.run(f"{venv}/uv pip install --python {venv}/python --target /tmp/probe --refresh six")
    assert answer.rc == 0, answer.stderr
    assert host.file("/tmp/probe/six.py").exists


def test_package_cache_is_shared(host):
    assert host.file("/var/cache/uv").is_directory
    assert host.check_output("findmnt -n -o TARGET /var/cache/uv") == "/var/cache/uv"

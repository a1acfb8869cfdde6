"""Two models are served side by side, by their names and with the key alone, and nobody can read the key."""

from __future__ import annotations

import re

import pytest

KEY = "sk-molecule-not-to-be-seen"
PORTS = {"first": 8010, "second": 8011}
testinfra_hosts = ["ansible://vllm"]
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


@pytest.mark.parametrize(("name", "port"), PORTS.items())
def test_each_answers_by_its_own_name(ask, name, port):
    status, answer = ask(port, "/v1/chat/completions", {"model": name, **CHAT})
    assert status == 200
    assert answer["usage"]["completion_tokens"] > 0
    assert [model["id"] for model in ask(port, "/v1/models")[1]["data"]] == [name]


@pytest.mark.parametrize("key", [None, "sk-wrong"])
def test_without_the_key_nothing_is_answered(ask, key):
    assert ask(8010, "/v1/chat/completions", {"model": "first", **CHAT}, key=key)[0] == 401


def test_engines_listen_on_loopback_alone(host):
    for port in PORTS.values():
        assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening


def test_the_key_is_nowhere_to_be_seen(host):
    assert KEY not in host.check_output("ps axww -o args")
    assert host.run(f"journalctl --no-pager | grep -F {KEY}").rc == 1
    readable = "find /etc /opt/vllm /var/lib/vllm /var/log /run /tmp /root -xdev -type f -size -1M -perm /o=r"
    assert host.run(f"{readable} -exec grep -lF {KEY} {{}} +").stdout == ""
    environment = host.file("/etc/vllm/first.env")
    assert KEY in environment.content_string
    assert (environment.user, environment.group, environment.mode) == ("root", "root", 0o600)


def test_the_configuration_is_read_by_the_engine_and_written_by_root(host):
    config = host.file("/etc/vllm/first.yaml")
    assert (config.user, config.group, config.mode) == ("root", "vllm", 0o640)
    with host.sudo("vllm"):
        assert host.run("touch /etc/vllm/first.yaml /srv/models/local/first/x /opt/vllm/current/x").rc != 0


def test_the_sandbox_holds(host):
    pid = host.check_output("systemctl show -p MainPID --value vllm@first")
    inside = f"nsenter --mount --target {pid} setpriv --reuid vllm --regid vllm --clear-groups"
    assert host.run(f"{inside} touch /var/lib/vllm/may && rm /var/lib/vllm/may").rc == 0
    for path in ("/srv/models/local/first/x", "/etc/x", "/usr/x", "/var/lib/x", "/dev/x"):
        assert host.run(f"{inside} touch {path}").rc != 0
    assert host.run(f"nsenter --mount --target {pid} ls /root/.ssh").rc != 0
    score = host.check_output("systemd-analyze security --no-pager vllm@first.service | tail -1")
    assert float(re.search(r"(\d+\.\d+) OK", score)[1]) < 2


def test_the_unit_is_sound(host):
    assert host.run("systemd-analyze verify vllm@first.service 2>&1").stdout == ""
    wanted = {
        "User": "vllm",
        "Restart": "on-failure",
        "KillMode": "mixed",
        "LimitNOFILE": "1048576",
        "LimitMEMLOCK": "infinity",
        "TimeoutStopUSec": "1min",
        "MemoryMax": "infinity",
        "PrivateDevices": "yes",
        "UnitFileState": "enabled",
    }
    shown = host.check_output("systemctl show vllm@first.service " + " ".join(f"-p {name}" for name in wanted))
    assert dict(line.split("=", 1) for line in shown.splitlines()) == wanted


def test_compiled_code_is_kept_for_the_next_start(host):
    assert host.file("/opt/vllm/current/lib/python3.11/site-packages/vllm/__pycache__").is_directory

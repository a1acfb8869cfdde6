"""Keys are known to clients and the vault, and to nobody and nothing else."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from conftest import APP, CHAT, ENGINE_KEY, GREEDY, KEYS, SCENARIO, Door, question

PLAYBOOK = ("ansible-playbook", "-i", str(SCENARIO / "inventory"), "playbooks/gateway.yml", "-l", "gate")
SEEN = "/run/seen-on-the-wire"
# Prints what passes the network card until a question has gone out and its answer has come back.
WATCH = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.settimeout(15)
print("ready", flush=True)
seen = b""
while b"Hello" not in seen or b"choices" not in seen:
    seen += wire.recv(65536)
sys.stdout.write(seen.decode("latin1"))
"""
SAYING = "a-prompt-that-nobody-else-may-read"


@pytest.fixture(scope="module", autouse=True)
def traffic(door: Door) -> None:
    for key in KEYS:
        door.ask(CHAT, question("tiny", 1, user=SAYING), key)
        door.ask("/v1/models/a-known-path", key=key)
        door.ask(f"/v1/models?api_key={key}", key=key)
    door.ask(CHAT, question(SAYING, 1))


def test_no_key_is_on_the_disk_in_a_process_or_in_the_journal(gate, traffic):
    patterns = " ".join(f"-e {secret}" for secret in KEYS)
    folders = "/etc /opt /root /run /srv /tmp /usr/local /var/lib /var/log /var/tmp"
    assert gate.run(f"grep -rlF --devices=skip {patterns} {folders}").stdout == ""
    assert gate.run(f"journalctl --no-pager | grep -cF {patterns}").stdout.strip() == "0"
    command_lines = gate.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    environments = gate.check_output("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' ' || true")
    assert not [secret for secret in KEYS if secret in command_lines + environments]


@pytest.mark.parametrize("name", ["gate", "cpu1", "edge1"])
def test_the_key_of_the_engines_is_in_files_of_roots_alone(guest, name):
    host = guest(name)
    folders = "/etc /opt/vllm/options.txt /root /run /srv /tmp /var/lib /var/log /var/tmp"
    found = host.run(f"grep -rlF --devices=skip -e {ENGINE_KEY} {folders}").stdout.split()
    assert not [path for path in found if host.file(path).mode != 0o600 or host.file(path).user != "root"]
    assert host.run(f"journalctl --no-pager | grep -cF {ENGINE_KEY}").stdout.strip() == "0"
    assert ENGINE_KEY not in host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    # What a process was given only its own user and root can read.
    holders = host.run(f"grep -lF {ENGINE_KEY} /proc/[0-9]*/environ 2>/dev/null").stdout.split()
    assert host.run(f"runuser -u nobody -- cat {' '.join(holders) or '/proc/1/environ'}").rc != 0


def test_no_prompt_is_logged(gate):
    log = gate.check_output("journalctl -u haproxy -o cat --no-pager").replace("\\/", "/")
    assert '"path":"/v1/models/a-known-path"' in log
    assert SAYING not in log


def test_files_are_for_the_service_alone(gate):
    assert gate.check_output("find /etc/llm-gateway -perm /007 -not -path '*/ca/*'") == ""
    assert gate.file("/etc/llm-gateway/ca").mode == 0o700
    assert gate.file("/etc/llm-gateway/ca/ca.key").mode == 0o600
    assert gate.file("/etc/llm-gateway/secrets.env").mode == 0o600
    assert gate.check_output("stat -c '%a %U %G' /etc/llm-gateway/tls/server.pem.key") == "640 root haproxy"
    assert gate.check_output("stat -c %a /run/llm-gateway/master.sock") == "600"
    assert gate.run("runuser -u nobody -- ls /etc/llm-gateway /run/llm-gateway").rc != 0


def test_the_access_log_says_who_used_what(gate, door: Door) -> None:
    reply = door.chat(tokens=2)
    request = reply.headers["x-request-id"]
    (line,) = gate.check_output(f"journalctl -u haproxy -o cat --no-pager | grep -F {request}").splitlines()
    entry = json.loads(line)
    told = {name: entry[name] for name in ("client", "key", "model", "method", "path", "status", "address")}
    assert told == {
        "client": "app",
        "key": "current",
        "model": "tiny",
        "method": "POST",
        "path": CHAT,
        "status": 200,
        "address": door.address.rsplit(".", 1)[0] + ".1",
    }
    assert entry["server"] in ("cpu1", "edge1")
    assert entry["request_bytes"] > 100
    assert entry["response_bytes"] > len(reply.body)
    assert 0 <= entry["first_byte_ms"] <= entry["total_ms"]


def test_every_line_of_a_request_is_json(gate):
    lines = gate.check_output("journalctl -u haproxy -o cat --no-pager | grep '^{'").splitlines()
    assert len(lines) > 10
    assert {"client", "model", "status"} <= set(json.loads(lines[-1]))
    for line in lines:
        json.loads(line)


def test_the_engine_learns_nothing_of_the_key(gate, door: Door) -> None:
    """What leaves the gateway for an engine, seen on the wire."""
    gate.check_output(f"systemd-run --unit=watch --collect -p StandardOutput=file:{SEEN} python3 -c %s", WATCH)
    gate.check_output(f"timeout 10 sh -c 'until grep -q ready {SEEN}; do sleep 0.1; done'")
    door.ask(CHAT, question("tiny", 4), APP, X_Forwarded_For="203.0.113.9", X_Request_Id="chosen-by-the-client")
    gate.check_output("timeout 20 sh -c 'while systemctl -q is-active watch; do sleep 0.1; done'")
    seen = gate.file(SEEN).content_string.lower()
    gate.check_output(f"rm {SEEN}")
    assert f"post {CHAT} http/1.1" in seen
    assert "x-request-id: " in seen
    assert not [word for word in ("203.0.113.9", "chosen-by-the-client", APP) if word in seen]
    assert seen.count("authorization") == seen.count(f"authorization: bearer {ENGINE_KEY}") > 0


def test_ansible_shows_and_keeps_no_key(gate, tmp_path):
    """Not with -vvv, not in a diff, not when a run is refused, nor in cached facts and the list of hosts to retry."""
    kept = tmp_path / "kept"
    keeping = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(kept / "facts"),
        "ANSIBLE_RETRY_FILES_ENABLED": "1",
        "ANSIBLE_RETRY_FILES_SAVE_PATH": str(kept / "retry"),
    }
    for changed in ({}, {"gateway_clients": [{"name": "app", "keys": [{"name": "x", "key": APP[:20]}]}]}):
        variables = tmp_path / "vars.json"
        variables.write_text(json.dumps(changed))
        run = subprocess.run(
            [*PLAYBOOK, "-t", "gateway_configure", "--check", "--diff", "-vvv", "-e", f"@{variables}"],
            cwd=SCENARIO.parents[1],
            env={**os.environ, "ANSIBLE_CONFIG": str(SCENARIO.parents[1] / "ansible.cfg"), **keeping},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode == 0) is (not changed), run.stdout
        assert "llm.serving.gateway : " in run.stdout
        shown = run.stdout + run.stderr
        shown += "".join(path.read_text() for path in kept.rglob("*") if path.is_file())
        assert (kept / "facts").is_dir()
        assert not [secret for secret in (*KEYS, APP[:20], GREEDY[:20], ENGINE_KEY) if secret in shown]

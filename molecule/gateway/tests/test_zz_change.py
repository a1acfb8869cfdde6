"""Changing keys, losing engines and taking hosts out, while clients are at work. Runs last: it leaves other keys."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import APP, APP_NEXT, CHAT, NAME, SCENARIO, Door, chunks, question

ROOT = SCENARIO.parents[1]
ENGINES = ("edge1", "edge2")
FORGET = "from the vault of the next quarter: 0123456789".replace(" ", "-").replace(":", "")


def play(*arguments: str) -> str:
    run = subprocess.run(
        ["ansible-playbook", "-i", str(SCENARIO / "inventory"), *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


class Load(threading.Thread):
    """Streams one reply after the other until it is told to stop, and keeps what went wrong."""

    def __init__(self, door: Door, key: str, tokens: int = 200) -> None:
        super().__init__(daemon=True)
        self.door, self.key, self.tokens = door, key, tokens
        self.done = 0
        self.errors: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                count = sum(1 for _ in chunks(self.door.stream(key=self.key, tokens=self.tokens)))
                assert count > self.tokens, f"{count} of {self.tokens} tokens"
                self.done += 1
            except Exception as error:
                self.errors.append(repr(error))

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(90)


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.25)


def ask_gateway(guest, command: str) -> str:
    code = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/llm-gateway/master.sock'); "
        f"s.sendall(b'{command}\\n'); s.shutdown(1); print(s.makefile().read())"
    )
    return guest("gate").check_output("python3 -c %s", code)


def servers(guest, model: str = "model-tiny") -> dict[str, str]:
    """Status of each server of a model, by the gateway's own words."""
    rows = [
        line.split(",")
        for line in ask_gateway(guest, "@1 show stat -1 4 -1").splitlines()
        if line.startswith(model + ",")
    ]
    return {row[1]: row[17] for row in rows}


@pytest.fixture(autouse=True)
def both_engines(guest, door: Door):
    yield
    for name in ENGINES:
        guest(name).check_output("systemctl start ollama")
    wait_until(lambda: set(servers(guest).values()) == {"UP"})


def test_keys_change_without_dropping_a_stream(guest, door: Door, tmp_path: Path) -> None:
    """The old key goes while its own stream is under way; other clients notice nothing at all."""
    clients = [
        {"name": "app", "keys": [{"name": "next", "key": APP_NEXT}, {"name": "later", "key": FORGET}]},
        {"name": "another", "keys": [{"name": "only", "key": FORGET[::-1]}], "models": ["tiny"]},
    ]
    variables = tmp_path / "clients.json"
    variables.write_text(json.dumps({"gateway_clients": clients}))
    with Load(door, APP_NEXT) as load:
        # Not read for a while, it cannot end before the gateway was reloaded.
        old = door.stream(key=APP, tokens=3_000, window_bytes=4096)
        shown = play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway", "--diff", "-e", f"@{variables}")
        assert "Reload the gateway" in shown
        assert FORGET not in shown
        assert door.chat(key=APP).code == "invalid_api_key"
        assert [door.chat(key=key).status for key in (FORGET, FORGET[::-1])] == [200, 200]
        assert "# old workers\n# programs" not in ask_gateway(guest, "show proc")
        assert sum(1 for _ in chunks(old)) > 3_000
    assert load.errors == []
    assert load.done
    again = play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway", "-e", f"@{variables}")
    assert "changed=0" in again


def test_an_interrupted_run_is_made_good_by_the_next(guest) -> None:
    """Files were written, then the run was killed before the gateway was told."""
    guest("gate").check_output("echo '# as if written by a run' >> /etc/llm-gateway/routes.map")
    assert "Reload the gateway" in play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway_run")
    assert "changed=0" in play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway_run")


def test_an_engine_dies_in_the_middle_of_a_reply(guest, door: Door) -> None:
    """Its client sees a reply that was broken off, not one that looks complete; the other's client sees nothing."""
    body = json.dumps(question("tiny", 6_000, stream=True))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {APP_NEXT}\r\nConnection: close\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    with ThreadPoolExecutor() as pool:
        replies = [pool.submit(door.raw, request, 60) for _ in ENGINES]  # least connections: one on each
        time.sleep(0.5)
        guest("edge1").check_output("systemctl kill --kill-who=main --signal=KILL ollama; systemctl stop ollama")
        bodies = [reply.result() for reply in replies]
    complete = [body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for body in bodies]
    assert sorted(complete) == [False, True]
    broken = bodies[complete.index(False)]
    assert broken.startswith(b"HTTP/1.1 200")
    assert not broken.endswith(b"\r\n0\r\n\r\n")
    assert {door.chat(key=APP_NEXT).status for _ in range(6)} == {200}


def test_requests_go_elsewhere_at_once_when_an_engine_dies(guest, door: Door) -> None:
    """What had not been answered yet is sent to the other host: nobody notices."""
    with Load(door, APP_NEXT, tokens=2):
        guest("edge2").check_output("systemctl kill --kill-who=main --signal=KILL ollama; systemctl stop ollama")
        statuses = [door.chat(key=APP_NEXT, tokens=2).status for _ in range(20)]
    assert statuses == [200] * 20


def test_a_model_without_a_live_engine(guest, door: Door) -> None:
    guest("edge2").check_output("systemctl stop ollama")
    reply = door.chat("lonely", APP_NEXT)
    assert (reply.status, reply.code) == (503, "model_unavailable")
    assert reply.headers["retry-after"] == "5"
    wait_until(lambda: servers(guest, "model-lonely") == {"edge2": "DOWN"})
    assert [model["id"] for model in door.ask("/v1/models", key=APP_NEXT).json["data"]] == ["tiny"]
    assert door.ask("/v1/models/lonely", key=APP_NEXT).code == "model_not_found"


def test_an_engine_that_hangs_is_given_up(guest, door: Door) -> None:
    guest("edge1").check_output("systemctl kill --signal=STOP ollama")
    try:
        wait_until(lambda: servers(guest)["edge1"] == "DOWN", 40)
        assert {door.chat(key=APP_NEXT).status for _ in range(4)} == {200}
    finally:
        guest("edge1").check_output("systemctl kill --signal=CONT ollama")


def test_a_host_is_taken_out_and_in_again(guest, door: Door, tmp_path: Path) -> None:
    """No request is lost, replies under way end, and the gateway tells when the host is free."""
    playbook = tmp_path / "drain.yml"
    playbook.write_text(
        json.dumps(
            [
                {
                    "hosts": "edge1",
                    "gather_facts": False,
                    "tasks": [
                        {"ansible.builtin.include_role": {"name": "llm.serving.gateway", "tasks_from": "drain"}},
                        {"ansible.builtin.command": "systemctl restart ollama"},
                        {"ansible.builtin.include_role": {"name": "llm.serving.gateway", "tasks_from": "undrain"}},
                    ],
                }
            ]
        )
    )
    with Load(door, APP_NEXT) as first, Load(door, APP_NEXT) as second:
        wait_until(lambda: first.done and second.done)
        play(str(playbook))
        assert servers(guest) == {"edge1": "UP", "edge2": "UP"}
    assert first.errors + second.errors == []

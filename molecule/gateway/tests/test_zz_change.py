"""Changing keys, losing engines and taking hosts out, while clients are at work. Runs last: it leaves other keys."""

from __future__ import annotations

import datetime
import json
import os
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import APP, APP_NEXT, CHAT, NAME, SCENARIO, Door, question, rest, tokens_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = SCENARIO.parents[1]
UNITS = {"cpu1": "vllm@tiny", "edge1": "ollama"}
DIE = "systemctl kill --kill-who=main --signal=KILL {0}; systemctl stop {0}"
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

    def __init__(self, door: Door, key: str, tokens: int = 200, model: str = "tiny") -> None:
        super().__init__(daemon=True)
        self.door, self.key, self.tokens, self.model = door, key, tokens, model
        self.done = 0
        self.errors: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                count = tokens_of(self.door.stream(self.model, self.key, self.tokens))
                assert count == self.tokens, f"{count} of {self.tokens} tokens"
                self.done += 1
            except Exception as error:
                self.errors.append(repr(error))
            # Leaves the machine some time for what is tried meanwhile.
            self.over.wait(0.2)

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
def both_engines(guest):
    """Begin with both: vLLM is slow to come back, so nothing waits for it when no test follows."""
    for name, unit in UNITS.items():
        guest(name).check_output(f"systemctl start {unit}")
    wait_until(lambda: set(servers(guest).values()) == {"UP"}, 120)


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
        old = door.stream("lonely", APP, 3_000, window_bytes=4096)
        shown = play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway", "--diff", "-e", f"@{variables}")
        assert "Reload the gateway" in shown
        assert FORGET not in shown
        assert door.chat(key=APP).code == "invalid_api_key"
        assert [door.chat(key=key).status for key in (FORGET, FORGET[::-1])] == [200, 200]
        assert "# old workers\n# programs" not in ask_gateway(guest, "show proc")
        assert tokens_of(old) == 3_000
    assert load.errors == []
    assert load.done
    again = play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway", "-e", f"@{variables}")
    assert "changed=0" in again


def test_an_interrupted_run_is_made_good_by_the_next(guest) -> None:
    """Files were written, then the run was killed before the gateway was told."""
    guest("gate").check_output("echo '# as if written by a run' >> /etc/llm-gateway/routes.map")
    assert "Reload the gateway" in play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway_run")
    assert "changed=0" in play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway_run")


def break_off(guest, door: Door, victim: str) -> None:
    """Its client sees a reply that was broken off, not one that looks complete; the other's client sees nothing.

    What comes next is answered by the other engine at once.
    """
    body = json.dumps(question("tiny", 2_000, stream=True))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {APP_NEXT}\r\nConnection: close\r\n"
    under_way = []
    for _ in UNITS:  # least connections: one on each
        # Not read on, it cannot end before its engine does.
        connection = door.socket(90, window_bytes=4096)
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        under_way.append((connection, connection.recv(1024)))
    guest(victim).check_output(DIE.format(UNITS[victim]))
    replies = [door.chat(key=APP_NEXT) for _ in range(6)]
    with ThreadPoolExecutor() as pool:
        bodies = list(pool.map(lambda begun: begun[1] + rest(begun[0]), under_way))
    assert all(text.startswith(b"HTTP/1.1 200") for text in bodies)
    assert sorted(text.endswith(b"\r\n0\r\n\r\n") for text in bodies) == [False, True]
    assert sorted(b"data: [DONE]" in text for text in bodies) == [False, True]
    assert [reply.status for reply in replies] == [200] * 6
    assert {reply.json.get("system_fingerprint") == "fp_ollama" for reply in replies} == {victim != "edge1"}


def test_ollama_dies_in_the_middle_of_a_reply(guest, door: Door) -> None:
    break_off(guest, door, "edge1")


def test_requests_go_elsewhere_at_once_when_an_engine_dies(guest, door: Door) -> None:
    """What had not been answered yet is sent to the other host: nobody notices."""
    with Load(door, APP_NEXT, tokens=2):
        guest("edge1").check_output(DIE.format("ollama"))
        statuses = [door.chat(key=APP_NEXT, tokens=2).status for _ in range(20)]
    assert statuses == [200] * 20


def test_a_model_without_a_live_engine(guest, door: Door) -> None:
    guest("edge1").check_output("systemctl stop ollama")
    reply = door.chat("lonely", APP_NEXT)
    assert (reply.status, reply.code) == (503, "model_unavailable")
    assert reply.headers["retry-after"] == "5"
    wait_until(lambda: servers(guest, "model-lonely") == {"edge1": "DOWN"})
    assert [model["id"] for model in door.ask("/v1/models", key=APP_NEXT).json["data"]] == ["local/beside", "tiny"]
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
        # One that failed a single check is up all the same: «UP 2/3».
        assert [status.split()[0] for status in servers(guest).values()] == ["UP", "UP"]
    assert first.errors + second.errors == []


def write_certificate(host, name: str) -> int:
    """Put a certificate and its key onto the gateway, as an ACME client would: one file after the other."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day
    )
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
    for path, text in (("cert.pem", certificate.public_bytes(pem)), ("key.pem", private)):
        host.check_output(
            "umask 077; mkdir -p /etc/acme; printf -- %s > /etc/acme/new && mv /etc/acme/new /etc/acme/%s",
            text.decode(),
            path,
        )
        time.sleep(1)
    return certificate.serial_number


def test_a_certificate_of_ones_own_is_renewed_without_dropping_a_stream(guest, door: Door) -> None:
    host = guest("gate")
    first = write_certificate(host, NAME)
    files = ["gateway_tls_certificate_file=/etc/acme/cert.pem", "gateway_tls_key_file=/etc/acme/key.pem"]
    arguments = ["playbooks/gateway.yml", "-l", "gate", "-t", "gateway_certificate", *(f"-e{file}" for file in files)]
    play(*arguments)

    def served() -> int:
        return x509.load_pem_x509_certificate(ssl.get_server_certificate((door.address, 443)).encode()).serial_number

    assert served() == first
    # Nobody has signed the certificate of this test.
    open_door = Door(door.address, door.ca)
    open_door.context.check_hostname = False
    open_door.context.verify_mode = ssl.CERT_NONE
    with Load(open_door, APP_NEXT) as load:
        wait_until(lambda: load.done)
        old = open_door.stream("lonely", APP_NEXT, 3_000, window_bytes=4096)
        second = write_certificate(host, NAME)
        wait_until(lambda: served() == second, 30)
        assert tokens_of(old) == 3_000
    assert load.errors == []
    assert "changed=0" in play(*arguments)
    verdict = host.check_output("systemd-analyze security --no-pager llm-gateway-certificate | tail -1")
    assert float(verdict.split("level for ")[1].split()[1]) <= 2.0
    # Back to the private CA.
    play("playbooks/gateway.yml", "-l", "gate", "-t", "gateway_certificate")
    assert door.ask("/v1/models", key=APP_NEXT).status == 200
    assert host.run("systemctl cat llm-gateway-certificate.path").rc != 0


def test_vllm_dies_in_the_middle_of_a_reply(guest, door: Door) -> None:
    """Last, since it takes long to come back."""
    break_off(guest, door, "cpu1")

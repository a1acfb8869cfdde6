"""What starts an engine: programs that end, hang and lose each other stand for engines."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines import guard
from ansible_collections.llm.serving.plugins.module_utils.engines.instances import Instance

LIMIT_SECONDS = 60
# Notes that it started, and sleeps.
SLEEPER = (
    "import os, sys, time; print('part', os.getpid(), os.environ.get('VLLM_HOST_IP'), flush=True); time.sleep(600)"
)


class Fake:
    """An engine's API: what it says is set by the test."""

    def __init__(self) -> None:
        self.healthy, self.replies, self.steps = True, True, 0
        self.asked: list[tuple[str, str | None]] = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = f'vllm:prompt_tokens_total{{model="m"}} {fake.steps}\nvllm:iteration_tokens_total_bucket 7\n'
                self._say(200 if fake.healthy else 503, text if self.path == "/metrics" else "")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                fake.asked.append((self.path, self.headers["Authorization"]))
                self._say(200 if fake.replies else 503, "{}")

            def _say(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_arguments: Any) -> None:
                """Be quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.server.shutdown()
    made.server.server_close()


def written(folder: Path, **config: Any) -> Path:
    path = folder / f"{config.get('node-rank', 0)}.yaml"
    path.write_text(Instance("m", {"model": "/srv/models/m", **config}).config_text())
    return path


def pulse(folder: Path, fake: Fake, hang_seconds: float = 20) -> guard.Pulse:
    options = guard.Options.read(written(folder, port=fake.server.server_port))
    return guard.Pulse(guard.Api(options, "sk-key"), hang_seconds)


def free_ports() -> int:
    """A port with another free one where members meet."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + guard.LINK_OFFSET))
            except (OSError, OverflowError):
                continue
            return port


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("this did not come true")


def test_options_are_read_from_what_the_collection_writes(tmp_path: Path) -> None:
    config = {"host": "0.0.0.0", "port": 8010, "served-model-name": ["big", "alias"], "nnodes": 2, "node-rank": 1}  # noqa: S104
    found = guard.Options.read(written(tmp_path, **config, **{"master-addr": "10.0.0.1", "master-port": 18010}))
    assert found == guard.Options("127.0.0.1", 8010, False, "big", 2, 1, "10.0.0.1", 28010)
    assert guard.Options.read(written(tmp_path)).model == "/srv/models/m"


def test_an_engine_that_replies_is_alive(tmp_path: Path, fake: Fake) -> None:
    assert pulse(tmp_path, fake).beats()
    assert fake.asked == [("/v1/completions", "Bearer sk-key")]


def test_a_busy_engine_is_not_asked(tmp_path: Path, fake: Fake) -> None:
    found = pulse(tmp_path, fake)
    found.beats()
    fake.steps, fake.replies = 5, False
    assert found.beats()
    assert len(fake.asked) == 1


@pytest.mark.parametrize("broken", ["healthy", "replies"])
def test_an_engine_that_owes_a_token_is_not_alive(tmp_path: Path, fake: Fake, broken: str) -> None:
    setattr(fake, broken, False)
    assert not pulse(tmp_path, fake).beats()


def test_a_hanging_engine_is_killed(tmp_path: Path, fake: Fake) -> None:
    fake.replies = False
    engine = guard.Engine([sys.executable, "-c", SLEEPER], os.environ)
    guard.watch(engine, pulse(tmp_path, fake, hang_seconds=0.5))
    assert engine.wait() == -signal.SIGKILL


def test_an_engine_behind_a_url_only_has_to_answer(fake: Fake) -> None:
    options = guard.Options.of(f"http://127.0.0.1:{fake.server.server_port}/api/version")
    found = guard.Pulse(guard.Api(options), 20)
    fake.replies = False
    assert found.beats()
    assert fake.asked == []
    fake.healthy = False
    assert not found.beats()


def test_one_that_does_not_answer_there_is_killed(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{fake.server.server_port}/api/version"
    command = [sys.executable, "-I", guard.__file__, url, "0.5", sys.executable, "-c", SLEEPER]
    with subprocess.Popen(command) as process:
        time.sleep(2)
        assert process.poll() is None  # it answers
        fake.healthy = False
        assert process.wait(LIMIT_SECONDS) == -signal.SIGKILL
    assert "guard: the engine has not answered for 0.5 seconds" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["http://[::1]:11434/api/version", "http://127.0.0.1:11434/api/version"])
def test_a_url_says_where_to_ask(url: str) -> None:
    found = guard.Options.of(url)
    assert (found.port, found.tls, found.nodes, found.health) == (11434, False, 1, "/api/version")
    assert found.host == ("::1" if "::1" in url else "127.0.0.1")


@pytest.mark.parametrize(
    ("code", "expected"), [("pass", 1), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_it_ends_as_the_engine_ended(tmp_path: Path, code: str, expected: int) -> None:
    done = subprocess.run(command(written(tmp_path), code), check=False, timeout=LIMIT_SECONDS)
    assert done.returncode == expected


def test_a_stop_reaches_the_engine(tmp_path: Path) -> None:
    process = start(written(tmp_path), tmp_path / "out")
    until(lambda: parts(tmp_path / "out"))
    process.terminate()
    process.wait(LIMIT_SECONDS)
    assert not is_running(parts(tmp_path / "out")[0])


def command(config: Path, code: str) -> list[str]:
    return [sys.executable, "-I", guard.__file__, str(config), "0", sys.executable, "-c", code]


def start(config: Path, output: Path) -> subprocess.Popen[bytes]:
    with output.open("ab") as stream:
        return subprocess.Popen(command(config, SLEEPER), stdout=stream, stderr=stream)


def parts(output: Path) -> list[int]:
    """Process ids of the parts that were started so far. A line that is not whole yet is none."""
    lines = [line for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [int(line.split()[1]) for line in lines if line.startswith("part")]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Callable[[int], tuple[subprocess.Popen[bytes], Path]]]:
    """Start the host of this rank; all are ended after the test."""
    joined = {"nnodes": 2, "master-addr": "127.0.0.1", "master-port": free_ports()}
    started: list[subprocess.Popen[bytes]] = []

    def run(rank: int) -> tuple[subprocess.Popen[bytes], Path]:
        output = tmp_path / f"out{rank}"
        started.append(start(written(tmp_path, **{"node-rank": rank}, **joined), output))
        return started[-1], output

    yield run
    for process in started:
        process.terminate()
        process.wait(LIMIT_SECONDS)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_members_start_together_in_any_order(
    members: Callable[[int], tuple[subprocess.Popen[bytes], Path]], order: tuple[int, int]
) -> None:
    outputs = [members(rank)[1] for rank in order]
    for output in outputs:
        until(lambda output=output: parts(output))  # type: ignore[misc]
        assert "127.0.0.1" in output.read_text()


@pytest.mark.parametrize("lost", [0, 1])
def test_members_end_together_and_come_back_together(
    members: Callable[[int], tuple[subprocess.Popen[bytes], Path]], lost: int
) -> None:
    running = {rank: members(rank) for rank in (0, 1)}
    outputs = {rank: output for rank, (_process, output) in running.items()}
    first = {rank: until(lambda rank=rank: parts(outputs[rank])) for rank in (0, 1)}  # type: ignore[misc]
    running[lost][0].kill()
    os.kill(first[lost][0], signal.SIGKILL)  # systemd does this
    until(lambda: not is_running(first[1 - lost][0]))
    assert len(parts(outputs[1 - lost])) == 1
    members(lost)
    for rank in (0, 1):
        until(lambda rank=rank: len(parts(outputs[rank])) == 2)  # type: ignore[misc]
    assert running[1 - lost][0].poll() is None


def test_a_part_that_fails_for_its_own_reasons_ends_the_guard(tmp_path: Path) -> None:
    port = free_ports()
    joined = {"nnodes": 2, "master-addr": "127.0.0.1", "master-port": port}
    configs = [written(tmp_path, **{"node-rank": rank}, **joined) for rank in (0, 1)]
    waiting = start(configs[1], tmp_path / "out1")
    done = subprocess.run(command(configs[0], "raise SystemExit(4)"), check=False, timeout=LIMIT_SECONDS)
    assert done.returncode == 4
    assert waiting.poll() is None
    waiting.terminate()
    waiting.wait(LIMIT_SECONDS)


def test_interfaces_are_found_by_address() -> None:
    assert guard.interface_of("127.0.0.1") == "lo"
    assert guard.interface_of("203.0.113.9") == ""
    assert json.dumps(dict(guard.member_environment("127.0.0.1"))).count("lo") == 2


def test_an_address_that_is_not_of_this_host_is_named(tmp_path: Path) -> None:
    config = written(tmp_path, nnodes=2, **{"master-addr": "203.0.113.9", "master-port": free_ports()})
    done = subprocess.run(command(config, "pass"), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
    assert done.returncode == 1
    assert "set vllm_member_address" in done.stderr

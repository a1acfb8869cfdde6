"""One look at a host: sockets, what engines say, and the block that people read."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.sockets import (
    PAGE_BYTES,
    Socket,
    connections,
    listening,
    memory_by_unit,
    unit_of,
)
from ansible_collections.llm.serving.plugins.module_utils.status.engines import ask_ollama, ask_vllm, sums
from ansible_collections.llm.serving.plugins.module_utils.status.report import render

# As iproute2 6.1 prints them.
LISTENING = """\
LISTEN 0      4096       127.0.0.1:11434      0.0.0.0:*    users:(("ollama",pid=523,fd=3))
LISTEN 0      128          0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=1,fd=3),("systemd",pid=2,fd=4))
LISTEN 0      4096               *:8010             *:*
LISTEN 0      4096           [::1]:631           [::]:*    users:(("cupsd",pid=9,fd=3))
LISTEN 0      4096   127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=7,fd=14))
"""
ESTABLISHED = """\
0      0       127.0.0.1:11434   127.0.0.1:50000
0      0       127.0.0.1:50000   127.0.0.1:11434
0      0       127.0.0.1:11434   127.0.0.1:50002
"""
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:num_requests_waiting_by_reason{engine="0"} 99.0
"""


def fake_run(command: Sequence[str]) -> tuple[int, str, str]:
    return 0, ESTABLISHED if "established" in command else LISTENING, ""


def test_listening_sockets() -> None:
    assert listening(fake_run) == [
        Socket("127.0.0.1", 11434, "ollama", 523),
        Socket("0.0.0.0", 22, "sshd", 1),  # noqa: S104
        Socket("*", 8010),
        Socket("::1", 631, "cupsd", 9),
        Socket("127.0.0.53", 53, "systemd-resolve", 7),
    ]


@pytest.mark.parametrize(
    ("socket", "url", "reach"),
    [
        (Socket("127.0.0.1", 1), "http://127.0.0.1:1", "from this host only"),
        (Socket("0.0.0.0", 1), "http://127.0.0.1:1", "from other machines as well"),  # noqa: S104
        (Socket("::1", 1), "http://[::1]:1", "from this host only"),
        (Socket("::", 1), "http://[::1]:1", "from other machines as well"),
        (Socket("10.0.0.5", 1), "http://10.0.0.5:1", "from other machines as well"),
    ],
)
def test_where_a_socket_is_reached(socket: Socket, url: str, reach: str) -> None:
    assert socket.url == url
    assert socket.describe().endswith(reach)


def test_connections_are_counted_on_the_servers_side() -> None:
    assert connections(fake_run, [11434]) == 2
    assert connections(fake_run, []) == 0


def test_units_and_memory_from_proc(tmp_path: Path) -> None:
    for pid, unit, pages in ((1, "ollama.service", 10), (2, "ollama.service", 5), (3, "ssh.service", 7)):
        entry = tmp_path / str(pid)
        entry.mkdir()
        (entry / "cgroup").write_text(f"0::/system.slice/{unit}\n")
        (entry / "statm").write_text(f"100 {pages} 0 0 0 0 0\n")
    (tmp_path / "self").mkdir()
    assert unit_of(2, tmp_path) == "ollama.service"
    assert unit_of(99, tmp_path) == ""
    assert memory_by_unit(["ollama.service"], tmp_path) == {"ollama.service": 15 * PAGE_BYTES}


def test_metrics_are_added_up_over_engines() -> None:
    expected = {"num_requests_running": 5.0, "num_requests_waiting": 7.0, "kv_cache_usage_perc": 0.25}
    assert sums(METRICS.splitlines()) == expected


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serve paths from a dictionary: text, or data as JSON, or a status."""
    servers = []

    def start(paths: dict[str, Any]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                found = paths.get(self.path, 404)
                self.send_response(found if isinstance(found, int) else 200)
                self.end_headers()
                if not isinstance(found, int):
                    self.wfile.write((found if isinstance(found, str) else json.dumps(found)).encode())

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_vllm_tells_models_and_work(serve: Any) -> None:
    url = serve({"/v1/models": {"data": [{"id": "qwen32b"}]}, "/metrics": METRICS})
    voice = ask_vllm(["http://127.0.0.1:1", url], [], True)
    assert (voice.answers, voice.models) == (True, ["qwen32b"])
    assert voice.work == ["5 requests running, 7 waiting, KV cache 25 % full"]


def test_vllm_behind_a_key_answers_all_the_same(serve: Any) -> None:
    voice = ask_vllm([serve({"/v1/models": 401, "/metrics": METRICS})], [], True)
    assert voice.answers and voice.work and "API key" in voice.notes[0]


def test_vllm_that_is_down_says_what_it_died_of() -> None:
    lines = ["INFO vLLM API server version 0.33.0", "OSError: [Errno 98] Address already in use"]
    voice = ask_vllm([], lines, False)
    assert not voice.answers
    assert "Address already in use" in voice.notes[0]
    assert ask_vllm([], lines, True).notes == []


def test_ollama_tells_models_work_and_what_it_refused(serve: Any) -> None:
    tags = {"models": [{"name": "tiny:latest", "size": 2_000_000_000, "digest": "ab" * 32}]}
    loaded = {"models": [{"name": "tiny:latest", "size": 10, "size_vram": 5, "context_length": 2048}]}
    lines = ['msg="server config" env="map[OLLAMA_MAX_QUEUE:3]"', "[GIN] 2026/11/24 - 11:28:48 | 503 | 1ms | POST"]
    voice = ask_ollama([serve({"/api/tags": tags, "/api/ps": loaded})], lines, 4)
    assert voice.models == ["tiny:latest (2.0 GB, abababababab)"]
    assert voice.work == [
        "loaded: tiny:latest, 0.0 GB, 50 % on the GPU, context 2048",
        "4 connections open; at most 3 requests wait for a model",
    ]
    assert voice.notes[0].startswith("once: status 503")


def test_the_block_of_a_host() -> None:
    unit = {
        "name": "ollama.service",
        "active": "active",
        "sub": "running",
        "since": "Tue",
        "restarts": 2,
        "memory_bytes": 3 * 1024**2,
        "listens": ["127.0.0.1:11434 by ollama (pid 5), reachable from this host only"],
        "answers": True,
        "models": [],
        "work": ["a", "b"],
        "notes": [],
        "log": ["line"],
    }
    down = {
        **unit,
        "name": "vllm@m.service",
        "active": "failed",
        "listens": [],
        "answers": False,
        "log": [],
        "work": [],
    }
    card = {"index": 0, "name": "L4", "memory_total_bytes": 24 * 1024**3, "memory_free_bytes": 23 * 1024**3}
    memory = {"total_bytes": 64 * 1024**3, "available_bytes": 60 * 1024**3}
    assert render("gpu1", {"memory": memory, "gpus": [card], "units": [unit, down]}).splitlines() == [
        "== gpu1 ==",
        "memory: 60.0 GiB available of 64.0 GiB",
        "GPU 0: L4, 1.0 GiB used of 24.0 GiB",
        "",
        "ollama.service: active (running) since Tue, restarted 2 times, 3 MiB in memory",
        "  listens on: 127.0.0.1:11434 by ollama (pid 5), reachable from this host only",
        "  models: none",
        "  work:",
        "    a",
        "    b",
        "  last 1 lines: line",
        "",
        "vllm@m.service: failed (running) since Tue, restarted 2 times, 3 MiB in memory",
        "  listens on: no port",
        "  models: its API does not answer",
        "  last 0 lines: the journal is empty",
    ]


def test_a_host_without_servers_says_so() -> None:
    status = {"memory": {"total_bytes": 1, "available_bytes": 1}, "gpus": [], "units": []}
    assert "no unit ollama.service or vllm@… is known" in render("h", status)

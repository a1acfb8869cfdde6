"""A tiny GGUF file, and a stand-in for Ollama's API with faults to order."""

from __future__ import annotations

import hashlib
import http.server
import json
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool = runpy.run_path(str(ROOT / "tools" / "tiny_gguf.py"))
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    path.write_bytes(tool["gguf"](tool["Shape"]()))
    return path


class FakeOllama(http.server.ThreadingHTTPServer):
    """Models with digests, blobs, and pulls that may be cut off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, Any]] = {}
        self.registry: dict[str, str] = {}
        self.blobs: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.cut_pulls = 0
        self.pull_error = "pull model manifest: file does not exist"
        self.have_bytes = 0
        self.loaded: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def changes(self) -> list[str]:
        """The requests that change something."""
        return [path for method, path in self.requests if method != "HEAD" and path != "/api/show" and method != "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    server: FakeOllama
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = b""
            while size := int(self.rfile.readline(), 16):
                pieces += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return pieces
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, data: Any = None) -> None:
        text = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def lines(self, *events: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(json.dumps(event).encode() + b"\n")
        self.close_connection = True

    def note(self) -> None:
        self.server.requests.append((self.command, self.path))

    def do_GET(self) -> None:
        self.note()
        models = [{"name": name, **model} for name, model in self.server.models.items()]
        self.answer(
            200,
            {
                "/api/version": {"version": "0.32.15"},
                "/api/tags": {"models": models},
                "/api/ps": {"models": self.server.loaded},
                "/v1/models": {"data": [{"id": model["name"]} for model in models]},
            }[self.path],
        )

    def do_HEAD(self) -> None:
        self.note()
        self.answer(200 if self.path.rpartition("/")[2] in self.server.blobs else 404)

    def do_DELETE(self) -> None:
        self.note()
        self.server.models.pop(json.loads(self.body())["model"])
        self.answer(200)

    def do_POST(self) -> None:
        self.note()
        data = self.body()
        if self.path.startswith("/api/blobs/"):
            digest = self.path.rpartition("/")[2]
            assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.server.blobs.add(digest)
            self.answer(201)
            return
        request = json.loads(data)
        {"/api/show": self.show, "/api/create": self.create, "/api/pull": self.pull}[self.path](request)

    def show(self, request: dict[str, Any]) -> None:
        self.answer(200, {"parameters": self.server.models[request["model"]].get("parameters", "")})

    def create(self, request: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        shown = "\n".join(f"{key:<30} {value}" for key, value in request.get("parameters", {}).items())
        self.server.models[request["model"]] = {"digest": digest, "size": 7, "parameters": shown}
        self.lines({"status": "writing manifest"}, {"status": "success"})

    def pull(self, request: dict[str, Any]) -> None:
        name, total = request["model"], 1000
        if name not in self.server.registry:
            self.lines({"status": "pulling manifest"}, {"error": self.server.pull_error})
            return
        digest = self.server.registry[name]
        layer = {"status": "pulling", "digest": f"sha256:{digest}", "total": total}
        first = [{"status": "pulling manifest"}, layer]
        if self.server.cut_pulls:
            self.server.cut_pulls -= 1
            self.server.have_bytes += 400
            self.lines(*first, {**layer, "completed": self.server.have_bytes})
            return
        have = self.server.have_bytes
        self.server.models[name] = {"digest": digest, "size": total}
        steps = [{**layer, "completed": done} for done in sorted({have, (have + total) // 2, total}) if done]
        self.lines(*first, *steps, {"status": "success"})


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    server = FakeOllama()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()

"""Models on a Hub are read by range requests, and the token goes nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.report.sources import ControlNode
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.known_models import KNOWN_MODELS
from ansible_collections.llm.serving.plugins.module_utils.sizing.model_files import read_model
from ansible_collections.llm.serving.plugins.module_utils.sizing.remote import RemoteHub, UnreachableError

from .fleets import QWEN_32B, qwen_tensors, write_checkpoint

TOKEN = "hf_secret"  # noqa: S105 - made up


@dataclass
class Server:
    """A Hub or its CDN; it notes what it is asked, with which token and range."""

    folder: Path
    cdn: str = ""
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    sent_bytes: int = 0
    url: str = ""


def serve(server: Server) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Authorization"), self.headers.get("Range")))
            if self.path.startswith("/api/models/acme/renamed/"):
                self.send_response(307)
                self.send_header("Location", self.path.replace("renamed", "qwen"))
                self.end_headers()
                return
            if self.path.startswith("/api/models/acme/secret/"):
                self.send_error(401)
                return
            if self.path.startswith("/api/models/acme/qwen/"):
                files = [{"rfilename": path.name} for path in server.folder.iterdir()]
                self.answer(json.dumps({"sha": "c" * 40, "siblings": files}).encode())
                return
            path = server.folder / self.path.rsplit("/", 1)[1]
            if self.path.startswith("/api/") or not path.exists():
                self.send_error(404)
                return
            if server.cdn and path.suffix == ".safetensors":
                self.send_response(302)
                self.send_header("Location", f"{server.cdn}/{path.name}")
                self.end_headers()
                return
            first, last = 0, path.stat().st_size - 1
            if self.headers.get("Range"):
                first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
            with path.open("rb") as stream:
                stream.seek(first)
                self.answer(stream.read(last - first + 1), 206 if self.headers.get("Range") else 200)

        def answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            server.sent_bytes += len(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    return http


@pytest.fixture(name="hub")
def start_hub(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    write_checkpoint(tmp_path, KNOWN_MODELS[QWEN_32B], qwen_tensors(64, 5120, 27648, 152064))
    cdn, hub = Server(tmp_path), Server(tmp_path)
    servers = [serve(cdn), serve(hub)]
    hub.cdn = cdn.url
    yield hub, cdn
    for http in servers:
        http.shutdown()
        http.server_close()


def test_only_headers_are_fetched(hub: tuple[Server, Server], tmp_path: Path) -> None:
    server, cdn = hub
    config, checkpoint = RemoteHub(server.url).read("acme/qwen", "main")
    assert config["hidden_size"] == 5120
    local = read_model(str(tmp_path)).checkpoint
    assert checkpoint is not None and local is not None
    assert (checkpoint.total_bytes, checkpoint.tensors) == (local.total_bytes, local.tensors)
    assert server.sent_bytes + cdn.sent_bytes < 1_000_000


def test_token_is_for_the_hub_only(hub: tuple[Server, Server]) -> None:
    server, cdn = hub
    RemoteHub(server.url, TOKEN).read("acme/qwen", "main")
    assert {token for _, token, _ in server.asked} == {f"Bearer {TOKEN}"}
    assert cdn.asked and {token for _, token, _ in cdn.asked} == {None}


def test_token_follows_a_renamed_repository(hub: tuple[Server, Server]) -> None:
    server, _ = hub
    RemoteHub(server.url, TOKEN).read("acme/renamed", "main")
    assert {token for path, token, _ in server.asked if "/api/" in path} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("repo", "expected"),
    [("acme/secret", "models_hub_token"), ("acme/none", "correct model"), ("../etc", "organisation/name")],
)
def test_refusals_say_what_to_set(hub: tuple[Server, Server], repo: str, expected: str) -> None:
    with pytest.raises(SizingError) as caught:
        RemoteHub(hub[0].url, TOKEN).read(repo, "main")
    assert expected in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_each_model_is_read_once(hub: tuple[Server, Server]) -> None:
    source = ControlNode(RemoteHub(hub[0].url), reads_directories=False)
    assert source("acme/qwen", "main") is source("acme/qwen", "main")
    assert sum("/api/" in path for path, _, _ in hub[0].asked) == 1


def test_well_known_model_needs_no_hub() -> None:
    source = ControlNode(RemoteHub("http://127.0.0.1:9"), reads_directories=False)
    found = source(QWEN_32B, "main")
    assert found.files is not None and "cannot be reached" in found.remark
    assert "models_hub_endpoint" in source("acme/qwen", "main").problem["remedy"]
    with pytest.raises(UnreachableError):
        RemoteHub("http://127.0.0.1:9").read("acme/qwen", "main")


def test_path_means_a_directory_of_the_host_unless_there_is_none(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, KNOWN_MODELS[QWEN_32B], qwen_tensors(64, 5120, 27648, 152064))
    hub = RemoteHub("http://127.0.0.1:9")
    assert ControlNode(hub, reads_directories=True)(str(tmp_path), "main").files is not None
    assert "on the host" in ControlNode(hub, reads_directories=False)(str(tmp_path), "main").problem["message"]

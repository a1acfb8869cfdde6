"""A server that streams tokens at its own pace, refuses, breaks off or dies, as a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Engine:
    """How it behaves. `fate` names a request's end by its number: ok, refuse, busy, break, empty or error."""

    first_token_seconds: float = 0.0
    token_seconds: float = 0.0
    usage: bool = True
    slots: int | None = None
    fate: Callable[[int], str] = lambda number: "ok"
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serving(engine: Engine) -> Iterator[str]:
    """Serve on a free port of the loopback; yields the URL."""
    lock = threading.Lock()
    free = threading.Semaphore(engine.slots or 10_000)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            engine.paths.append(self.path)
            known = {
                "/version": {"version": "9.9"},
                "/v1/models": {"data": [{"id": "m", "owned_by": "toy", "max_model_len": 512}]},
            }
            self.answer(200 if self.path in known else 404, known.get(self.path, {}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(engine.requests)
                engine.requests.append(body)
                engine.headers.append(dict(self.headers))
                engine.paths.append(self.path)
            fate = engine.fate(number)
            if fate in {"refuse", "busy"}:
                self.answer(401 if fate == "refuse" else 429, {"error": {"message": f"{fate} <script>"}})
                return
            with free:
                self.stream(body, fate)

        def answer(self, status: int, data: Any) -> None:
            text = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def stream(self, body: dict[str, Any], fate: str) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            time.sleep(engine.first_token_seconds)
            chat = "messages" in body
            for index in range(0 if fate == "empty" else body["max_tokens"]):
                if index:
                    time.sleep(engine.token_seconds)
                self.event({"choices": [{"delta": {"content": " w"}} if chat else {"text": " w"}]})
                if fate == "break" and index == 1:
                    self.close_connection = True
                    self.connection.close()
                    return
            if fate == "error":
                self.event({"error": {"message": "the engine died"}})
            self.event({"choices": [{"delta": {}, "text": "", "finish_reason": "length"}]})
            if engine.usage:
                said = body["messages"][0]["content"] if chat else body["prompt"]
                tokens = {"prompt_tokens": 5 + 2 * len(said.split()), "completion_tokens": body["max_tokens"]}
                self.event({"choices": [], "usage": {**tokens, "completion_tokens": 0} if fate == "empty" else tokens})
            self.piece(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def event(self, data: Any) -> None:
            self.piece(f"data: {json.dumps(data)}\n\n".encode())

        def piece(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

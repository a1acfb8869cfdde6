"""Metrics of Ollama, which has none of its own: is it up, what does it hold, and is that on the GPU?

As a program (roles/monitoring_agent): python3 -m llm.monitoring.ollama_exporter ADDRESS:PORT URL
Every scrape asks Ollama anew, so a figure is never older than its time stamp.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from .exposition import Exposition

TIMEOUT_SECONDS = 5.0
# What a client may send before it is heard; scrapers send little, and in one piece.
CLIENT_TIMEOUT_SECONDS = 10.0
_FAMILIES = (
    ("ollama_up", "gauge", "1 if Ollama answers."),
    ("ollama_info", "gauge", "Which version it is."),
    ("ollama_models", "gauge", "Models on disk."),
    ("ollama_models_bytes", "gauge", "Size of the models on disk; layers that several share count for each."),
    ("ollama_loaded_models", "gauge", "Models in memory."),
    ("ollama_model_size_bytes", "gauge", "Memory that a loaded model takes."),
    ("ollama_model_vram_bytes", "gauge", "The part of it that is on GPUs."),
    ("ollama_model_context_tokens", "gauge", "Context of a loaded model."),
)


class OllamaError(Exception):
    """Ollama did not answer as it should."""


def ask(url: str, path: str) -> dict[str, Any]:
    """Return a JSON answer of Ollama. Raises OllamaError."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise OllamaError(f"{url}{path}: status {response.status}")
        return dict(json.loads(body))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OllamaError(f"{url}{path}: {error}") from error
    finally:
        connection.close()


def collect(url: str) -> str:
    """Return Ollama's metrics; one that does not answer has `ollama_up 0` and nothing else."""
    out = Exposition()
    for family in _FAMILIES:
        out.family(*family)
    try:
        version = ask(url, "/api/version")["version"]
        stored = ask(url, "/api/tags").get("models") or []
        loaded = ask(url, "/api/ps").get("models") or []
    except (OllamaError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        out.add("ollama_up", 0)
        return out.text()
    out.add("ollama_up", 1)
    out.add("ollama_info", 1, version=version)
    out.add("ollama_models", len(stored))
    out.add("ollama_models_bytes", sum(model.get("size", 0) for model in stored))
    out.add("ollama_loaded_models", len(loaded))
    for model in loaded:
        name = model["name"]
        out.add("ollama_model_size_bytes", model.get("size", 0), model=name)
        out.add("ollama_model_vram_bytes", model.get("size_vram", 0), model=name)
        out.add("ollama_model_context_tokens", model.get("context_length"), model=name)
    return out.text()


class Handler(BaseHTTPRequestHandler):
    """GET /metrics and nothing else."""

    url = ""
    timeout = CLIENT_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        """Answer a scrape."""
        if self.path != "/metrics":
            self.send_error(http.client.NOT_FOUND)
            return
        body = collect(self.url).encode()
        self.send_response(http.client.OK)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep scrapes out of the journal."""


class Ipv6Server(ThreadingHTTPServer):
    """The same for IPv6: the library's own takes IPv4 addresses alone."""

    address_family = socket.AF_INET6


def server(listen: str, url: str) -> ThreadingHTTPServer:
    """Return a server that answers scrapes at ADDRESS:PORT, an IPv6 address in brackets."""
    address, _colon, port = listen.rpartition(":")
    handler = type("OllamaHandler", (Handler,), {"url": url})
    kind = Ipv6Server if ":" in address else ThreadingHTTPServer
    return kind((address.strip("[]"), int(port)), handler)


def main(listen: str, url: str) -> None:
    """Answer scrapes until the end."""
    server(listen, url).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Ollama's own API: what is there, pulling and creating with progress, blobs, and what is loaded."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..openai.client import ApiError, Server, get, request

START_POLL_SECONDS = 0.5
STREAM_TIMEOUT_SECONDS = 600.0
OK_STATUSES = frozenset({http.client.OK, http.client.CREATED})


@dataclass(frozen=True)
class Loaded:
    """A model in memory, as /api/ps tells it; sizes in bytes."""

    name: str
    size_bytes: int
    vram_bytes: int
    context: int

    @property
    def gpu_percent(self) -> float:
        """How much of it is in the memory of GPUs."""
        return 100.0 * self.vram_bytes / self.size_bytes if self.size_bytes else 0.0


def version(server: Server) -> str:
    """The server's version. Raises ApiError."""
    return str(get(server, "/api/version").json()["version"])


def wait(server: Server, seconds: float) -> str:
    """Wait until the server answers and return its version. Raises ApiError, in words that help."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return version(server)
        except ApiError as error:
            if time.monotonic() >= deadline:
                raise ApiError(unreachable(server, error)) from error
            time.sleep(START_POLL_SECONDS)


def unreachable(server: Server, error: ApiError) -> str:
    """Say what may keep a server from being reached."""
    return (
        f"Ollama does not answer at {server.url}: {error}. Is the service up (systemctl status ollama)? Does it listen "
        "there (OLLAMA_HOST; ss -tlnp)? Does a firewall on the way let it through?"
    )


def tags(server: Server) -> dict[str, dict[str, Any]]:
    """The models of the server by name. Raises ApiError."""
    return {entry["name"]: entry for entry in get(server, "/api/tags").json().get("models") or []}


def loaded(server: Server) -> list[Loaded]:
    """The models in memory. Raises ApiError."""
    return [
        Loaded(entry["name"], entry.get("size", 0), entry.get("size_vram", 0), entry.get("context_length", 0))
        for entry in get(server, "/api/ps").json().get("models") or []
    ]


def show(server: Server, name: str) -> dict[str, Any]:
    """What the server knows of a model. Raises ApiError."""
    answer = request(server, "POST", "/api/show", {"model": name})
    if answer.status != http.client.OK:
        raise ApiError(_message(answer.body), status=answer.status)
    return dict(answer.json())


def delete(server: Server, name: str) -> None:
    """Delete a model. Raises ApiError."""
    answer = request(server, "DELETE", "/api/delete", {"model": name})
    if answer.status != http.client.OK:
        raise ApiError(_message(answer.body), status=answer.status)


def progress(server: Server, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """POST and yield the lines of the answer as they come. Raises ApiError for the server's errors as well."""
    connection = _connect(server, STREAM_TIMEOUT_SECONDS)
    done = False
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise ApiError(_message(response.read().decode("utf-8", "replace")), status=response.status)
        for line in response:
            if not line.strip():
                continue
            event = json.loads(line)
            if "error" in event:
                raise ApiError(str(event["error"]), status=response.status)
            done = event.get("status") == "success"
            yield event
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(f"POST {server.url}{path} was cut off: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if not done:
        raise ApiError(f"POST {server.url}{path} was cut off: the server ended it before it was done")


def upload_blob(server: Server, digest: str, path: Path, on_bytes: Callable[[int], None]) -> bool:
    """Give a file to the server unless it has it; tells whether it was sent. Raises ApiError and OSError."""
    if request(server, "HEAD", f"/api/blobs/{digest}").status == http.client.OK:
        return False
    connection = _connect(server, STREAM_TIMEOUT_SECONDS)
    try:
        headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
        with path.open("rb") as file:
            connection.request("POST", f"/api/blobs/{digest}", _counted(file, on_bytes), headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        if response.status not in OK_STATUSES:
            raise ApiError(f"the server did not take {path}: {_message(text)}", status=response.status)
    except (http.client.HTTPException, ConnectionError) as error:
        raise ApiError(f"the server did not take {path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    return True


def _counted(file: Any, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    piece = file.read(1 << 20)
    while piece:
        yield piece
        on_bytes(len(piece))
        piece = file.read(1 << 20)


def _connect(server: Server, timeout_seconds: float) -> http.client.HTTPConnection:
    parts = urlsplit(server.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_seconds)


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.strip() or "an empty answer"

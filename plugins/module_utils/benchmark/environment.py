"""Where a run took place: what a reader needs in order to compare it with another one."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..openai import client
from ..openai.client import ApiError, Server

CPUINFO = Path("/proc/cpuinfo")
PATIENCE_SECONDS = 5.0


def client_environment() -> dict[str, Any]:
    """Describe the host that sends the requests."""
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def server_environment(server: Server, model: str) -> dict[str, Any]:
    """Ask the server what it is; what it does not tell is None."""
    patient = Server(server.url, server.api_key, PATIENCE_SECONDS, server.validate_certs, server.ca_path)
    entry = _model(_ask(patient, "/v1/models"), model)
    return {
        "engine": entry.get("owned_by"),
        "version": _first(_ask(patient, path).get("version") for path in ("/version", "/api/version")),
        "max_model_len": entry.get("max_model_len"),
        "root": entry.get("root"),
    }


def _ask(server: Server, path: str) -> dict[str, Any]:
    try:
        found = json.loads(client.get(server, path).body)
    except (ApiError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _model(listing: dict[str, Any], model: str) -> dict[str, Any]:
    entries = listing.get("data")
    if not isinstance(entries, list):
        return {}
    return next((entry for entry in entries if isinstance(entry, dict) and entry.get("id") == model), {})


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value), None)


def _processor() -> str | None:
    try:
        lines = CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)

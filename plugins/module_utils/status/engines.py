"""What a running engine says of itself: its models, what it works on, and how much waits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..doctor.failures import decisive_failure
from ..ollama import api
from ..ollama.environment import parse_config
from ..ollama.log import findings
from ..openai.client import ApiError, Server, get

TIMEOUT_SECONDS = 3.0
METRIC = re.compile(r"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc)(?:\{[^}]*\})? (\S+)$")
QUEUE_DEFAULT = "512"


@dataclass
class Voice:
    """An engine's own account. answers: whether its API did. notes are for whoever reads the report."""

    answers: bool = False
    models: list[str] = field(default_factory=list)
    work: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ask_ollama(urls: Sequence[str], lines: Sequence[str], open_connections: int) -> Voice:
    """Ask a server for its models and what is loaded, and read its journal for what it refused."""
    voice = Voice(notes=[str(finding) for finding in findings(lines)])
    for url in urls:
        server = Server(url, timeout_seconds=TIMEOUT_SECONDS)
        try:
            voice.models = [
                f"{name} ({entry['size'] / 1e9:.1f} GB, {entry['digest'][:12]})"
                for name, entry in api.tags(server).items()
            ]
            loaded = api.loaded(server)
        except ApiError:
            continue
        voice.answers = True
        voice.work = [
            f"loaded: {model.name}, {model.size_bytes / 1e9:.1f} GB, {model.gpu_percent:.0f} % on the GPU, "
            f"context {model.context}"
            for model in loaded
        ]
        limit = (parse_config(lines) or {}).get("OLLAMA_MAX_QUEUE", QUEUE_DEFAULT)
        voice.work.append(f"{open_connections} connections open; at most {limit} requests wait for a model")
        break
    return voice


def ask_vllm(urls: Sequence[str], lines: Sequence[str], is_up: bool) -> Voice:
    """Ask an instance for its models and metrics; where it is down, say what it died of."""
    voice = Voice()
    for url in urls:
        server = Server(url, timeout_seconds=TIMEOUT_SECONDS)
        try:
            voice.models = [entry["id"] for entry in get(server, "/v1/models").json()["data"]]
        except ApiError as error:
            # Behind an API key the list is closed; that it answers can be told all the same.
            if error.status not in {401, 403}:
                continue
            voice.notes.append("the list of models needs the instance's API key")
        except (KeyError, TypeError):
            continue
        voice.answers = True
        voice.work = _vllm_work(server)
        break
    failure = None if is_up else decisive_failure(lines)
    if failure:
        voice.notes += str(failure).splitlines()
    return voice


def _vllm_work(server: Server) -> list[str]:
    try:
        metrics = sums(get(server, "/metrics").body.splitlines())
    except ApiError:
        return []
    if not metrics:
        return []
    return [
        f"{metrics.get('num_requests_running', 0):.0f} requests running, "
        f"{metrics.get('num_requests_waiting', 0):.0f} waiting, "
        f"KV cache {100 * metrics.get('kv_cache_usage_perc', 0):.0f} % full"
    ]


def sums(lines: Iterable[str]) -> dict[str, float]:
    """Add up the metrics that tell how busy an instance is, over its engines."""
    totals: dict[str, float] = {}
    for line in lines:
        match = METRIC.match(line)
        if match:
            totals[match[1]] = totals.get(match[1], 0.0) + float(match[2])
    return totals

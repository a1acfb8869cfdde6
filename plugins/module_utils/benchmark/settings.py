"""What to measure and how: every setting of a run, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import BenchmarkError
from .lengths import Lengths
from .prompts import Prompt
from .slo import Slo

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
REQUESTS_PER_USER = 20
MIN_REQUESTS = 100
DEFAULT_CONCURRENCY = (1, 4, 16)
# More would not fit into memory as a report, and their percentiles would say nothing new.
MAX_REQUESTS = 200_000
# Set by the benchmark itself: an extra_body that changed them would make it measure something else.
RESERVED = ("model", "stream", "stream_options", "messages", "prompt", "max_tokens", "n")


@dataclass(frozen=True)
class Stage:
    """A load that is held for some time."""

    number: int
    mode: str
    """closed: `load` requests are always under way. open: they come at random, `load` a second on average."""
    load: float
    requests: int

    @property
    def label(self) -> str:
        """Return the load in a few characters."""
        return f"{self.load:g} at a time" if self.mode == "closed" else f"{self.load:g}/s"


@dataclass(frozen=True)
class Settings:
    """A whole run. Seconds and tokens, as the names say."""

    url: str
    """Of the server, without /v1."""
    model: str
    stages: tuple[Stage, ...]
    input_tokens: Lengths
    output_tokens: Lengths
    endpoint: str = "chat"
    api_key: str | None = field(default=None, repr=False)
    validate_certs: bool = True
    ca_path: str | None = None
    prompts: tuple[Prompt, ...] = field(default=(), repr=False)
    prompts_file: str | None = None
    stage_seconds: float = 120.0
    request_timeout_seconds: float = 300.0
    warmup_requests: int = 4
    abort_after_failures: int = 20
    ignore_eos: bool = True
    temperature: float = 0.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    client_ceiling_seconds: float = 1.0
    title: str = ""
    slo: Slo | None = None

    def __post_init__(self) -> None:
        """Raise BenchmarkError when a setting cannot work."""
        _check_url(self.url)
        positive = ("stage_seconds", "request_timeout_seconds", "abort_after_failures")
        for name in positive:
            if getattr(self, name) <= 0:
                raise BenchmarkError(f"{name}: expected more than 0, found {getattr(self, name):g}")
        for name in ("warmup_requests", "client_ceiling_seconds", "temperature"):
            if getattr(self, name) < 0:
                raise BenchmarkError(f"{name}: expected 0 or more, found {getattr(self, name):g}")
        taken = sorted(set(RESERVED) & set(self.extra_body))
        if taken:
            raise BenchmarkError(f"extra_body: {', '.join(taken)} cannot be set there: the benchmark sets it itself")

    @property
    def chat(self) -> bool:
        """Whether messages are sent."""
        return self.endpoint == "chat"

    @property
    def longest_seconds(self) -> float:
        """Return the longest that the stages can take."""
        return len(self.stages) * (self.stage_seconds + self.request_timeout_seconds)

    def body(self, prompt: Prompt, output_tokens: int) -> bytes:
        """Return the JSON of one request."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": prompt.output_tokens or output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": self.temperature,
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        if not self.chat:
            body["prompt"] = prompt.text
        elif prompt.messages:
            body["messages"] = list(prompt.messages)
        else:
            body["messages"] = [{"role": "user", "content": prompt.text}]
        return json.dumps({**body, **self.extra_body}, ensure_ascii=False).encode("utf-8")

    def as_dict(self) -> dict[str, Any]:
        """Return what a report shows; the key is no part of it."""
        return {
            "url": self.url,
            "endpoint": PATHS[self.endpoint],
            "model": self.model,
            "loads": [stage.label for stage in self.stages],
            "requests": [stage.requests for stage in self.stages],
            "input_tokens": None if self.prompts else self.input_tokens.describe(),
            "output_tokens": self.output_tokens.describe(),
            "prompts_file": self.prompts_file,
            "prompts_in_file": len(self.prompts) or None,
            "stage_seconds": self.stage_seconds,
            "request_timeout_seconds": self.request_timeout_seconds,
            "warmup_requests": self.warmup_requests,
            "abort_after_failures": self.abort_after_failures,
            "ignore_eos": self.ignore_eos,
            "temperature": self.temperature,
            "extra_body": dict(self.extra_body),
            "seed": self.seed,
            "authenticated": self.api_key is not None,
            "validate_certs": self.validate_certs,
        }


def _check_url(url: str) -> None:
    """Raise BenchmarkError for a URL that would be kept with a password in it, or has no port that there can be."""
    # Before anything can complain of the URL and show it.
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise BenchmarkError("url: expected no user and no password, which would be kept with the figures; set api_key")
    try:
        _port = urlsplit(url).port
    except ValueError as error:
        raise BenchmarkError(f"url: expected one such as http://127.0.0.1:8000, found {url!r}: {error}") from error


def stages(concurrency: Sequence[int], rates: Sequence[float], requests: int | None) -> tuple[Stage, ...]:
    """Return the stages of a run: closed ones first, each kind from the lightest load to the heaviest.

    Raises BenchmarkError for a load or a number of requests that cannot be.
    """
    if not concurrency and not rates:
        concurrency = DEFAULT_CONCURRENCY
    for name, loads in (("concurrency", concurrency), ("request_rate", rates)):
        for load in loads:
            if load <= 0:
                raise BenchmarkError(f"{name}: expected loads greater than 0, found {load:g}")
    if requests is not None and not 1 <= requests <= MAX_REQUESTS:
        raise BenchmarkError(f"requests: expected 1 to {MAX_REQUESTS}, found {requests}")
    wanted = [("closed", float(load)) for load in sorted(set(concurrency))]
    wanted += [("open", float(load)) for load in sorted(set(rates))]
    found = []
    for number, (mode, load) in enumerate(wanted):
        users = int(load) if mode == "closed" else 0
        count = requests or max(MIN_REQUESTS, REQUESTS_PER_USER * users)
        if count > MAX_REQUESTS:
            raise BenchmarkError(f"concurrency: expected at most {MAX_REQUESTS} requests a stage, found {count}")
        found.append(Stage(number, mode, load, max(count, users)))
    return tuple(found)

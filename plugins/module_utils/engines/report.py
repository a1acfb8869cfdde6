"""What vLLM says in its log about the memory it found and took.

The wordings are those of vLLM 0.4 to 0.33, which changed more than once; numbers come with and without
thousands separators, and sizes in «GiB» or, in old versions, in «GB» that were GiB all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

from .lines import parse_lines
from .systemd import Run, startup_journal, unit_states

T = TypeVar("T")

GIB = 1 << 30
V0_BLOCK_TOKENS = 16  # the engines that logged «# GPU blocks» had this block size unless told otherwise

NUMBER = r"(-?[\d,]+(?:\.\d+)?)"
KV_TOKENS = re.compile(rf"\b([A-Z]+) (?:\+ host )?KV cache size: {NUMBER} tokens")
V0_BLOCKS = re.compile(rf"# ([A-Za-z]+) blocks: {NUMBER}, # CPU blocks: {NUMBER}")
CONCURRENCY = re.compile(rf"Maximum concurrency for {NUMBER} tokens per request: {NUMBER}x")
WEIGHTS = re.compile(
    rf"(?:Model loading took|Loading model weights took|model weights take) {NUMBER} ?G(?:i?B)?", re.IGNORECASE
)
AVAILABLE_KV = re.compile(
    rf"(?:Available KV cache memory: |reserved for KV Cache is |(?:Explicitly|Auto) set \(){NUMBER}", re.IGNORECASE
)
GRAPHS = re.compile(rf"Graph capturing finished in .*?, took {NUMBER} Gi?B", re.IGNORECASE)
ACTIVATION = re.compile(rf"activation peak memory takes {NUMBER} ?Gi?B|{NUMBER} GiB for peak activation", re.IGNORECASE)
NON_TORCH = re.compile(rf"non_torch_memory takes {NUMBER} ?Gi?B", re.IGNORECASE)
MODEL_LENGTH = re.compile(rf"(?:Using max model len |max_seq_len=){NUMBER}")
VERSION = re.compile(r"(?:LLM engine \(v|\bversion |vLLM API server version )(\d+\.\d+[\w.+]*)")
START = re.compile(r"\bnon-default args:|vLLM API server version|Started .*vllm@")


@dataclass(frozen=True)
class EngineReport:
    """The engine's own figures; None for what it did not log.

    Memory figures are per rank, the largest that any rank logged (the smallest for the KV cache).
    """

    version: str | None = None
    device: str | None = None
    max_model_len: int | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    weights_bytes: int | None = None
    kv_cache_bytes: int | None = None
    activation_bytes: int | None = None
    non_torch_bytes: int | None = None
    cuda_graphs_bytes: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def latest_start(texts: list[str]) -> list[str]:
    """Return what was logged since the engine last started: a journal holds earlier lives as well."""
    starts = [number for number, text in enumerate(texts) if START.search(text)]
    return texts[starts[-1] :] if starts else texts


def startup_report(run: Run, unit: str) -> EngineReport:
    """Read what a unit logged about its present life. Raises OSError when systemd does not answer."""
    return read_report(startup_journal(run, unit_states(run, [unit])[unit].invocation))


def read_report(raw: Iterable[str]) -> EngineReport:
    """Read the figures of the latest start out of a log."""
    texts = latest_start([line.text for line in parse_lines(raw)])
    tokens = [(match[1], _integer(match[2])) for match in _matches(KV_TOKENS, texts)]
    tokens += [(match[1], _integer(match[2]) * V0_BLOCK_TOKENS) for match in _matches(V0_BLOCKS, texts)]
    return EngineReport(
        version=_last(match[1] for match in _matches(VERSION, texts)),
        device=_last(pair[0].lower() for pair in tokens),
        max_model_len=_last(_integer(match[1]) for match in _matches(MODEL_LENGTH, texts)),
        # With several engine cores or ranks the smallest cache is the one that binds.
        kv_cache_tokens=min((pair[1] for pair in tokens), default=None),
        max_concurrency=min((_number(match[2]) for match in _matches(CONCURRENCY, texts)), default=None),
        weights_bytes=max(_sizes(WEIGHTS, texts), default=None),
        kv_cache_bytes=min(_sizes(AVAILABLE_KV, texts), default=None),
        activation_bytes=max(_sizes(ACTIVATION, texts), default=None),
        non_torch_bytes=max(_sizes(NON_TORCH, texts), default=None),
        cuda_graphs_bytes=max(_sizes(GRAPHS, texts), default=None),
    )


def _matches(pattern: re.Pattern[str], texts: list[str]) -> list[re.Match[str]]:
    return [match for text in texts for match in pattern.finditer(text)]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _integer(text: str) -> int:
    return int(_number(text))


def _last(values: Iterable[T]) -> T | None:
    found = list(values)
    return found[-1] if found else None


def _sizes(pattern: re.Pattern[str], texts: list[str]) -> list[int]:
    return [round(_number(next(filter(None, match.groups()))) * GIB) for match in _matches(pattern, texts)]

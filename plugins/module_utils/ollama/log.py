"""What the server's journal says: whether it found GPUs, and what its complaints mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COMPUTE = re.compile(r'msg="inference compute".*? library=(\S+)')
TROUBLE = re.compile(r"level=(?:WARN|ERROR)|ggml_\w+_init: failed|error while loading shared libraries")
ABOUT_GPUS = re.compile(r"gpu|cuda|rocm|hip|vulkan|nvml|driver|vram|nvidia|amdgpu", re.IGNORECASE)
SHOWN_LINES = 5


@dataclass(frozen=True)
class Symptom:
    """A kind of line, and what it means for whoever reads the log."""

    pattern: re.Pattern[str]
    meaning: str


@dataclass(frozen=True)
class Finding:
    """How often a symptom was seen, and the last line of it."""

    count: int
    meaning: str
    line: str

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{times}: {self.meaning}"


def _symptom(pattern: str, meaning: str) -> Symptom:
    return Symptom(re.compile(pattern), meaning)


SYMPTOMS = (
    _symptom(
        r"\[GIN\].*\| 503 \|",
        "status 503, «server busy, maximum pending requests exceeded»: more requests waited for a model to be loaded "
        "than OLLAMA_MAX_QUEUE allows. Raise it (ollama_max_queue), let more models stay loaded "
        "(ollama_max_loaded_models), or add a host.",
    ),
    _symptom(
        r"bind: address already in use",
        "the port is taken by something else: the list of listening ports shows by what. Stop that or change "
        "ollama_host.",
    ),
    _symptom(
        r"out of memory|cudaMalloc failed|failed to allocate .*buffer|signal: killed",
        "memory ran out while a model was loaded or used. Lower ollama_max_loaded_models, ollama_num_parallel or the "
        "context (num_ctx), set ollama_kv_cache_type: q8_0, or take a smaller quantization.",
    ),
    _symptom(
        r"model predicted to exceed available memory, evicting",
        "a model had to leave for another: they do not fit beside each other. Every request that finds its model "
        "gone waits for it to be loaded again.",
    ),
    _symptom(
        r"truncating input prompt|context limit hit|exceeds the available context size",
        "prompts were longer than the context: raise num_ctx of the model or ollama_context_length.",
    ),
    _symptom(
        r'msg="inference compute".* library=cpu',
        "the server found no GPU and computes on the CPU. On a GPU host: driver, device files and "
        "CUDA_VISIBLE_DEVICES.",
    ),
    _symptom(
        r"timed out waiting for llama(?:-server| runner) to start",
        "a model took longer to load than ollama_load_timeout allows, by a slow disk or too large a model.",
    ),
    _symptom(
        r"llama(?:-server| runner) process (?:has terminated|no longer running)|llama-server binary not found",
        "llama-server, which computes for Ollama, died or is missing. The lines before it say why.",
    ),
    _symptom(
        r"dial tcp: lookup .* no such host", "a name could not be resolved: this host has no way to the registry."
    ),
)


def findings(lines: Iterable[str]) -> list[Finding]:
    """What these lines complain about."""
    kept = list(lines)
    found = []
    for symptom in SYMPTOMS:
        hits = [line for line in kept if symptom.pattern.search(line)]
        if hits:
            found.append(Finding(len(hits), symptom.meaning, hits[-1]))
    return found


def libraries(lines: Iterable[str]) -> list[str]:
    """What the server computes with, as it logged it when it started: cpu, CUDA, ROCm, …"""
    return [match[1].strip('"') for match in map(COMPUTE.search, lines) if match]


def gpu_trouble(lines: Iterable[str]) -> list[str]:
    """The lines that may say why no GPU is used."""
    return [line for line in lines if TROUBLE.search(line) and ABOUT_GPUS.search(line)][:SHOWN_LINES]


def shorten(line: str) -> str:
    """A log line as a person reads it: without the source position."""
    return re.sub(r" source=\S+", "", line)


def last_start(lines: Sequence[str]) -> list[str]:
    """The lines from the last «server config» on."""
    for position in range(len(lines) - 1, -1, -1):
        if 'msg="server config"' in lines[position]:
            return list(lines[position:])
    return list(lines)

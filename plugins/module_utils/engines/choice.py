"""Which engine suits a host and a wished model, and why: one table of rules.

Every rule looks at the host and the wish and, where it applies, speaks for an engine with a weight or rules one
out. The engine with the most weight wins; a tie goes to Ollama, which is less to operate. What a rule does not
know it does not use. The table is explained in docs/choosing-an-engine.md; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

VLLM, OLLAMA = "vllm", "ollama"
ENGINES = (OLLAMA, VLLM)
GIB = 1024**3
SMALL_PARAMETERS = 9_000_000_000
LARGE_PARAMETERS = 30_000_000_000
FEW_USERS = 4
MANY_USERS = 16
LEAST_CAPABILITY = (7, 5)
WEIGHT_STRONG, WEIGHT_PLAIN = 3, 1
BF16_BYTES = 2
CHOICES: Mapping[str, tuple[str, ...]] = {
    "format": ("gguf", "safetensors"),
    "goal": ("prototype", "interactive", "service", "batch"),
    "effort": ("low", "normal"),
}


@dataclass(frozen=True)
class Host:
    """What decides on a host. capability: of the weakest card. memory of all cards together, None when unknown."""

    vendor: str | None = None
    gpu_count: int = 0
    gpu_memory_bytes: int | None = None
    capability: tuple[int, int] | None = None
    is_edge: bool = False


@dataclass(frozen=True)
class Wish:
    """What is wished for. Absent knowledge is None.

    concurrency: requests at the same time. format: gguf or safetensors. goal: prototype, interactive, service or
    batch. effort: low when nobody is there to tune and watch.
    """

    name: str
    parameters: int | None = None
    weights_bytes: int | None = None
    format: str | None = None
    concurrency: int | None = None
    latency_sensitive: bool | None = None
    goal: str | None = None
    effort: str | None = None
    switches_models: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """What one rule says: for which engine, how strongly, or that one is out of the question."""

    rule: str
    engine: str
    weight: int
    reason: str
    excludes: bool = False


@dataclass(frozen=True)
class Choice:
    """The engine, and every verdict that led to it, the decisive ones first."""

    model: str
    engine: str | None
    reasons: tuple[str, ...]
    weights: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Rule:
    """A row of the table: what it is about, in the words of the documentation, and how it judges."""

    name: str
    speaks_for: str
    judge: Callable[[Host, Wish], tuple[str, int, str] | None]
    excludes: bool = False


def _gguf(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.format == "gguf":
        return VLLM, 0, "the model is a GGUF file, which vLLM serves experimentally at best"
    return None


def _no_gpu(host: Host, _wish: Wish) -> tuple[str, int, str] | None:
    if not host.gpu_count:
        return OLLAMA, WEIGHT_STRONG, "the host has no GPU: Ollama's llama.cpp is made for CPUs and quantized models"
    return None


def _old_gpu(host: Host, _wish: Wish) -> tuple[str, int, str] | None:
    if host.vendor == "nvidia" and host.capability and host.capability < LEAST_CAPABILITY:
        found = ".".join(map(str, host.capability))
        return VLLM, 0, f"a card has compute capability {found}; vLLM needs 7.5"
    return None


def _edge(host: Host, _wish: Wish) -> tuple[str, int, str] | None:
    if host.is_edge:
        return OLLAMA, WEIGHT_STRONG, "the host is an edge device: one small archive, models that unload when idle"
    return None


def _many_users(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.concurrency is None:
        return None
    if wish.concurrency >= MANY_USERS:
        return VLLM, WEIGHT_STRONG, f"{wish.concurrency} requests at once: continuous batching and a paged KV cache"
    if wish.concurrency <= FEW_USERS:
        return OLLAMA, WEIGHT_PLAIN, f"{wish.concurrency} requests at once: a single user or a small team"
    return VLLM, WEIGHT_PLAIN, f"{wish.concurrency} requests at once: more than a small team"


def _size(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.parameters is None:
        return None
    billions = f"{wish.parameters / 1e9:.1f} billion parameters"
    if wish.parameters >= LARGE_PARAMETERS:
        return VLLM, WEIGHT_STRONG, f"{billions}: a large model"
    if wish.parameters <= SMALL_PARAMETERS:
        return OLLAMA, WEIGHT_PLAIN, f"{billions}: a small model"
    return None


def _tensor_parallel(host: Host, wish: Wish) -> tuple[str, int, str] | None:
    need_bytes = _weights(wish)
    if need_bytes is None or not host.gpu_memory_bytes or host.gpu_count < 2:
        return None
    if need_bytes > 0.9 * host.gpu_memory_bytes / host.gpu_count and need_bytes < host.gpu_memory_bytes:
        return (
            VLLM,
            WEIGHT_STRONG,
            f"it needs several of the {host.gpu_count} cards: tensor parallelism computes on all",
        )
    return None


def _too_large(host: Host, wish: Wish) -> tuple[str, int, str] | None:
    need_bytes = _weights(wish)
    if need_bytes is None or not host.gpu_memory_bytes:
        return None
    if need_bytes > host.gpu_memory_bytes:
        size = f"{need_bytes / GIB:.0f} GiB of weights on {host.gpu_memory_bytes / GIB:.0f} GiB of GPU memory"
        return OLLAMA, WEIGHT_STRONG, f"{size}: only a quantized model, or layers on the CPU, fit"
    return None


def _latency(host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.latency_sensitive and host.gpu_count:
        return VLLM, WEIGHT_PLAIN, "latency matters: no model is unloaded, and requests do not wait for each other"
    return None


def _goal(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.goal in {"service", "batch"}:
        return VLLM, WEIGHT_PLAIN, f"{wish.goal}: throughput, metrics and a planned KV cache"
    if wish.goal in {"prototype", "interactive"}:
        return OLLAMA, WEIGHT_PLAIN, f"{wish.goal} use: models are pulled, tried and dropped in seconds"
    return None


def _effort(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.effort == "low":
        return OLLAMA, WEIGHT_PLAIN, "little operating effort is wished for: one binary, one service, models by name"
    return None


def _switching(_host: Host, wish: Wish) -> tuple[str, int, str] | None:
    if wish.switches_models:
        return OLLAMA, WEIGHT_PLAIN, "several models take turns on the same memory: Ollama loads and unloads them"
    return None


RULES = (
    Rule("format", "GGUF files rule out vLLM", _gguf, excludes=True),
    Rule("capability", "cards below compute capability 7.5 rule out vLLM", _old_gpu, excludes=True),
    Rule("no-gpu", "hosts without a GPU: Ollama, strongly", _no_gpu),
    Rule("edge", "edge devices: Ollama, strongly", _edge),
    Rule("concurrency", "up to 4 requests at once: Ollama; from 5: vLLM; from 16: vLLM, strongly", _many_users),
    Rule("size", "up to 9 billion parameters: Ollama; from 30 billion: vLLM, strongly", _size),
    Rule("tensor-parallel", "weights that need several cards and fit into all: vLLM, strongly", _tensor_parallel),
    Rule("too-large", "weights beyond all GPU memory: Ollama, strongly", _too_large),
    Rule("latency", "latency matters on a GPU: vLLM", _latency),
    Rule("goal", "prototype or interactive: Ollama; service or batch: vLLM", _goal),
    Rule("effort", "little operating effort: Ollama", _effort),
    Rule("switching", "several models that take turns: Ollama", _switching),
)


def choose(host: Host, wish: Wish) -> Choice:
    """Choose the engine for a model on a host. The engine is None only when every engine is ruled out."""
    verdicts = [verdict for verdict in (_apply(rule, host, wish) for rule in RULES) if verdict]
    excluded = {verdict.engine for verdict in verdicts if verdict.excludes}
    weights = dict.fromkeys(ENGINES, 0)
    for verdict in verdicts:
        weights[verdict.engine] += verdict.weight
    left = [engine for engine in ENGINES if engine not in excluded]
    # max takes the first of equals, and Ollama comes first.
    engine = max(left, key=lambda name: weights[name]) if left else None
    ordered = sorted(verdicts, key=lambda verdict: (not verdict.excludes, verdict.engine != engine, -verdict.weight))
    reasons = [_sentence(verdict) for verdict in ordered]
    if engine == OLLAMA and not any(verdict.engine == OLLAMA or verdict.excludes for verdict in verdicts):
        reasons.append("nothing speaks against Ollama, which is less to operate")
    return Choice(wish.name, engine, tuple(reasons), weights)


def wish_from(entry: Mapping[str, Any]) -> Wish:
    """Read a wish as an operator writes it. Raises ValueError for what is not known."""
    known = {item.name for item in fields(Wish)}
    unknown = sorted(set(entry) - known)
    if unknown or not entry.get("name"):
        found = ", ".join(unknown) or "no name"
        raise ValueError(f"expected a wish with name and some of {', '.join(sorted(known))}; found {found}")
    for name, choices in CHOICES.items():
        if entry.get(name) is not None and entry[name] not in choices:
            raise ValueError(f"{entry['name']}: expected {name} as one of {', '.join(choices)}, found {entry[name]!r}")
    return Wish(**entry)


def host_from_facts(gpu: Mapping[str, Any], is_edge: bool = False) -> Host:
    """Build a host from `ansible_facts.gpu`."""
    devices = gpu.get("devices") or []
    sizes = [device.get("memory_total_bytes") for device in devices]
    capabilities = [_version(device.get("compute_capability")) for device in devices]
    known = [capability for capability in capabilities if capability]
    return Host(
        vendor=gpu.get("vendor"),
        gpu_count=len(devices),
        gpu_memory_bytes=sum(size for size in sizes if size) if devices and all(sizes) else None,
        capability=min(known) if known else None,
        is_edge=is_edge,
    )


def _apply(rule: Rule, host: Host, wish: Wish) -> Verdict | None:
    found = rule.judge(host, wish)
    return Verdict(rule.name, *found, excludes=rule.excludes) if found else None


def _weights(wish: Wish) -> int | None:
    if wish.weights_bytes is not None:
        return wish.weights_bytes
    return wish.parameters * BF16_BYTES if wish.parameters is not None else None


def _version(text: Any) -> tuple[int, int] | None:
    major, _separator, minor = str(text or "").partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() and (minor or "0").isdigit() else None


def _sentence(verdict: Verdict) -> str:
    kind = "not" if verdict.excludes else "for"
    return f"{kind} {verdict.engine}: {verdict.reason}"

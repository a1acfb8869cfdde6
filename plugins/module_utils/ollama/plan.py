"""How many models and requests a host bears, and why.

The rules are the team's experience (one loaded model per 64 GB of RAM, one parallel request per 4 cores, a
queue of 1024), bounded by memory: weights + parallel × KV cache of the context of the models declared
must fit. The server's own behaviour is that of Ollama 0.32 (server/sched.go, server/routes.go): it starts
llama-server with a context of num_ctx × parallel, leaves LLAMA_ARG_FIT_TARGET free on every card, and takes a
further model beside a loaded one only when its need is at most 80 % of what is free. There it knows of no sliding
windows (PredictServerVRAM of llm/llama_server.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .environment import GIB, LEAST_FREE_BYTES, MIB, Gpu, settings, visible
from .gguf import ModelShape, cache_type_bytes
from .store import full_name
from .values import OllamaError, switch

GB = 1000**3
RAM_PER_MODEL_BYTES = 64 * GB
CORES_PER_REQUEST = 4
QUEUE = 1024
# Contexts that the server takes by itself, by the memory of all cards together.
CONTEXT_CLASSES = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
LEAST_CONTEXT = 4096
FURTHER_MODEL_SHARE = 0.8
# Compute buffers (the logits of 512 tokens over a large vocabulary take 0.3 GiB) and the CUDA context.
ROOM_PER_MODEL_BYTES = GIB
RAM_SHARE = 0.9  # of a CPU host's memory: the rest is the system's
# These are served one request at a time, whatever is set (server/sched.go).
SINGLE_REQUEST = frozenset(
    (
        *("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe"),
        *("nemotron_h", "nemotron_h_moe", "nemotron_h_omni"),
    )
)
LOADED, PARALLEL, MAX_QUEUE, CONTEXT = (
    "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_MAX_QUEUE",
    "OLLAMA_CONTEXT_LENGTH",
)


@dataclass(frozen=True)
class Host:
    """What is there. vendor: nvidia, amd or None."""

    memory_total_bytes: int
    cpu_count: int
    vendor: str | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Model:
    """A declared model. shape: None while it is not on the host. layers: its own `num_gpu`."""

    name: str
    shape: ModelShape | None = None
    context: int | None = None
    layers: int | None = None
    companion_bytes: int = 0


@dataclass(frozen=True)
class Pool:
    """The memory that models share: that of the visible cards, or a CPU host's RAM."""

    name: str
    total_bytes: int
    usable_bytes: int
    cards: int = 0

    @property
    def is_gpu(self) -> bool:
        """Whether it is the memory of cards."""
        return self.cards > 0


@dataclass
class Plan:
    """The environment, the default of `num_gpu`, an account of the memory, and the reasons."""

    environment: dict[str, str]
    layers: int | None
    memory: dict[str, object]
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "environment": self.environment,
            "num_gpu": self.layers,
            "memory": self.memory,
            "reasons": self.reasons,
            "remarks": self.warnings,
        }


@dataclass(frozen=True)
class Numbers:
    """What is planned together. context: None leaves it to the server."""

    loaded: int
    parallel: int
    context: int


def plan(host: Host, models: Sequence[Model], wanted: Mapping[str, object]) -> Plan:
    """Plan a host's environment. The operator's own values win. Raises OllamaError for values that are none."""
    _refuse(models)
    chosen = settings(wanted, host.vendor, host.gpus)
    environment = chosen.environment
    for name in (LOADED, PARALLEL, CONTEXT):
        if environment.get(name) == "0":  # the server's way to say «as you like»
            del environment[name]
    pool = _pool(host, environment)
    result = Plan(environment, chosen.layers, {}, chosen.reasons, chosen.warnings)
    sizer = Sizer(pool, models, environment.get("OLLAMA_KV_CACHE_TYPE", ""), chosen.layers)
    wish = _rules(host, pool, environment, sizer)
    fixed = {name for name in (LOADED, PARALLEL, CONTEXT) if name in environment}
    numbers = _bounded(sizer, wish, fixed)
    _tell_rules(result, host, environment, wish, numbers)
    environment.setdefault(LOADED, str(numbers.loaded))
    environment.setdefault(PARALLEL, str(numbers.parallel))
    environment.setdefault(MAX_QUEUE, str(QUEUE))
    if CONTEXT not in fixed and numbers.context != wish.context:
        environment[CONTEXT] = str(numbers.context)
    _tell_memory(result, sizer, wish, numbers)
    _tell_models(result, models, environment)
    result.memory = sizer.account(numbers)
    return result


def _refuse(models: Sequence[Model]) -> None:
    seen: dict[str, str] = {}
    for model in models:
        if model.context is not None and model.context < 0:
            raise OllamaError(f"{model.name}: expected num_ctx as a number of tokens, found {model.context}")
        name = full_name(model.name)
        if name in seen:
            raise OllamaError(f"expected every model once, found {seen[name]} and {model.name}, which are the same")
        seen[name] = model.name


class Sizer:
    """What the declared models need of the pool."""

    def __init__(self, pool: Pool, models: Sequence[Model], cache_type: str, layers: int | None) -> None:
        self.pool = pool
        self.known = [model for model in models if model.shape]
        self.unknown = [model for model in models if not model.shape]
        self._cache_type = cache_type
        self._layers = layers
        cache_type_bytes(cache_type)

    def context_of(self, model: Model, context: int) -> int:
        """The model's own context, else the host's, at most what it was trained with."""
        trained = model.shape.context if model.shape else 0
        return min(model.context or context, trained or context)

    def parallel_of(self, model: Model, parallel: int) -> int:
        """How many requests the server really serves at once."""
        shape = model.shape
        single = shape is not None and (shape.embedding_only or shape.architecture in SINGLE_REQUEST)
        return 1 if single else parallel

    def cache_bytes_per_token(self, model: Model, context: int) -> float:
        """KV bytes of one token, on average over the model's context: where windows are, less the longer it is."""
        tokens = max(1, self.context_of(model, context))
        return model.shape.cache_bytes(tokens, self._cache_type) / tokens if model.shape else 0.0

    def gpu_share(self, model: Model) -> float:
        """The part of the layers that `num_gpu` sends to the pool; everything without it."""
        layers = model.layers if model.layers is not None else self._layers
        if not self.pool.is_gpu or layers is None or layers < 0 or not model.shape:
            return 1.0
        return min(1.0, layers / (model.shape.layers + 1))  # the output layer counts as one

    def need_bytes(self, model: Model, parallel: int, context: int) -> int:
        """Weights, KV cache and room for computing, in the pool."""
        if not model.shape:
            return 0
        request_bytes = model.shape.cache_bytes(self.context_of(model, context), self._cache_type)
        sized = model.shape.weights_bytes + self.parallel_of(model, parallel) * request_bytes
        return int(sized * self.gpu_share(model)) + model.companion_bytes + ROOM_PER_MODEL_BYTES

    def expected_bytes(self, model: Model, parallel: int, context: int) -> int:
        """What the server expects a model to need before it loads it beside another: windows are not counted."""
        shape = model.shape.without_windows() if model.shape else None
        return self.need_bytes(replace(model, shape=shape), parallel, context)

    def fits(self, numbers: Numbers) -> bool:
        """Whether the largest declared models fit beside each other, by the server's own rule."""
        amounts = (numbers.parallel, numbers.context)
        largest = sorted(self.known, key=lambda model: -self.need_bytes(model, *amounts))
        free_bytes = float(self.pool.usable_bytes)
        for position, model in enumerate(largest[: numbers.loaded]):
            need = self.need_bytes(model, *amounts)
            if need > free_bytes:
                return False
            if position and self.expected_bytes(model, *amounts) > free_bytes * FURTHER_MODEL_SHARE:
                return False
            free_bytes -= need
        return True

    def longest_context(self, model: Model, numbers: Numbers) -> int:
        """The most tokens, in steps of 256, at which the model lets everything fit; 0 where none would do."""
        others = [other for other in self.known if other is not model]
        for tokens in range(self.context_of(model, numbers.context) // 256 * 256, 511, -256):
            shortened = [*others, replace(model, context=tokens)]
            if Sizer(self.pool, shortened, self._cache_type, self._layers).fits(numbers):
                return tokens
        return 0

    def account(self, numbers: Numbers) -> dict[str, object]:
        """The bytes, by model."""
        return {
            "pool": self.pool.name,
            "total_bytes": self.pool.total_bytes,
            "usable_bytes": self.pool.usable_bytes,
            "fits": self.fits(numbers) if self.known else None,
            "models": [
                {
                    "name": model.name,
                    "weights_bytes": model.shape.weights_bytes if model.shape else None,
                    "kv_cache_bytes_per_token": (
                        self.cache_bytes_per_token(model, numbers.context) if model.shape else None
                    ),
                    "context": self.context_of(model, numbers.context),
                    "parallel": self.parallel_of(model, numbers.parallel),
                    "need_bytes": self.need_bytes(model, numbers.parallel, numbers.context) if model.shape else None,
                    "exact": model.shape.exact if model.shape else None,
                }
                for model in [*self.known, *self.unknown]
            ],
        }


def _pool(host: Host, environment: Mapping[str, str]) -> Pool:
    seen = [gpu for gpu in visible(host.gpus, environment) if gpu.memory_total_bytes]
    if not seen:
        usable = int(host.memory_total_bytes * RAM_SHARE)
        return Pool("the host's RAM", host.memory_total_bytes, usable)
    target = environment.get("LLAMA_ARG_FIT_TARGET", "")
    kept_bytes = max(LEAST_FREE_BYTES, int(environment.get("OLLAMA_GPU_OVERHEAD", "0")))
    kept_bytes = int(target) * MIB if target.isdigit() else kept_bytes
    sizes = [gpu.memory_total_bytes or 0 for gpu in seen]
    name = seen[0].name if len(seen) == 1 else f"{len(seen)} × {seen[0].name}"
    return Pool(name, sum(sizes), sum(max(0, size - kept_bytes) for size in sizes), len(sizes))


def _rules(host: Host, pool: Pool, environment: Mapping[str, str], sizer: Sizer) -> Numbers:
    loaded = int(environment.get(LOADED, max(1, host.memory_total_bytes // RAM_PER_MODEL_BYTES)))
    parallel = int(environment.get(PARALLEL, max(1, host.cpu_count // CORES_PER_REQUEST)))
    overhead_bytes = int(environment.get("OLLAMA_GPU_OVERHEAD", "0"))
    # The server subtracts it from each card as an unsigned number: more than there is leaves the largest context.
    total_bytes = (pool.total_bytes - overhead_bytes * pool.cards) % 2**64 if pool.is_gpu else 0
    automatic = next(context for least, context in CONTEXT_CLASSES if total_bytes >= least)
    return Numbers(loaded, parallel, int(environment.get(CONTEXT, automatic)))


def _bounded(sizer: Sizer, wish: Numbers, fixed: set[str]) -> Numbers:
    """Shorten the context first, then the parallel requests, then the loaded models, until everything fits.

    A request that waits costs less than a model that is loaded anew, so models go last.
    """
    if sizer.fits(wish):
        return wish
    contexts = [wish.context]
    while CONTEXT not in fixed and contexts[-1] // 2 >= LEAST_CONTEXT:
        contexts.append(contexts[-1] // 2)
    for context in contexts:
        if sizer.fits(Numbers(wish.loaded, wish.parallel, context)):
            return Numbers(wish.loaded, wish.parallel, context)
    loaded_choices = [wish.loaded] if LOADED in fixed else range(wish.loaded, 0, -1)
    parallel_choices = [wish.parallel] if PARALLEL in fixed else range(wish.parallel, 0, -1)
    for loaded in loaded_choices:
        for parallel in parallel_choices:
            if sizer.fits(Numbers(loaded, parallel, contexts[-1])):
                return Numbers(loaded, parallel, contexts[-1])
    return Numbers(loaded_choices[-1], parallel_choices[-1], contexts[-1])


def _tell_rules(result: Plan, host: Host, environment: Mapping[str, str], wish: Numbers, numbers: Numbers) -> None:
    ram = f"{host.memory_total_bytes / GB:.0f} GB of RAM"
    if LOADED not in environment:
        bound = "" if numbers.loaded == wish.loaded else f", {wish.loaded} by that rule, bounded by memory"
        result.reasons.append(f"{LOADED}={numbers.loaded}: one per 64 GB, of {ram}{bound}")
    if PARALLEL not in environment:
        bound = "" if numbers.parallel == wish.parallel else f", {wish.parallel} by that rule, bounded by memory"
        result.reasons.append(f"{PARALLEL}={numbers.parallel}: one per 4 cores, of {host.cpu_count}{bound}")
    if MAX_QUEUE not in environment:
        result.reasons.append(f"{MAX_QUEUE}={QUEUE}: requests beyond it get status 503")
    for name in (LOADED, PARALLEL, MAX_QUEUE, CONTEXT):
        if name in environment:
            result.reasons.append(f"{name}={environment[name]}: set by the operator")


def _tell_memory(result: Plan, sizer: Sizer, wish: Numbers, numbers: Numbers) -> None:
    pool = sizer.pool
    if sizer.unknown:
        names = ", ".join(model.name for model in sizer.unknown)
        result.reasons.append(f"{names}: not on the host yet, so its memory is not counted")
    if not sizer.known:
        return
    needs = {model.name: sizer.need_bytes(model, numbers.parallel, numbers.context) for model in sizer.known}
    counted = min(numbers.loaded, len(needs))
    largest = sorted(needs, key=lambda name: -needs[name])[:counted]
    need = f"{_gib(sum(needs[name] for name in largest))} for {', '.join(largest)}"
    room = f"{_gib(pool.usable_bytes)} usable of {_gib(pool.total_bytes)} ({pool.name})"
    if numbers.context != wish.context:
        result.reasons.append(
            f"{CONTEXT}={numbers.context}: with {wish.context}, which the server would take by itself, "
            f"the models would not fit into {room}"
        )
    if sizer.fits(numbers):
        result.reasons.append(f"memory: {need} at {numbers.parallel} parallel requests fits into {room}")
        return
    spill = "layers would go to the CPU" if pool.is_gpu else "the host would run out of memory"
    result.warnings.append(
        f"does not fit: {need} at {numbers.parallel} parallel requests, with {room}; {spill} or models would take "
        f"turns. {_remedy(sizer, numbers)}"
    )


def _remedy(sizer: Sizer, numbers: Numbers) -> str:
    worst = max(sizer.known, key=lambda model: sizer.need_bytes(model, numbers.parallel, numbers.context))
    tokens = sizer.longest_context(worst, numbers)
    if tokens:
        smaller = f"OLLAMA_KV_CACHE_TYPE=q8_0, or a smaller {PARALLEL}"
        return f"What would fit: a context of {tokens} for {worst.name}, or {smaller}."
    return f"What would fit: a smaller quantization of {worst.name}, or more memory."


def _tell_models(result: Plan, models: Sequence[Model], environment: Mapping[str, str]) -> None:
    for model in models:
        if not model.shape:
            continue
        if model.shape.architecture in SINGLE_REQUEST and environment[PARALLEL] != "1":
            result.reasons.append(
                f"{model.name}: the server serves {model.shape.architecture} one request at a time, "
                f"whatever {PARALLEL} says"
            )
        if model.context and model.shape.context and model.context > model.shape.context:
            result.warnings.append(
                f"{model.name}: num_ctx {model.context} is more than the {model.shape.context} tokens of its training"
            )
        if model.shape.window_elements:
            result.reasons.append(
                f"{model.name}: layers with a sliding window of {model.shape.window} keep at most "
                f"{model.shape.window_cells} tokens of each request, the others its whole context"
            )
        if not model.shape.exact:
            result.reasons.append(
                f"{model.name}: some layers keep a sliding window only, and which is not known, "
                "so less than planned is used"
            )
    cache_type, flash = environment.get("OLLAMA_KV_CACHE_TYPE", ""), environment.get("OLLAMA_FLASH_ATTENTION")
    if cache_type.lower().startswith(("q", "iq")) and flash and not switch(flash):
        result.warnings.append(f"OLLAMA_KV_CACHE_TYPE={cache_type} needs OLLAMA_FLASH_ATTENTION, which is off")


def _gib(value_bytes: float) -> str:
    return f"{value_bytes / GIB:.1f} GiB"

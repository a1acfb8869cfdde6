"""Plans for a host that serves from its CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import cpu
from .decide import Notes, choose_batch, choose_dtype, length_limit, longest_context, served_shape
from .engine_config import cpu_environment, engine_args
from .errors import SizingError
from .estimate import Estimate, Setup, estimate
from .kv_cache import bytes_for_requests
from .parallelism import tensor_parallel_problem
from .plans import Host, ModelFiles, Plan
from .profiles import profile
from .units import GIB, gib
from .wishes import Wish

# A CPU fills a batch slowly; a larger one only lengthens the steps (and is vLLM's default per rank).
MOST_BATCHED_TOKENS = 2048


def plan_cpu(wishes: Sequence[Wish], models: Sequence[ModelFiles], host: Host) -> list[Plan]:
    """Plans in the order of the wishes. Raises SizingError when one cannot be served."""
    notes = [Notes(warnings=list(wish.warnings)) for wish in wishes]
    setups = [_setup(wish, files, host, note) for wish, files, note in zip(wishes, models, notes)]
    demands = [_demand(setup) for setup in setups]
    wished = [wish.integer("cpu_kv_cache_gib") or _from_environment(wish) for wish in wishes]
    spaces = cpu.cache_space_gib(host.memory_total_bytes, host.reserved_bytes, demands, wished, host.numa_nodes)
    return [
        _finish(
            _Instance(wish, setup, note, fixed, space, wished[index], index, len(wishes)),
            host,
        )
        for index, (wish, setup, note, (fixed, dummy), space) in enumerate(zip(wishes, setups, notes, demands, spaces))
    ]


@dataclass(frozen=True)
class _Instance:
    """One instance with its share of the RAM.

    fixed_bytes: weights, activations and processes. wished_gib: the operator's own cache size.
    """

    wish: Wish
    setup: Setup
    notes: Notes
    fixed_bytes: int
    space_gib: int
    wished_gib: int | None
    index: int
    instances: int


def _from_environment(wish: Wish) -> int | None:
    value = wish.environment.get("VLLM_CPU_KVCACHE_SPACE")
    return int(value) if value and value.isdigit() and int(value) > 0 else None


def _setup(wish: Wish, files: ModelFiles, host: Host, notes: Notes) -> Setup:
    shape = served_shape(wish, files.shape)
    tensor_parallel = wish.integer("tensor_parallel_size") or 1
    pipeline_parallel = wish.integer("pipeline_parallel_size") or 1
    nodes = wish.integer("nodes") or 1
    problem = tensor_parallel_problem(shape, tensor_parallel)
    if problem:
        raise SizingError(
            f"{wish.name}: tensor_parallel_size {tensor_parallel} does not work: {problem}",
            remedy="leave tensor_parallel_size out",
        )
    dtype = choose_dtype(wish, shape, None, notes)
    kv_cache_dtype = wish.text("kv_cache_dtype") or "auto"
    ranks_here = -(-tensor_parallel * pipeline_parallel // nodes)
    binds = "VLLM_CPU_OMP_THREADS_BIND" in wish.environment
    cpu.check_ranks(ranks_here, host.numa_nodes, binds_threads_itself=binds)
    needed = cpu.check_formats(shape, dtype, kv_cache_dtype, host.version)
    if needed:
        notes.warn(needed)
    sequences, tokens = choose_batch(wish, profile(wish.profile), shape, notes, MOST_BATCHED_TOKENS)
    for key in ("gpu_memory_utilization", "gpus", "gpu_indices"):
        if wish.values.get(key) is not None:
            notes.warn(f"{key} has no effect on a CPU host.")
    return Setup(
        shape=shape,
        checkpoint=files.checkpoint,
        total_bytes=host.memory_total_bytes,
        utilization=1.0,
        dtype=dtype,
        kv_cache_dtype=kv_cache_dtype,
        max_model_len=length_limit(wish, shape),
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
        version=host.version,
        tensor_parallel_size=tensor_parallel,
        pipeline_parallel_size=pipeline_parallel,
        is_cpu=True,
        block_size=cpu.block_size(shape, wish.integer("block_size")),
    )


def _demand(setup: Setup) -> tuple[int, int]:
    """Bytes beside the cache, and the cache that max_num_seqs requests of full length would fill."""
    found = estimate(setup)
    account = found.account
    fixed = account.weights_bytes + account.activation_bytes + account.non_torch_bytes
    return fixed, bytes_for_requests(found.layout, setup.max_num_seqs)


def _finish(instance: _Instance, host: Host) -> Plan:
    wish, notes, space_gib = instance.wish, instance.notes, instance.space_gib
    setup = _with_length(instance)
    found = estimate(setup)
    if found.expected.concurrency < 1:
        raise _too_small(instance, setup, found)
    _explain_cache(instance, found, host)
    unsafe = tuple(f"estimate unsafe: {note}." for note in setup.shape.unsafe)
    replicas = wish.integer("data_parallel_size") or 1
    return Plan(
        wish=wish,
        device="cpu",
        gpu_indices=(),
        setup=setup,
        estimate=found,
        data_parallel_size=replicas,
        engine_args=engine_args(wish, setup, replicas, is_cpu=True),
        environment=cpu_environment(wish, space_gib, _threads(instance, host)),
        confidence="low" if setup.shape.unsafe else "normal",
        reasons=tuple(notes.reasons),
        warnings=(*notes.warnings, *unsafe),
    )


def _with_length(instance: _Instance) -> Setup:
    """The operator's length, or the longest of which the profile's number of requests, or one, fits."""
    wish, notes = instance.wish, instance.notes
    setup = replace(instance.setup, kv_cache_memory_bytes=instance.space_gib * GIB)
    limit = setup.max_model_len
    if wish.integer("max_model_len") is not None:
        notes.because(f"max_model_len {limit}: set by the operator.")
        return setup
    wanted = wish.number("concurrency") or profile(wish.profile).concurrency
    for concurrency in (wanted, 1.0):
        length = longest_context(setup, instance.space_gib * GIB, concurrency, limit)
        if length:
            break
    if length >= limit:
        notes.because(f"max_model_len {limit}: all that the model allows.")
    else:
        notes.because(f"max_model_len {length}: the longest of which {concurrency:g} requests fit.")
    return replace(setup, max_model_len=max(1, length))


def _too_small(instance: _Instance, setup: Setup, found: Estimate) -> SizingError:
    per_request = bytes_for_requests(found.layout, 1)
    length = longest_context(setup, instance.space_gib * GIB, 1.0, setup.max_model_len)
    remedy = f"set max_model_len: {length} or less"
    origin = "what the RAM leaves"
    if instance.wished_gib:
        origin = "set by the operator"
        remedy += f", or cpu_kv_cache_gib: {-(-per_request // GIB)}"
    return SizingError(
        f"{instance.wish.name}: a KV cache of {instance.space_gib} GiB does not hold one request of "
        f"{setup.max_model_len} tokens",
        expected=f"{gib(per_request)} of KV cache",
        found=f"{instance.space_gib} GiB ({origin})",
        remedy=remedy,
    )


def _explain_cache(instance: _Instance, found: Estimate, host: Host) -> None:
    wish, notes, space_gib = instance.wish, instance.notes, instance.space_gib
    needed = instance.fixed_bytes + space_gib * GIB
    if instance.wished_gib:
        notes.because(f"KV cache {space_gib} GiB: set by the operator.")
        if needed + host.reserved_bytes > host.memory_total_bytes:
            notes.warn(
                f"KV cache, weights and processes need {gib(needed)}; the host has {gib(host.memory_total_bytes)}."
            )
    else:
        notes.because(
            f"KV cache {space_gib} GiB: enough for {found.expected.concurrency:.1f} requests of full length; "
            f"weights and processes take {gib(instance.fixed_bytes)} of {gib(host.memory_total_bytes)}."
        )
    available = host.memory_available_bytes
    starts_now = host.running is not None and wish.name not in host.running
    if available is not None and starts_now and needed > available:
        notes.warn(f"Starting needs about {gib(needed)}; only {gib(available)} of the RAM is available now.")


def _threads(instance: _Instance, host: Host) -> str:
    """VLLM_CPU_OMP_THREADS_BIND: alone, `auto` takes the cores of one NUMA node; several instances would
    all be bound to the same ones, so each gets cores of its own where there are two or more for each."""
    share = host.cpu_count // instance.instances
    if instance.instances == 1 or share < 2:
        return "auto"
    cores = f"{instance.index * share}-{(instance.index + 1) * share - 1}"
    instance.notes.because(f"cores {cores}: {instance.instances} instances share {host.cpu_count}.")
    return cores

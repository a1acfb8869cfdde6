"""One instance, fully decided: where its memory goes and how many tokens its cache holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .kv_cache import CacheCapacity, CacheLayout, capacity, layout
from .overheads import AHEAD_OF_TIME_COMPILATION, Load, Overheads, cpu_overheads, overheads
from .parallelism import stage_layers, stage_ranges
from .safetensors import CheckpointSize
from .shape import ModelShape
from .units import GIB
from .version import EngineVersion
from .weights import Weights, stage_weights

GPU_BLOCK = 16


@dataclass(frozen=True)
class Setup:
    """Everything that an instance's memory depends on.

    total_bytes: of the smallest device used, as CUDA reports it. kv_cache_memory_bytes: fixes the cache
    directly; utilization is then of no effect. measured_overhead_bytes: activation, graphs and non-torch
    memory read from an earlier start, instead of the predicted ones.
    """

    shape: ModelShape
    checkpoint: CheckpointSize | None
    total_bytes: int
    utilization: float
    dtype: str
    kv_cache_dtype: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    version: EngineVersion
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    enforce_eager: bool = False
    capability: tuple[int, int] | None = None
    is_unified: bool = False
    is_linked: bool = True
    block_size: int = GPU_BLOCK
    kv_cache_memory_bytes: int | None = None
    context_parallel_size: int = 1
    measured_overhead_bytes: int | None = None
    measured_weights_bytes: int | None = None
    is_cpu: bool = False


@dataclass(frozen=True)
class Account:
    """Bytes per rank, of the stage with the least room."""

    total_bytes: int
    budget_bytes: int
    weights_bytes: int
    activation_bytes: int
    cuda_graphs_bytes: int
    non_torch_bytes: int
    kv_expected_bytes: int
    kv_floor_bytes: int

    @property
    def free_bytes(self) -> int:
        """What the engine leaves of the device."""
        return self.total_bytes - self.budget_bytes


@dataclass(frozen=True)
class Estimate:
    """The account, what fits into its cache, and how sure that is."""

    account: Account
    expected: CacheCapacity
    floor: CacheCapacity
    layout: CacheLayout
    weights: Weights
    is_safe: bool


def stage_layout(setup: Setup, owned: range) -> CacheLayout:
    """The cache layout of one stage's ranks."""
    return layout(
        setup.shape,
        tensor_parallel_size=setup.tensor_parallel_size,
        kv_cache_dtype=setup.kv_cache_dtype,
        dtype=setup.dtype,
        max_model_len=setup.max_model_len,
        max_in_flight_tokens=_in_flight_tokens(setup),
        block_size=setup.block_size,
        version=setup.version,
        # The CPU engine resets them for its accelerated kernels (CpuPlatform).
        state_dtype="float32" if setup.is_cpu else None,
        owned=owned,
    )


def _in_flight_tokens(setup: Setup) -> int:
    """Tokens that are scheduled and not yet settled: a window's blocks are freed only afterwards.

    With asynchronous scheduling, on GPUs since 0.27, two steps overlap; with pipeline stages as many as there
    are stages (VllmConfig.max_in_flight_tokens).
    """
    overlapping = 1 if setup.is_cpu or setup.version < EngineVersion(0, 27) else 2
    return setup.max_num_batched_tokens * max(overlapping, setup.pipeline_parallel_size)


# How far the parts of a prediction may be off. Their sources: docs/sizing.md.
MARGIN_OF_BUDGET = 0.01
MARGIN_OF_OVERHEADS = 0.10
MARGIN_OF_INEXACT_WEIGHTS = 0.05
# Published weights of one MXFP4 model are up to 16 % above the padding that is counted.
MARGIN_OF_PADDED_WEIGHTS = 0.15
# A cold compilation also leaves memory behind outside of PyTorch: 0.64 GiB in a published measurement.
MARGIN_OF_COMPILATION_BYTES = int(0.6 * GIB)
# A vision tower's peak depends on image sizes and on whether the card has fused attention for it.
MARGIN_OF_VISION = 0.05


def margin_bytes(setup: Setup, needs: Overheads, weight: Weights) -> int:
    """How much less than expected the cache may turn out; twice that for models and memory that are not
    well understood."""
    budget = setup.utilization * setup.total_bytes
    margin = MARGIN_OF_BUDGET * budget + MARGIN_OF_OVERHEADS * needs.total_bytes
    if setup.version >= AHEAD_OF_TIME_COMPILATION and not setup.enforce_eager:
        margin += MARGIN_OF_COMPILATION_BYTES
    if not weight.exact:
        margin += weight.rank_bytes * (MARGIN_OF_PADDED_WEIGHTS if weight.is_padded else MARGIN_OF_INEXACT_WEIGHTS)
    if setup.shape.vision is not None:
        margin += MARGIN_OF_VISION * budget
    return int(margin * (2 if setup.shape.unsafe or setup.is_unified else 1))


def estimate(setup: Setup) -> Estimate:
    """Predict memory and capacity of the stage with the least room, which bounds all of them.

    Negative cache bytes mean that the engine will not start.
    """
    stages = stage_layers(setup.shape, setup.pipeline_parallel_size)
    per_stage = stage_weights(setup.shape, stages, setup.tensor_parallel_size, setup.checkpoint, setup.dtype)
    candidates = [
        _stage(setup, owned, weight, (index == 0, index == len(stages) - 1))
        for index, (owned, weight) in enumerate(zip(stage_ranges(setup.shape, len(stages)), per_stage))
    ]
    return min(candidates, key=lambda candidate: candidate.account.kv_expected_bytes / candidate.layout.block_bytes)


def _needs(setup: Setup, is_first: bool, is_last: bool) -> Overheads:
    load = Load(
        version=setup.version,
        batched_tokens=setup.max_num_batched_tokens,
        sequences=setup.max_num_seqs,
        dtype=setup.dtype,
        tensor_parallel_size=setup.tensor_parallel_size,
        enforce_eager=setup.enforce_eager,
        capability=setup.capability,
        is_unified=setup.is_unified,
        is_linked=setup.is_linked,
        is_first_stage=is_first,
        is_last_stage=is_last,
    )
    if setup.is_cpu:
        return cpu_overheads(setup.shape, load)
    if setup.measured_overhead_bytes is not None:
        return Overheads(setup.measured_overhead_bytes, 0, 0)
    return overheads(setup.shape, load)


def _stage(setup: Setup, owned: range, weight: Weights, ends: tuple[bool, bool]) -> Estimate:
    if setup.measured_weights_bytes is not None:
        weight = replace(weight, rank_bytes=setup.measured_weights_bytes, exact=True)
    needs = _needs(setup, *ends)
    budget = int(setup.utilization * setup.total_bytes)
    expected = budget - weight.rank_bytes - needs.total_bytes
    floor = expected - margin_bytes(setup, needs, weight)
    if setup.kv_cache_memory_bytes is not None:
        expected = floor = setup.kv_cache_memory_bytes
        budget = weight.rank_bytes + needs.total_bytes + expected
    cache = stage_layout(setup, owned)
    account = Account(
        total_bytes=setup.total_bytes,
        budget_bytes=budget,
        weights_bytes=weight.rank_bytes,
        activation_bytes=needs.activation_bytes,
        cuda_graphs_bytes=needs.cuda_graphs_bytes,
        non_torch_bytes=needs.non_torch_bytes,
        kv_expected_bytes=expected,
        kv_floor_bytes=floor,
    )

    def fits(size: int) -> CacheCapacity:
        return capacity(size, cache, setup.max_model_len, setup.version, setup.context_parallel_size)

    is_safe = not setup.shape.unsafe and weight.exact and not setup.is_unified
    return Estimate(account, fits(expected), fits(floor), cache, weight, is_safe)

"""vLLM's CPU engine: its cache comes from RAM, its token count is exact, and it refuses some settings."""

from __future__ import annotations

from .errors import SizingError
from .shape import ModelShape
from .units import GIB, gib
from .version import EngineVersion

# Blocks of 128 tokens unless told otherwise; latent attention needs 16 (vLLM CpuPlatform).
DEFAULT_BLOCK = 128
MLA_BLOCK = 16
DTYPES = ("bfloat16", "float16", "float32")
# CpuAttentionBackend reads 8-bit caches since pull request 39445, by AVX-512 or AMX only.
FP8_DTYPES = ("fp8", "fp8_e4m3", "fp8_e5m2")
FP8_SINCE = EngineVersion(0, 21)
# Memory of a host that is left to everything else.
HOST_RESERVE_BYTES = 1 * GIB


def block_size(shape: ModelShape, wished: int | None) -> int:
    """Tokens per block. Raises SizingError for a size that the CPU's attention refuses."""
    if shape.is_mla:
        return MLA_BLOCK
    if wished is None:
        return DEFAULT_BLOCK
    if wished % 32:
        raise SizingError(
            f"block_size {wished} is refused by vLLM's CPU engine",
            expected="a multiple of 32 (128 is its default)",
            found=str(wished),
            remedy="leave block_size out, or set it to 128",
        )
    return wished


def check_ranks(ranks_on_this_host: int, numa_nodes: int, *, binds_threads_itself: bool) -> None:
    """Refuse ranks that cannot be bound. Raises SizingError.

    Left to itself, the engine binds each rank to a NUMA node of its own; an operator's VLLM_CPU_OMP_THREADS_BIND
    (`nobind`, or a list of cores per rank) lets several ranks share one.
    """
    if ranks_on_this_host > max(1, numa_nodes) and not binds_threads_itself:
        raise SizingError(
            f"{ranks_on_this_host} ranks on one CPU host need as many NUMA nodes",
            expected=f"at least {ranks_on_this_host} NUMA nodes",
            found=str(numa_nodes),
            remedy=f"set tensor_parallel_size: 1, or spread the ranks over hosts with nodes: {ranks_on_this_host}, or "
            "set VLLM_CPU_OMP_THREADS_BIND: nobind in environment",
        )


def check_formats(shape: ModelShape, dtype: str, kv_cache_dtype: str, version: EngineVersion) -> str | None:
    """Refuse number formats that the CPU engine refuses; return what else they need. Raises SizingError."""
    if dtype not in DTYPES:
        raise SizingError(
            f"dtype {dtype} is refused by vLLM's CPU engine",
            expected=" | ".join(DTYPES),
            found=dtype,
            remedy="set dtype: bfloat16",
        )
    if kv_cache_dtype in ("auto", *DTYPES):
        return None
    if kv_cache_dtype not in FP8_DTYPES or version < FP8_SINCE or shape.is_mla or shape.head_dim % 32:
        raise SizingError(
            f"kv_cache_dtype {kv_cache_dtype} is refused by vLLM's CPU engine",
            expected=f"auto (the model's dtype), or {' | '.join(FP8_DTYPES)} since vLLM {FP8_SINCE} "
            "for attention heads of a multiple of 32",
            found=f"{kv_cache_dtype}, vLLM {version}, heads of {shape.head_dim}",
            remedy="leave kv_cache_dtype out",
        )
    return f"kv_cache_dtype {kv_cache_dtype} needs a processor with AVX-512 or AMX."


def cache_space_gib(
    memory_total_bytes: int,
    reserved_bytes: int,
    demands: list[tuple[int, int]],
    wished: list[int | None],
    numa_nodes: int = 1,
) -> list[int]:
    """VLLM_CPU_KVCACHE_SPACE of each instance, in whole GiB, as the variable takes it.

    demands: per instance what it needs beside the cache, and how much cache would be useful at most.
    What is left of the host's total RAM is shared evenly; nobody gets more than is of use, nor more than the
    memory of one NUMA node, to which the engine binds a rank. Total and not
    available memory is the base, so that a second run plans the same while the engines are running.
    Raises SizingError when not even 1 GiB each is left.
    """
    left = memory_total_bytes - reserved_bytes - HOST_RESERVE_BYTES - sum(fixed for fixed, dummy in demands)
    left -= sum((space or 0) * GIB for space in wished)
    spaces: dict[int, int] = {index: space for index, space in enumerate(wished) if space is not None}
    open_indices = sorted(
        (index for index, space in enumerate(wished) if space is None), key=lambda index: demands[index][1]
    )
    for position, index in enumerate(open_indices):
        share = left // (len(open_indices) - position) // GIB
        fixed, useful = demands[index]
        of_node = (memory_total_bytes // max(1, numa_nodes) - HOST_RESERVE_BYTES - fixed) // GIB
        space = min(share, of_node, max(1, -(-useful // GIB)))
        if space < 1:
            needed = sum(fixed for fixed, dummy in demands) + len(open_indices) * GIB + reserved_bytes
            raise SizingError(
                "the host's RAM does not hold these models and a KV cache",
                expected=f"{gib(needed + HOST_RESERVE_BYTES)} at least",
                found=gib(memory_total_bytes),
                remedy="serve fewer or smaller models on this host",
            )
        spaces[index] = space
        left -= space * GIB
    return [spaces[index] for index in range(len(wished))]

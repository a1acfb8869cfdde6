"""The KV cache: bytes per token, blocks, groups, and the token count that the engine prints.

vLLM hands out its cache in blocks. Layers that keep the same thing form a group with a block table of its
own; all groups draw from one pool whose blocks have one size, so smaller pages are padded or hold more
tokens. From that follow both figures of the engine's log line: how many tokens fit, and how many requests of
the full length. The rules below are those of vLLM's kv_cache_interface.py and kv_cache_utils.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .shape import LayerCache, LayerShape, ModelShape
from .units import DTYPE_BYTES, ceil_div, round_up
from .version import EngineVersion

# Since 0.21 the printed token count is concurrency × max_model_len; before, blocks / groups × block size.
TOKENS_FROM_CONCURRENCY = EngineVersion(0, 21)
# Hybrid models: prefix caching (two extra states per request) was on by default in these releases.
HYBRID_PREFIX_CACHING = (EngineVersion(0, 20), EngineVersion(0, 27))
# DeepSeek sparse attention's indexer keeps fp8 keys and a float32 scale per 128 of them.
INDEXER_SCALE_GROUP = 128


@dataclass(frozen=True)
class CacheLayout:
    """How the engine lays one rank's cache out.

    block_bytes: what one block takes over all layers of the rank.
    blocks_per_request: of a request at max_model_len, all groups together.
    groups: number of block tables. tokens_per_block: of the group with the smallest blocks.
    """

    block_bytes: int
    blocks_per_request: int
    groups: int
    tokens_per_block: int
    padding_share: float = 0.0


@dataclass(frozen=True)
class CacheCapacity:
    """What fits: blocks, the token count as the engine prints it, and requests of full length."""

    blocks: int
    tokens: int
    concurrency: float


def cache_element_bytes(kv_cache_dtype: str, model_dtype: str) -> float:
    """Bytes per cached element; `auto` is the model's dtype."""
    name = model_dtype if kv_cache_dtype == "auto" else kv_cache_dtype
    if name.startswith(("turboquant", "int4", "nvfp4")):
        # 8-bit keys and 4-bit values or less: see the engine's log for the exact figure.
        return 0.75 if "k8v4" in name else 0.5
    return DTYPE_BYTES.get(name, 2.0)


def token_bytes(
    shape: ModelShape,
    layers: Sequence[LayerShape],
    tensor_parallel_size: int,
    kv_cache_dtype: str,
    dtype: str,
) -> float:
    """KV bytes per token and rank over the given layers, sliding windows counted as if they grew.

    This is the figure that divides memory into tokens for models whose layers are alike; for the others
    it is an upper bound, and `layout` gives the exact arithmetic.
    """
    element = cache_element_bytes(kv_cache_dtype, dtype)
    per_layer = (_layer_token_bytes(shape, layer.cache, tensor_parallel_size, element) for layer in layers)
    return sum(per_layer)


def _layer_token_bytes(shape: ModelShape, cache: LayerCache, tp: int, element_bytes: float) -> float:
    size = cache.token_bytes(tp, element_bytes)
    if cache.kind == "mla" and shape.mla is not None:
        if element_bytes == 1:
            # fp8_ds_mla: 512 fp8 latents, 4 float32 scales, 64 bfloat16 rope values for sparse models.
            size = 656.0 if shape.mla.index_dim else size
        if shape.mla.index_dim:
            size += shape.mla.index_dim + 4 * shape.mla.index_dim / INDEXER_SCALE_GROUP
    return size


def layout(
    shape: ModelShape,
    layers: Sequence[LayerShape],
    *,
    tensor_parallel_size: int,
    kv_cache_dtype: str,
    dtype: str,
    max_model_len: int,
    max_in_flight_tokens: int,
    block_size: int,
    version: EngineVersion,
) -> CacheLayout:
    """Group the layers of one rank and count blocks, as the engine does.

    Layers alike in what they keep form groups of equal size: the rarest kind's count, or the commonest's
    where they differ by less than half. Hybrid models raise the attention block until its page holds a
    whole state, in steps of 16 tokens.
    """
    element = cache_element_bytes(kv_cache_dtype, dtype)
    state_element = DTYPE_BYTES[dtype]
    caches = Counter(layer.cache for layer in layers if layer.cache.kind != "none")
    if not caches:
        return CacheLayout(1, 1, 1, block_size)
    pages = {
        cache: _layer_token_bytes(shape, cache, tensor_parallel_size, element)
        for cache in caches
        if cache.kind != "state"
    }
    states = [
        cache.state.size_bytes(tensor_parallel_size, state_element)
        for cache in caches
        if cache.kind == "state" and cache.state is not None
    ]
    if states and pages:
        needed = ceil_div(max(states), max(1, int(max(pages.values()))))
        block_size = max(block_size, round_up(needed, 16))
    page_bytes = max([*(int(size * block_size) for size in pages.values()), *([] if pages else states)])
    tokens = {cache: block_size * (page_bytes // int(size * block_size)) for cache, size in pages.items() if size}
    group_layers = _group_size(list(caches.values()))
    groups = blocks_per_request = 0
    for cache, count in caches.items():
        number = ceil_div(count, group_layers)
        groups += number
        blocks_per_request += number * _blocks_per_request(
            cache, tokens.get(cache, 0), max_model_len, max_in_flight_tokens, version
        )
    padded = groups * group_layers / sum(caches.values()) - 1
    return CacheLayout(
        block_bytes=page_bytes * group_layers,
        blocks_per_request=max(1, blocks_per_request),
        groups=groups,
        tokens_per_block=min(tokens.values(), default=max_model_len),
        padding_share=padded,
    )


def _group_size(counts: list[int]) -> int:
    fewest, most = min(counts), max(counts)
    return most if most < 1.5 * fewest else fewest


def _blocks_per_request(
    cache: LayerCache, block_tokens: int, max_model_len: int, max_in_flight_tokens: int, version: EngineVersion
) -> int:
    """Blocks that one request of full length holds in one group."""
    if cache.kind == "state":
        first, last = HYBRID_PREFIX_CACHING
        return 2 if first <= version < last else 1
    if cache.kind == "sliding":
        # The window, what one step adds to it, and one block that both ends share.
        reach = min(cache.window - 1 + max_in_flight_tokens, max_model_len)
        return ceil_div(reach, block_tokens) + 1
    if cache.kind == "chunked":
        return ceil_div(min(cache.window + max_in_flight_tokens, max_model_len), block_tokens)
    return ceil_div(max_model_len, block_tokens)


def capacity(
    kv_bytes: int, cache: CacheLayout, max_model_len: int, version: EngineVersion, context_parallel_size: int = 1
) -> CacheCapacity:
    """What `kv_bytes` on one rank hold.

    A release before 0.21 prints `blocks // groups × block size`; a later one `⌊concurrency ×
    max_model_len⌋`, in floating point, which is repeated here digit for digit.
    """
    blocks = max(0, kv_bytes) // cache.block_bytes
    concurrency = blocks / cache.blocks_per_request
    if version >= TOKENS_FROM_CONCURRENCY:
        tokens = int(concurrency * max_model_len)
    else:
        tokens = blocks // cache.groups * cache.tokens_per_block
    return CacheCapacity(blocks, tokens * context_parallel_size, concurrency * context_parallel_size)


def bytes_for_requests(cache: CacheLayout, requests: float) -> int:
    """KV bytes on one rank that hold this many requests of full length."""
    return int(-(-requests * cache.blocks_per_request // 1)) * cache.block_bytes


def largest_length(
    kv_bytes: int,
    concurrency: float,
    upper: int,
    layout_at: Callable[[int], CacheLayout],
    step: int = 1,
) -> int:
    """The longest max_model_len, a multiple of `step` up to `upper`, of which `concurrency` requests fit.

    Returns 0 when not even `step` tokens fit. `layout_at` maps a length to its layout.
    """

    def fits(length: int) -> bool:
        return bytes_for_requests(layout_at(length), concurrency) <= kv_bytes

    if fits(upper):
        return upper
    low, high = 0, upper // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle)
    return low * step

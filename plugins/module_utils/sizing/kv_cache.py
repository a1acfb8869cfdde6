"""The KV cache: bytes per token, blocks, groups, and the token count that the engine prints.

vLLM hands out its cache in blocks. Layers that keep the same thing form a group with a block table of its
own; all groups draw from one pool whose blocks have one size, so smaller pages are padded or hold more
tokens. From that follow both figures of the engine's log line: how many tokens fit, and how many requests of
the full length. The rules below are those of vLLM's kv_cache_interface.py and kv_cache_utils.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .shape import LayerCache, LayerShape, ModelShape, count_layers
from .units import DTYPE_BYTES, ceil_div, round_up
from .version import EngineVersion

# Since 0.21 the printed token count is concurrency × max_model_len; before, blocks / groups × block size.
TOKENS_FROM_CONCURRENCY = EngineVersion(0, 21)
# Since then hybrid models cache prefixes by default, and a request holds two states per layer instead of one.
HYBRID_PREFIX_CACHING = EngineVersion(0, 29)
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


@dataclass(frozen=True)
class CacheCapacity:
    """What fits: blocks, the token count as the engine prints it, and requests of full length."""

    blocks: int
    tokens: int
    concurrency: float


@dataclass(frozen=True)
class CacheFormat:
    """How keys and values are stored: bits per element, and bytes beside them per head and token.

    plain_layers: how many layers at either end keep the model's own dtype (`plain_bytes` per element).
    """

    key_bits: float
    value_bits: float
    key_extra_bytes: int = 0
    value_extra_bytes: int = 0
    plain_layers: int = 0
    plain_bytes: float = 2.0

    @property
    def element_bytes(self) -> float:
        """Bytes per element where keys and values are stored alike."""
        return self.key_bits / 8


# TurboQuant's presets (turboquant/config.py): keys in 8 bits or in few with a 2-byte norm, values in few bits
# with a 2-byte scale and zero; two layers at either end are left alone.
_TURBOQUANT = {
    "turboquant_k8v4": (8, 4, 0),
    "turboquant_4bit_nc": (4, 4, 2),
    "turboquant_k3v4_nc": (3, 4, 2),
    "turboquant_3bit_nc": (3, 3, 2),
}


def cache_format(kv_cache_dtype: str, dtype: str) -> CacheFormat:
    """The format behind a --kv-cache-dtype; `auto` is the model's dtype."""
    plain = DTYPE_BYTES[dtype]
    if kv_cache_dtype in _TURBOQUANT:
        key_bits, value_bits, key_extra = _TURBOQUANT[kv_cache_dtype]
        return CacheFormat(key_bits, value_bits, key_extra, 4, 2, plain)
    if kv_cache_dtype == "nvfp4":
        # A scale of 8 bits per 16 elements.
        return CacheFormat(4.5, 4.5)
    if kv_cache_dtype == "int8_per_token_head":
        return CacheFormat(8, 8, 4, 4)
    bits = 8 * DTYPE_BYTES.get(dtype if kv_cache_dtype == "auto" else kv_cache_dtype, 2.0)
    return CacheFormat(bits, bits)


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
    stored = cache_format(kv_cache_dtype, dtype)
    pages = _pages(shape, layers, tensor_parallel_size, stored)
    return sum(size * count for size, count in pages.values())


def _layer_token_bytes(shape: ModelShape, cache: LayerCache, tp: int, stored: CacheFormat) -> float:
    """What one token takes in one layer.

    MHA and GQA: `max(1, kv_heads / tp)` heads of a key and a value; heads are replicated once there are more
    ranks (ModelConfig.get_num_kv_heads). MLA: one latent row, the same on every rank.
    """
    if cache.kind != "mla":
        heads = max(1, cache.kv_heads // tp)
        key = cache.head_dim * stored.key_bits / 8 + stored.key_extra_bytes
        value = cache.value_dim * stored.value_bits / 8 + stored.value_extra_bytes
        return heads * (key + value)
    size = cache.head_dim * stored.element_bytes
    if shape.mla is not None and shape.mla.index_dim:
        if stored.element_bytes == 1:
            # fp8_ds_mla: 512 fp8 latents, 4 float32 scales, 64 bfloat16 rope values.
            size = 656.0
        size += shape.mla.index_dim + 4 * shape.mla.index_dim / INDEXER_SCALE_GROUP
    return size


def _pages(
    shape: ModelShape, layers: Sequence[LayerShape], tp: int, stored: CacheFormat
) -> dict[tuple[LayerCache, bool], tuple[float, int]]:
    """Bytes per token, and number of layers, of each kind of attention layer; apart from those layers at
    both ends that a format leaves alone."""
    plain = CacheFormat(8 * stored.plain_bytes, 8 * stored.plain_bytes)
    pages: dict[tuple[LayerCache, bool], tuple[float, int]] = {}
    for at_end, part in _ends(layers, stored.plain_layers):
        for layer, count in count_layers(part):
            key = (layer.cache, at_end)
            size = _layer_token_bytes(shape, layer.cache, tp, plain if at_end else stored)
            pages[key] = (size, pages.get(key, (0.0, 0))[1] + count)
    return pages


def _ends(layers: Sequence[LayerShape], count: int) -> list[tuple[bool, Sequence[LayerShape]]]:
    """The attention layers in between and, apart, `count` of them at either end."""
    attention = [layer for layer in layers if layer.cache.kind not in ("state", "none")]
    if not count:
        return [(False, attention)]
    return [(True, attention[:count]), (False, attention[count:-count]), (True, attention[-count:])]


@dataclass(frozen=True)
class _Kind:
    """Layers that keep the same: what, how many bytes per token (0 for a state), and which layers they are."""

    cache: LayerCache
    at_end: bool
    token_bytes: float
    indices: list[int]


def layout(
    shape: ModelShape,
    *,
    tensor_parallel_size: int,
    kv_cache_dtype: str,
    dtype: str,
    max_model_len: int,
    max_in_flight_tokens: int,
    block_size: int,
    version: EngineVersion,
    state_dtype: str | None = None,
    owned: range | None = None,
) -> CacheLayout:
    """Group the layers of the model and count blocks, as the engine does, for a rank that owns some of them.

    Layers alike in what they keep form groups of equal size: the rarest kind's count, or the commonest's
    where they differ by less than half. Groups span all pipeline stages; a stage stores its own layers of each,
    and a block takes what its fullest group needs there. Hybrid models raise the attention block until its page
    holds a whole state, in steps of the block it had. `state_dtype` is the engine's own choice for recurrent
    states where the model makes none.
    """
    owned = range(len(shape.layers)) if owned is None else owned
    kinds = _kinds(shape, tensor_parallel_size, cache_format(kv_cache_dtype, dtype))
    state_bytes = max(
        (kind.cache.state.size_bytes(tensor_parallel_size, dtype, state_dtype) for kind in kinds if kind.cache.state),
        default=0,
    )
    widest = max((kind.token_bytes for kind in kinds), default=0.0)
    if not kinds:
        return CacheLayout(1, 1, 1, block_size)
    if state_bytes and widest:
        needed = ceil_div(state_bytes, int(widest))
        block_size = max(block_size, round_up(needed, max(16, block_size)))
    if all(kind.cache.kind in ("full", "mla") for kind in kinds):
        # Layers that grow alike share one block table, whatever the size of their pages.
        block_bytes = sum(int(kind.token_bytes * block_size) * _owned(kind.indices, owned) for kind in kinds)
        return CacheLayout(max(1, block_bytes), ceil_div(max_model_len, block_size), 1, block_size)
    page_bytes = int(widest * block_size) or state_bytes
    group_layers = _group_size([len(kind.indices) for kind in kinds])
    groups = blocks_per_request = fullest = 0
    tokens_per_block = max_model_len
    for kind in kinds:
        tokens = block_size * (page_bytes // int(kind.token_bytes * block_size)) if kind.token_bytes else 0
        tokens_per_block = min(tokens_per_block, tokens or max_model_len)
        number = ceil_div(len(kind.indices), group_layers)
        groups += number
        fullest = max(fullest, *(_owned(kind.indices[first::number], owned) for first in range(number)))
        blocks_per_request += number * _blocks_per_request(
            kind.cache, tokens, max_model_len, max_in_flight_tokens, version
        )
    return CacheLayout(max(1, page_bytes * fullest), max(1, blocks_per_request), groups, tokens_per_block)


def _kinds(shape: ModelShape, tp: int, stored: CacheFormat) -> list[_Kind]:
    """The model's layers by what they keep; apart from those at both ends that a format leaves alone."""
    plain = CacheFormat(8 * stored.plain_bytes, 8 * stored.plain_bytes)
    attention = sum(layer.cache.kind not in ("state", "none") for layer in shape.layers)
    kinds: list[_Kind] = []
    # Equal caches need not be one object, but few objects are many layers: comparing each once is enough.
    known: dict[tuple[int, bool], _Kind] = {}
    position = 0
    for index, layer in enumerate(shape.layers):
        cache = layer.cache
        if cache.kind == "none":
            continue
        at_end = False
        if cache.kind != "state":
            at_end = not stored.plain_layers <= position < attention - stored.plain_layers
            position += 1
        key = (id(cache), at_end)
        if key not in known:
            kind = next((kind for kind in kinds if kind.cache == cache and kind.at_end == at_end), None)
            if kind is None:
                size = _layer_token_bytes(shape, cache, tp, plain if at_end else stored)
                kind = _Kind(cache, at_end, 0.0 if cache.kind == "state" else size, [])
                kinds.append(kind)
            known[key] = kind
        known[key].indices.append(index)
    return kinds


def _owned(indices: Sequence[int], owned: range) -> int:
    return sum(index in owned for index in indices)


def _group_size(counts: list[int]) -> int:
    fewest, most = min(counts), max(counts)
    return most if most < 1.5 * fewest else fewest


def _blocks_per_request(
    cache: LayerCache, block_tokens: int, max_model_len: int, max_in_flight_tokens: int, version: EngineVersion
) -> int:
    """Blocks that one request of full length holds in one group."""
    if cache.kind == "state":
        return 2 if version >= HYBRID_PREFIX_CACHING else 1
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

"""What a model's config.json says about its memory: layers, heads, experts, states, towers.

A shape is facts about the model only. How many ranks share it, and in which engine, is decided elsewhere.
The names that configurations use are those of the Hugging Face `transformers` library; which of them an
attention cache depends on follows the model definitions and KV cache specifications of vLLM.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import SizingError
from .quantization import Quantization, read_quantization
from .units import DTYPE_BYTES

Config = Mapping[str, Any]

# Wrappers that multimodal and speculative configurations put around the language model's own fields.
NESTED_TEXT = ("text_config", "language_config", "llm_config", "thinker_config", "text_model_config")
NESTED_VISION = ("vision_config", "vision_tower_config", "visual", "vit_config", "vision_encoder_config")

# Model types whose feed-forward block has an up and a down projection only, without a gate.
UNGATED_MLP = frozenset(
    [
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "gptj",
        "opt",
        "bloom",
        "falcon",
        "mpt",
        "phi",
        "starcoder2",
        "nemotron",
        "nemotron_h",
        "persimmon",
    ]
)
# Model types with attention and a state-space mixer side by side in every layer: counted as two layers, of
# which the mixer has no feed-forward block.
PARALLEL_HYBRIDS = frozenset({"falcon_h1", "hymba"})


@dataclass(frozen=True)
class StateShape:
    """What a linear-attention or state-space layer keeps per sequence, whatever its length.

    Two tensors, both split over tensor-parallel ranks: the tail of the causal convolution (`conv_elements`)
    and the recurrent state (`state_elements`), as in vLLM's MambaStateShapeCalculator.
    """

    conv_elements: int
    state_elements: int
    # None: the model's own dtype.
    state_dtype: str | None = None

    def size_bytes(self, tensor_parallel_size: int, dtype: str, state_dtype: str | None = None) -> int:
        """Bytes per sequence and rank in the model's dtype. Recurrent states have the dtype that the model
        names, else the engine's choice, else the model's."""
        state_bytes = DTYPE_BYTES[self.state_dtype or state_dtype or dtype]
        conv = -(-self.conv_elements // tensor_parallel_size) * DTYPE_BYTES[dtype]
        return int(conv + -(-self.state_elements // tensor_parallel_size) * state_bytes)


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps in the KV cache.

    kind: `full` (every token), `sliding` (the last `window` tokens), `chunked` (the current chunk of
    `window` tokens), `mla` (one latent row per token, the same on every rank), `state` (per sequence only)
    or `none`.
    """

    kind: str
    kv_heads: int = 0
    head_dim: int = 0
    value_dim: int = 0
    window: int = 0
    state: StateShape | None = None


NO_CACHE = LayerCache("none")


@dataclass(frozen=True)
class MlpShape:
    """A layer's feed-forward block; `experts` is 0 for a dense one, sizes are columns."""

    intermediate: int
    experts: int = 0
    shared_intermediate: int = 0
    gated: bool = True


@dataclass(frozen=True)
class MlaShape:
    """Ranks and widths of multi-head latent attention's projections."""

    kv_lora_rank: int
    q_lora_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    # DeepSeek sparse attention's indexer keeps a row of its own per token.
    index_dim: int = 0
    index_heads: int = 0


@dataclass(frozen=True)
class VisionShape:
    """The image tower, as far as its weights and its heads matter."""

    hidden: int
    layers: int
    heads: int
    intermediate: int


@dataclass(frozen=True)
class LayerShape:
    """One decoder layer: what it caches and what it computes with."""

    cache: LayerCache
    mlp: MlpShape | None
    # Query width of the attention in this layer; 0 where there is none.
    query_heads: int = 0
    # Weights of a state-space or linear-attention mixer, in elements.
    mixer_elements: int = 0


@dataclass(frozen=True)
class ModelShape:
    """Everything that sizing needs to know about a model."""

    architecture: str
    model_type: str
    hidden: int
    vocab: int
    query_heads: int
    head_dim: int
    layers: tuple[LayerShape, ...]
    max_position: int
    dtype: str
    tied_embeddings: bool
    quantization: Quantization
    experts: int = 0
    experts_per_token: int = 0
    mla: MlaShape | None = None
    vision: VisionShape | None = None
    draft_layers: int = 0
    # Experts are spread over the ranks as wholes (expert parallelism) and not split.
    whole_experts: bool = False
    # Why the arithmetic may be off for this model; empty when it is well understood.
    unsafe: tuple[str, ...] = ()

    @property
    def is_hybrid(self) -> bool:
        """Whether some layers keep a state instead of keys and values."""
        return any(layer.cache.kind == "state" for layer in self.layers)

    @property
    def is_mla(self) -> bool:
        """Whether it keeps latent rows instead of heads."""
        return self.mla is not None

    @property
    def kv_heads(self) -> int:
        """The largest number of KV heads of any layer; 1 for MLA."""
        if self.is_mla:
            return 1
        return max((layer.cache.kv_heads for layer, dummy in count_layers(self.layers)), default=0)


def _first(config: Config, names: Iterable[str], default: Any = None) -> Any:
    for name in names:
        value = config.get(name)
        if value is not None:
            return value
    return default


def _integer(config: Config, names: Iterable[str], default: int = 0) -> int:
    value = _first(config, names, default)
    # Some configurations give one value per layer; the widest is the safe one.
    if isinstance(value, (list, tuple)):
        value = max((item for item in value if isinstance(item, int)), default=default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return int(value)


def text_config(config: Config) -> Config:
    """The language model's part of a configuration, with what only the outer level says folded in."""
    inner = _first(config, NESTED_TEXT)
    if not isinstance(inner, Mapping):
        return config
    inner = text_config(inner)
    outer = {
        key: config[key]
        for key in (
            "dtype",
            "torch_dtype",
            "tie_word_embeddings",
            "quantization_config",
            "compression_config",
            "architectures",
        )
        if config.get(key) is not None and inner.get(key) is None
    }
    return {**inner, **outer}


def _dtype(config: Config) -> str:
    name = str(_first(config, ("dtype", "torch_dtype"), "bfloat16")).replace("torch.", "")
    return name if name in DTYPE_BYTES else "bfloat16"


def _head_dim(config: Config, hidden: int, heads: int) -> int:
    explicit = _integer(config, ("head_dim", "hidden_size_per_head", "attention_head_dim", "kv_channels"))
    return explicit or (hidden // heads if heads else 0)


def _kv_heads(config: Config, heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    attention = config.get("attn_config")
    if isinstance(attention, Mapping) and attention.get("kv_n_heads"):
        return int(attention["kv_n_heads"])
    return _integer(
        config,
        ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"),
        heads,
    )


def _mla(config: Config) -> MlaShape | None:
    rank = _integer(config, ("kv_lora_rank",))
    if not rank:
        return None
    return MlaShape(
        kv_lora_rank=rank,
        q_lora_rank=_integer(config, ("q_lora_rank",)),
        rope_dim=_integer(config, ("qk_rope_head_dim",), 64),
        nope_dim=_integer(config, ("qk_nope_head_dim",), 128),
        value_dim=_integer(config, ("v_head_dim",), 128),
        index_dim=_integer(config, ("index_head_dim",)),
        index_heads=_integer(config, ("index_n_heads",)),
    )


def _gated_delta_net(config: Config) -> tuple[StateShape, int]:
    """Qwen3-Next's mixer: its state per sequence, and its weights in elements.

    Defaults are those of `transformers`' configuration class.
    """
    key_heads = _integer(config, ("linear_num_key_heads",), 16)
    value_heads = _integer(config, ("linear_num_value_heads",), 32)
    key_dim = _integer(config, ("linear_key_head_dim",), 128)
    value_dim = _integer(config, ("linear_value_head_dim",), 128)
    kernel = _integer(config, ("linear_conv_kernel_dim",), 4)
    hidden = _integer(config, ("hidden_size",))
    channels = 2 * key_heads * key_dim + value_heads * value_dim
    state_dtype = _first(config, ("mamba_ssm_dtype", "mamba_ssm_cache_dtype"))
    if state_dtype is None and str(config.get("model_type", "")).startswith("qwen3_5"):
        state_dtype = "float32"
    state = StateShape((kernel - 1) * channels, value_heads * key_dim * value_dim, state_dtype)
    inputs = channels + value_heads * value_dim + 2 * value_heads
    return state, hidden * inputs + value_heads * value_dim * hidden + channels * kernel


def _mamba(config: Config) -> tuple[StateShape, int]:
    """A Mamba mixer of the second or first generation: state per sequence, weights in elements."""
    hidden = _integer(config, ("hidden_size", "d_model"))
    heads = _integer(config, ("mamba_num_heads", "mamba_n_heads", "n_mamba_heads"))
    head_dim = _integer(config, ("mamba_head_dim", "mamba_d_head", "mamba_headdim"))
    states = _integer(config, ("ssm_state_size", "mamba_d_state", "state_size"), 16)
    kernel = _integer(config, ("conv_kernel", "mamba_d_conv", "conv_kernel_size"), 4)
    expand = _integer(config, ("expand", "mamba_expand"), 2)
    groups = _integer(config, ("n_groups", "mamba_n_groups", "mamba_ngroups"), 1)
    dtype = _first(config, ("mamba_ssm_cache_dtype", "mamba_ssm_dtype"))
    if heads:
        inner = heads * head_dim if head_dim else hidden * expand
        channels = inner + 2 * groups * states
        state = StateShape((kernel - 1) * channels, inner * states, dtype)
        return state, hidden * (inner + channels + heads) + inner * hidden + channels * kernel
    inner = _integer(config, ("intermediate_size", "d_inner"), hidden * expand)
    rank = _integer(config, ("time_step_rank", "mamba_dt_rank"), -(-hidden // 16))
    state = StateShape((kernel - 1) * inner, inner * states, dtype)
    return state, hidden * 2 * inner + inner * (rank + 2 * states) + rank * inner + inner * hidden


def _kimi_delta(config: Config, linear: Config) -> tuple[StateShape, int]:
    """Kimi Delta Attention: three convolutions and one float32 state per head."""
    heads = _integer(linear, ("num_heads",), 32)
    dim = _integer(linear, ("head_dim",), 128)
    kernel = _integer(linear, ("short_conv_kernel_size",), 4)
    hidden = _integer(config, ("hidden_size",))
    inner = heads * dim
    return StateShape((kernel - 1) * 3 * inner, heads * dim * dim, "float32"), hidden * inner * 4 + 4 * hidden * dim


def _short_convolution(config: Config) -> tuple[StateShape, int]:
    """LFM2's gated short convolution keeps only its tail."""
    hidden = _integer(config, ("hidden_size",))
    kernel = _integer(config, ("conv_L_cache",), 3)
    return StateShape((kernel - 1) * hidden, 0), 4 * hidden * hidden


_LAYER_NAMES = {
    "full_attention": "full",
    "attention": "full",
    "global_attention": "full",
    "*": "full",
    "sliding_attention": "sliding",
    "sliding_window": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "gated_delta_net": "linear",
    "mamba": "mamba",
    "mamba2": "mamba",
    "M": "mamba",
    "hybrid": "full+mixer",
    "conv": "conv",
    "moe": "moe",
    "E": "moe",
    "mlp": "mlp",
    "-": "mlp",
}


def _named_kinds(config: Config) -> list[str]:
    """Layer kinds that the configuration lists one by one, in whichever of four notations."""
    named = _first(config, ("layer_types", "layers_block_type"), ())
    if isinstance(named, (list, tuple)) and named:
        kinds = (_LAYER_NAMES.get(str(name), "full") for name in named)
        return [part for kind in kinds for part in kind.split("+")]
    letters = config.get("hybrid_override_pattern")
    if isinstance(letters, str) and letters:
        return [_LAYER_NAMES.get(letter, "full") for letter in letters]
    flags = config.get("hybrid_layer_pattern")
    if isinstance(flags, (list, tuple)) and flags:
        return ["sliding" if flag else "full" for flag in flags]
    return []


def _layer_kinds(config: Config, count: int) -> list[str]:
    """The kind of each decoder layer."""
    kinds = _named_kinds(config)
    if kinds:
        return kinds
    linear = config.get("linear_attn_config")
    if isinstance(linear, Mapping) and linear.get("kda_layers"):
        delta = set(linear["kda_layers"])
        return ["kda" if index + 1 in delta else "full" for index in range(count)]
    if str(config.get("model_type", "")) in PARALLEL_HYBRIDS:
        return ["full", "mixer"] * count
    return _interval_kinds(config, count) or _windowed_kinds(config, count)


def _interval_kinds(config: Config, count: int) -> list[str]:
    """Layer kinds given by a period, or by the indices of the attention layers among state-space ones."""
    interval = _integer(config, ("full_attention_interval",))
    if interval > 1:
        return ["full" if index % interval == interval - 1 else "linear" for index in range(count)]
    period = _integer(config, ("attn_layer_period",))
    if period > 1:
        offset = _integer(config, ("attn_layer_offset",))
        return ["full" if index % period == offset else "mamba" for index in range(count)]
    indices = config.get("attn_layer_indices")
    if isinstance(indices, (list, tuple)) and indices:
        return ["full" if index in set(indices) else "mamba" for index in range(count)]
    return []


def _windowed_kinds(config: Config, count: int) -> list[str]:
    """Layer kinds of models that say by an interval, or by their type alone, which layers see a window."""
    model_type = str(config.get("model_type", ""))
    if config.get("attention_chunk_size") and model_type.startswith("llama4"):
        return ["full" if index % 4 == 3 else "chunked" for index in range(count)]
    window = _integer(config, ("sliding_window", "sliding_window_size"))
    if not window or config.get("use_sliding_window") is False:
        return ["full"] * count
    interval = _integer(config, ("sliding_window_pattern", "_sliding_window_pattern"))
    if not interval:
        interval = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2}.get(model_type, 0)
    if interval > 1:
        return ["full" if index % interval == interval - 1 else "sliding" for index in range(count)]
    if window >= _integer(config, ("max_position_embeddings",), window):
        return ["full"] * count
    return ["sliding"] * count


def _caches(config: Config, kinds: list[str], mla: MlaShape | None) -> list[tuple[LayerCache, int]]:
    """The cache and the mixer weights of each layer."""
    hidden = _integer(config, ("hidden_size", "n_embd", "d_model"))
    heads = _integer(config, ("num_attention_heads", "n_head", "n_heads"))
    head_dim = _head_dim(config, hidden, heads)
    value_dim = _integer(config, ("v_head_dim",), head_dim) if mla is None else head_dim
    kv_heads = _kv_heads(config, heads)
    window = _integer(config, ("sliding_window", "sliding_window_size"))
    chunk = _integer(config, ("attention_chunk_size",), window)
    full = LayerCache("full", kv_heads, head_dim, value_dim)
    global_dim = _integer(config, ("global_head_dim",))
    if global_dim and "sliding" in kinds:
        full = LayerCache("full", _integer(config, ("num_global_key_value_heads",), kv_heads), global_dim, global_dim)
    if mla is not None:
        full = LayerCache("mla", 1, mla.kv_lora_rank + mla.rope_dim)
    sliding = LayerCache(
        "sliding",
        _integer(config, ("swa_num_key_value_heads",), kv_heads),
        _integer(config, ("swa_head_dim",), head_dim),
        _integer(config, ("swa_v_head_dim",), value_dim),
        window,
    )
    chunked = LayerCache("chunked", kv_heads, head_dim, value_dim, chunk)
    linear_config = config.get("linear_attn_config")
    makers: dict[str, Any] = {
        "linear": lambda: _gated_delta_net(config),
        "mamba": lambda: _mamba(config),
        "mixer": lambda: _mamba(config),
        "conv": lambda: _short_convolution(config),
        "kda": lambda: _kimi_delta(config, linear_config if isinstance(linear_config, Mapping) else {}),
    }
    plain = {"full": full, "sliding": sliding, "chunked": chunked}
    built: dict[str, tuple[LayerCache, int]] = {}
    for kind in set(kinds):
        if kind in plain:
            built[kind] = (plain[kind], 0)
        elif kind in makers:
            state, elements = makers[kind]()
            built[kind] = (LayerCache("state", state=state), elements)
        else:
            built[kind] = (NO_CACHE, 0)
    return [built[kind] for kind in kinds]


def _mlps(config: Config, kinds: list[str]) -> list[MlpShape | None]:
    """The feed-forward block of each layer."""
    model_type = str(config.get("model_type", ""))
    gated = model_type not in UNGATED_MLP
    hidden = _integer(config, ("hidden_size", "n_embd", "d_model"))
    plain = _integer(config, ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"))
    # Where the configuration does not say: eight thirds of the width, LLaMA's rule for gated blocks.
    plain = plain or (hidden * 8 // 3 if gated else hidden * 4)
    experts = expert_count(config)
    expert_size = _integer(config, ("moe_intermediate_size", "expert_intermediate_size"), plain)
    shared = _integer(
        config,
        ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"),
        _integer(config, ("n_shared_experts", "num_shared_experts")) * expert_size,
    )
    if model_type.startswith("llama4"):
        # One shared expert as wide as the routed ones, which the configuration does not mention.
        shared = expert_size
    dense_size = _integer(config, ("intermediate_size_mlp", "dense_intermediate_size"), plain)
    dense = MlpShape(dense_size, gated=gated)
    sparse = MlpShape(expert_size, experts, shared, gated) if experts else dense
    if model_type == "nemotron_h" or "moe" in kinds:
        # One block per layer: a mixer, an attention or a feed-forward part.
        by_kind = {"moe": sparse, "mlp": dense}
        return [by_kind.get(kind) for kind in kinds]
    leading = _integer(config, ("first_k_dense_replace", "num_dense_layers"))
    step = _integer(config, ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq"), 1) or 1
    dense_only = set(config.get("mlp_only_layers") or ())
    blocks: list[MlpShape | None] = []
    for index in range(len(kinds)):
        if kinds[index] == "mixer":
            blocks.append(None)
            continue
        is_sparse = index >= leading and index not in dense_only and (index + 1) % step == 0
        blocks.append(sparse if experts and is_sparse else dense)
    return blocks


def expert_count(config: Config) -> int:
    """Routed experts per layer; 0 for a dense model."""
    count = _integer(config, ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"))
    return count if count > 1 else 0


def _nas_layers(config: Config, blocks: list[Config], hidden: int) -> tuple[LayerShape, ...]:
    """Layers of a model from architecture search: attention and width differ from block to block."""
    heads = _integer(config, ("num_attention_heads",))
    head_dim = _head_dim(config, hidden, heads)
    layers = []
    for block in blocks:
        attention, ffn = block.get("attention", {}), block.get("ffn", {})
        per_group = attention.get("n_heads_in_group")
        skipped = attention.get("no_op") or attention.get("replace_with_linear") or not per_group
        cache = NO_CACHE if skipped else LayerCache("full", heads // int(per_group), head_dim, head_dim)
        size = ffn.get("intermediate_size")
        if size is None and ffn.get("ffn_mult"):
            size = -(-int(2 * ffn["ffn_mult"] * hidden / 3) // 256) * 256
        mlp = MlpShape(int(size)) if size and not ffn.get("no_op") else None
        layers.append(LayerShape(cache, mlp, 0 if skipped else heads))
    return _interned(layers)


def _interned(layers: Iterable[LayerShape]) -> tuple[LayerShape, ...]:
    """Equal layers as one object, so that they can be counted by identity."""
    seen: dict[LayerShape, LayerShape] = {}
    return tuple(seen.setdefault(layer, layer) for layer in layers)


def count_layers(layers: Sequence[LayerShape]) -> list[tuple[LayerShape, int]]:
    """Each distinct layer with how often it occurs; models have dozens of layers and few kinds."""
    kinds = {id(layer): layer for layer in layers}
    return [(kinds[key], count) for key, count in Counter(map(id, layers)).items()]


def _vision(config: Config) -> VisionShape | None:
    inner = _first(config, NESTED_VISION)
    if not isinstance(inner, Mapping):
        return None
    hidden = _integer(inner, ("hidden_size", "embed_dim", "width"))
    return VisionShape(
        hidden=hidden,
        layers=_integer(inner, ("num_hidden_layers", "depth", "layers")),
        heads=_integer(inner, ("num_attention_heads", "num_heads", "heads")),
        intermediate=_integer(inner, ("intermediate_size",), 4 * hidden),
    )


def derived_max_length(config: Config) -> int:
    """The longest context that the configuration allows, in tokens; 0 when it does not say.

    As vLLM derives it: the position limit, times the factor of a rope scaling that extends it. Scalings
    whose limit is already the extended one (llama3, longrope) change nothing.
    """
    limit = _integer(
        config,
        (
            "max_position_embeddings",
            "n_positions",
            "max_seq_len",
            "seq_length",
            "model_max_length",
            "max_sequence_length",
        ),
    )
    rope = _first(config, ("rope_scaling", "rope_parameters"), {})
    if not limit or not isinstance(rope, Mapping):
        return limit
    kind = str(_first(rope, ("rope_type", "type"), "default"))
    factor = rope.get("factor")
    if not isinstance(factor, (int, float)) or kind in ("default", "mrope", "llama3", "longrope", "su"):
        return limit
    if str(config.get("model_type", "")).startswith("gemma3"):
        return limit
    if kind in ("yarn", "deepseek_yarn"):
        original = _integer(rope, ("original_max_position_embeddings",), limit)
        # Checkpoints trained with YaRN state the extended limit already.
        return max(limit, int(original * factor))
    return int(limit * factor)


def _unsafe(config: Config, kinds: list[str], shape_notes: list[str]) -> tuple[str, ...]:
    notes = list(shape_notes)
    model_type = str(config.get("model_type", ""))
    if config.get("compress_ratios"):
        notes.append("its layers compress their cache by different ratios")
    if config.get("block_configs"):
        notes.append("its layers differ from each other (architecture search)")
    if model_type.startswith(("llama4", "minimax_m3", "mimo_v2", "step3", "deepseek_v4", "gemma4", "gemma3n")):
        notes.append("its layers keep caches of different sizes, which engine versions lay out differently")
    if config.get("is_encoder_decoder") or model_type in ("mllama", "mllama_text_model", "whisper"):
        notes.append("its encoder's peak is profiled with every sequence at once")
    if any(kind in ("mamba", "mixer", "linear", "kda", "conv") for kind in kinds):
        notes.append("hybrid: the printed token count depends on page padding and is no memory figure")
    return tuple(notes)


def parse_shape(config: Config) -> ModelShape:
    """Read a parsed config.json. Raises SizingError when it does not describe a generating model."""
    text = text_config(config)
    hidden = _integer(text, ("hidden_size", "n_embd", "d_model", "dim"))
    heads = _integer(text, ("num_attention_heads", "n_head", "n_heads", "num_heads"))
    count = _integer(text, ("num_hidden_layers", "n_layer", "n_layers", "num_layers"))
    architectures = _first(config, ("architectures",), []) or []
    pattern = text.get("hybrid_override_pattern")
    count = count or (len(pattern) if isinstance(pattern, str) else 0)
    if not hidden or not count:
        raise SizingError(
            "config.json does not describe a language model",
            expected="hidden_size and num_hidden_layers",
            found=", ".join(sorted(map(str, text))[:12]) or "nothing",
            remedy="point `model` at a directory with the config.json of a generating model",
        )
    mla = _mla(text)
    kinds = _layer_kinds(text, count)
    notes: list[str] = []
    if kinds.count("mixer"):
        count = len(kinds)
    if len(kinds) != count:
        notes = [*notes, f"its layer list names {len(kinds)} layers, num_hidden_layers says {count}"]
        kinds = (kinds * (count // max(1, len(kinds)) + 1))[:count]
    shared = _integer(text, ("num_kv_shared_layers",))
    blocks = text.get("block_configs")
    if isinstance(blocks, (list, tuple)) and blocks:
        layers = _nas_layers(text, list(blocks), hidden)
    else:
        layers = _interned(
            LayerShape(
                NO_CACHE if index >= count - shared and cache.kind != "state" else cache,
                mlp,
                heads if kind in ("full", "sliding", "chunked") else 0,
                elements,
            )
            for index, (kind, (cache, elements), mlp) in enumerate(
                zip(kinds, _caches(text, kinds, mla), _mlps(text, kinds))
            )
        )
    return ModelShape(
        architecture=str(architectures[0]) if architectures else "",
        model_type=str(_first(config, ("model_type",), text.get("model_type", ""))),
        hidden=hidden,
        vocab=_integer(text, ("vocab_size", "padded_vocab_size"), 0),
        query_heads=heads,
        head_dim=_head_dim(text, hidden, heads),
        layers=layers,
        max_position=derived_max_length(text),
        dtype=_dtype(text),
        tied_embeddings=bool(text.get("tie_word_embeddings", _tied_by_default(text))),
        quantization=read_quantization(
            _first(text, ("quantization_config", "compression_config"), {}) or {}, str(text.get("model_type", ""))
        ),
        experts=expert_count(text),
        experts_per_token=_integer(text, ("num_experts_per_tok", "top_k", "moe_topk", "num_experts_per_token"), 1),
        mla=mla,
        vision=_vision(config),
        draft_layers=_integer(text, ("num_nextn_predict_layers", "mtp_num_hidden_layers")),
        unsafe=_unsafe(text, kinds, notes),
    )


def _tied_by_default(config: Config) -> bool:
    """`transformers` ties embeddings unless a model type's configuration class says otherwise; of the
    families in use those are the Gemmas, Cohere's and small Qwens, which mostly state it."""
    return re.match(r"^(gemma|cohere)", str(config.get("model_type", ""))) is not None

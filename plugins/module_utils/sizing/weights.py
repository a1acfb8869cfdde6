"""Weights per rank: from the checkpoint's headers where they are known, from the shape otherwise.

Most matrices are split over tensor-parallel ranks. What every rank holds in full: norms, router gates, the
down-projections of latent attention, and key/value heads once there are fewer of them than ranks. The
embedding and the output head are split by rows of the vocabulary; with pipeline stages the first stage holds
the one and the last the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .parallelism import padded_vocabulary
from .quantization import Quantization
from .safetensors import CheckpointSize, TensorInfo
from .shape import LayerShape, ModelShape, count_layers
from .units import DTYPE_BYTES, round_up

# Tensors that vLLM keeps whole on every rank, by the names checkpoints give them.
_REPLICATED = re.compile(
    r"(norm|layernorm|ln_\d|\.gate\.weight|\.router\.|e_score_correction_bias|q_a_proj|kv_a_proj|"
    r"indexer|shared_expert_gate|o_proj\.bias|down_proj\.bias|inv_freq|sinks?$|A_log|dt_bias)"
)
_KEY_VALUE = re.compile(r"\.(k_proj|v_proj|key|value|wk|wv)\.")
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|tok_embeddings|^embedding)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|output|embed_out)\.weight$")
_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
_VISION = re.compile(r"(^|\.)(visual|vision_tower|vision_model|vision_encoder|vit|image_|audio_tower)")
_EXPERTS = re.compile(r"\.experts\..*(blocks|scales)")
_DRAFT = re.compile(r"(^|\.)(mtp|nextn|eagle)\.")


@dataclass(frozen=True)
class Weights:
    """Bytes per rank of one stage, what of it every rank repeats, and the whole checkpoint's."""

    rank_bytes: int
    replicated_bytes: int
    total_bytes: int
    source: str
    # False where only the shape is known: formats keep some matrices wide, and nobody says which.
    exact: bool = True
    # Whether kernels want matrices larger than they are stored, by how much depends on the kernel.
    is_padded: bool = False


@dataclass(frozen=True)
class _Split:
    """Bytes divided over the ranks, and bytes that each of them holds."""

    divided: float = 0.0
    replicated: float = 0.0

    def __add__(self, other: _Split) -> _Split:
        return _Split(self.divided + other.divided, self.replicated + other.replicated)

    def __mul__(self, count: int) -> _Split:
        return _Split(self.divided * count, self.replicated * count)

    def rank_bytes(self, tensor_parallel_size: int) -> float:
        return self.divided / tensor_parallel_size + self.replicated


def stage_weights(
    shape: ModelShape,
    stages: Sequence[Sequence[LayerShape]],
    tensor_parallel_size: int,
    checkpoint: CheckpointSize | None,
    dtype: str,
) -> list[Weights]:
    """Weights per rank of each stage. `dtype` is what unquantized tensors are loaded as."""
    if checkpoint is not None and checkpoint.tensors:
        return _from_tensors(shape, stages, tensor_parallel_size, checkpoint, dtype)
    guess = _from_shape(shape, stages, tensor_parallel_size, dtype)
    if checkpoint is None:
        return guess
    return [_scaled(weight, checkpoint, len(stages) * tensor_parallel_size == 1) for weight in guess]


def _scaled(guess: Weights, checkpoint: CheckpointSize, exact: bool) -> Weights:
    """What the shape says, scaled to the checkpoint's known total."""
    factor = checkpoint.total_bytes / guess.total_bytes if guess.total_bytes else 1.0
    return Weights(
        int(min(float(checkpoint.total_bytes), guess.rank_bytes * factor)),
        int(guess.replicated_bytes * factor),
        checkpoint.total_bytes,
        checkpoint.source,
        exact and not guess.is_padded,
        guess.is_padded,
    )


def expert_padding(shape: ModelShape, tensor_parallel_size: int) -> float:
    """How much larger MXFP4 expert weights are loaded than they are stored.

    Kernels want a rank's columns in multiples of 128 and the hidden size in multiples of 256 (vLLM
    mxfp4_round_up_hidden_size_and_intermediate_size, Marlin). Some kernels pad less.
    """
    if not shape.quantization.experts_only:
        return 1.0
    blocks = (layer.mlp for layer, dummy in count_layers(shape.layers))
    sizes = [mlp.intermediate for mlp in blocks if mlp and mlp.experts]
    if not sizes:
        return 1.0
    columns = -(-max(sizes) // tensor_parallel_size)
    return round_up(columns, 128) / columns * round_up(shape.hidden, 256) / shape.hidden


def _loaded_bytes(tensor: TensorInfo, quantization: Quantization, dtype: str) -> float:
    """What a tensor takes once loaded: unquantized floats are cast to the dtype served."""
    if tensor.dtype in ("F32", "F16", "BF16") and not quantization.is_quantized:
        width = {"F32": 4, "F16": 2, "BF16": 2}[tensor.dtype]
        return tensor.size_bytes / width * DTYPE_BYTES[dtype]
    return tensor.size_bytes


def _tensor_split(name: str, size_bytes: float, shape: ModelShape, tp: int) -> _Split:
    if _REPLICATED.search(name):
        return _Split(replicated=size_bytes)
    if _KEY_VALUE.search(name) and 0 < shape.kv_heads < tp and not _VISION.search(name):
        # Each rank holds one whole head of the few there are.
        return _Split(replicated=size_bytes / shape.kv_heads)
    return _Split(divided=size_bytes)


def _from_tensors(
    shape: ModelShape,
    stages: Sequence[Sequence[LayerShape]],
    tp: int,
    checkpoint: CheckpointSize,
    dtype: str,
) -> list[Weights]:
    """Sum every tensor where its layer runs. Draft (MTP) layers are not loaded unless they are used."""
    bounds = []
    start = 0
    for stage in stages:
        start += len(stage)
        bounds.append(start)
    per_stage = [_Split() for dummy in stages]
    total = 0.0
    names = checkpoint.tensors
    padding = expert_padding(shape, tp)
    has_head = any(_HEAD.search(name) for name in names)
    for name, tensor in names.items():
        layer = _LAYER.search(name)
        is_vision = _VISION.search(name) is not None
        if _DRAFT.search(name) or (layer and not is_vision and int(layer.group(1)) >= bounds[-1]):
            continue
        if _HEAD.search(name) and shape.tied_embeddings:
            continue
        size = _loaded_bytes(tensor, shape.quantization, dtype)
        if padding != 1.0 and _EXPERTS.search(name):
            size *= padding
        total += size
        split = _tensor_split(name, size, shape, tp)
        if layer and not is_vision:
            index = next(i for i, bound in enumerate(bounds) if int(layer.group(1)) < bound)
        elif _HEAD.search(name):
            index = len(stages) - 1
        else:
            index = 0
        per_stage[index] = per_stage[index] + split
        if _EMBEDDING.search(name) and len(stages) > 1 and (shape.tied_embeddings or not has_head):
            # The last stage needs the same matrix as its output head.
            per_stage[-1] = per_stage[-1] + split
    return [
        Weights(
            int(split.rank_bytes(tp)),
            int(split.replicated),
            int(total),
            checkpoint.source,
            exact=padding == 1.0,
            is_padded=padding != 1.0,
        )
        for split in per_stage
    ]


def _from_shape(shape: ModelShape, stages: Sequence[Sequence[LayerShape]], tp: int, dtype: str) -> list[Weights]:
    element = DTYPE_BYTES[dtype]
    vocabulary = _Split(divided=padded_vocabulary(shape) * shape.hidden * element)
    per_stage = [
        sum((_layer_split(shape, layer, tp, element) * count for layer, count in count_layers(stage)), _Split())
        for stage in stages
    ]
    per_stage[0] = per_stage[0] + vocabulary + _vision_split(shape, element)
    if not shape.tied_embeddings or len(stages) > 1:
        per_stage[-1] = per_stage[-1] + vocabulary
    whole = sum(per_stage, _Split())
    exact = not shape.quantization.is_quantized and not shape.unsafe and shape.vision is None
    return [
        Weights(
            int(split.rank_bytes(tp)),
            int(split.replicated),
            int(whole.rank_bytes(1)),
            "the shape in config.json",
            exact,
            expert_padding(shape, tp) != 1.0,
        )
        for split in per_stage
    ]


def _layer_split(shape: ModelShape, layer: LayerShape, tp: int, element: float) -> _Split:
    """Weights of one layer; quantized formats narrow its linear matrices only."""
    linear = shape.quantization.bits / 8 if shape.quantization.is_quantized else element
    attention = element if shape.quantization.experts_only else linear
    split = _attention_split(shape, layer, tp, attention)
    split = split + _Split(layer.mixer_elements * element, 2 * shape.hidden * element)
    mlp = layer.mlp
    if mlp is None:
        return split
    matrices = 3 if mlp.gated else 2
    experts = max(1, mlp.experts)
    columns = mlp.intermediate * experts
    padding = expert_padding(shape, tp) if mlp.experts else 1.0
    split = split + _Split(matrices * shape.hidden * columns * linear * padding)
    split = split + _Split(matrices * shape.hidden * mlp.shared_intermediate * attention)
    return split + _Split(replicated=shape.hidden * mlp.experts * element)


def _attention_split(shape: ModelShape, layer: LayerShape, tp: int, width: float) -> _Split:
    cache, hidden = layer.cache, shape.hidden
    if shape.mla is not None and cache.kind == "mla":
        mla = shape.mla
        query_width = shape.query_heads * (mla.nope_dim + mla.rope_dim)
        inner = mla.q_lora_rank or hidden
        divided = (
            inner * query_width
            + mla.kv_lora_rank * shape.query_heads * (mla.nope_dim + mla.value_dim)
            + shape.query_heads * mla.value_dim * hidden
        )
        replicated = hidden * (mla.q_lora_rank + mla.kv_lora_rank + mla.rope_dim)
        if mla.index_dim:
            replicated += inner * mla.index_heads * mla.index_dim + hidden * (mla.index_dim + mla.index_heads)
        return _Split(divided * width, replicated * width)
    if not layer.query_heads:
        return _Split()
    head_dim = cache.head_dim or shape.head_dim
    value_dim = cache.value_dim or head_dim
    divided = layer.query_heads * (head_dim + value_dim) * hidden
    keys = hidden * (head_dim + value_dim)
    if 0 < cache.kv_heads < tp:
        return _Split(divided * width, keys * width)
    return _Split((divided + keys * cache.kv_heads) * width)


def _vision_split(shape: ModelShape, element: float) -> _Split:
    vision = shape.vision
    if vision is None:
        return _Split()
    per_layer = 4 * vision.hidden**2 + 2 * vision.hidden * vision.intermediate
    return _Split(per_layer * vision.layers * element)

"""Which tensor- and pipeline-parallel sizes a model allows, and how its layers split over stages."""

from __future__ import annotations

from collections.abc import Sequence

from .quantization import Quantization
from .shape import LayerShape, MlpShape, ModelShape, count_layers

# vLLM pads the vocabulary to a multiple of 64 rows, then splits it.
VOCABULARY_PADDING = 64


def tensor_parallel_problem(shape: ModelShape, size: int) -> str | None:
    """Why the model cannot be split over `size` ranks; None when it can.

    Attention heads must divide evenly (vLLM ModelConfig.verify_with_parallel_config), the padded vocabulary,
    the vision tower's heads, expert and feed-forward columns too, and a quantized matrix only between groups
    of columns that share a scale. Experts that ranks hold as wholes are not split.
    """
    if size == 1:
        return None
    return _head_problem(shape, size) or _column_problem(shape, size)


def _column_problem(shape: ModelShape, size: int) -> str | None:
    blocks = {layer.mlp for layer, dummy in count_layers(shape.layers) if layer.mlp is not None}
    blocks = {mlp for mlp in blocks if not (mlp.experts and shape.whole_experts)}
    problems = (
        _width_problem(mlp, shape.quantization, size) for mlp in sorted(blocks, key=lambda mlp: mlp.intermediate)
    )
    return next(filter(None, problems), None)


def _width_problem(mlp: MlpShape, quantization: Quantization, size: int) -> str | None:
    """Of one feed-forward block. MXFP4 experts are cut within their groups: each rank's part is padded (vLLM
    gpt_oss.py, mxfp4_round_up_hidden_size_and_intermediate_size)."""
    width = mlp.intermediate
    if width % size:
        return f"a feed-forward width of {width} does not divide by {size}"
    group = quantization.group_size if quantization.bits < 8 and not quantization.experts_only else 0
    if group and (width // size) % group:
        return f"quantization groups of {group} columns do not fit into {width} / {size}"
    block = quantization.block_size
    if block and (width // size) % block:
        return f"quantization blocks of {block} columns do not fit into {width} / {size}"
    return None


def _head_problem(shape: ModelShape, size: int) -> str | None:
    if shape.query_heads % size:
        return f"{shape.query_heads} attention heads do not divide by {size}"
    heads = shape.kv_heads
    if not shape.is_mla and heads and heads % size and size % heads:
        return f"{heads} key/value heads neither divide by {size} nor can be replicated evenly"
    if padded_vocabulary(shape) % size:
        return f"a vocabulary of {padded_vocabulary(shape)} rows does not divide by {size}"
    if shape.vision is not None and shape.vision.heads % size:
        return f"{shape.vision.heads} heads of the vision tower do not divide by {size}"
    return None


def valid_tensor_parallel_sizes(shape: ModelShape, most: int) -> list[int]:
    """Every size from 1 to `most` that the model allows, ascending."""
    return [size for size in range(1, most + 1) if tensor_parallel_problem(shape, size) is None]


def stage_ranges(shape: ModelShape, stages: int) -> list[range]:
    """The indices of each pipeline stage's layers."""
    ranges: list[range] = []
    for layers in stage_layers(shape, stages):
        start = ranges[-1].stop if ranges else 0
        ranges.append(range(start, start + len(layers)))
    return ranges


def stage_layers(shape: ModelShape, stages: int) -> list[Sequence[LayerShape]]:
    """The layers of each pipeline stage.

    Even shares; what is left over goes one each to the stages before the last, from the end (vLLM
    get_pp_indices), since the last holds the output head.
    """
    count = len(shape.layers)
    sizes = [count // stages] * stages
    for index in range(2, count % stages + 2):
        sizes[-index] += 1
    split: list[Sequence[LayerShape]] = []
    start = 0
    for size in sizes:
        split.append(shape.layers[start : start + size])
        start += size
    return split


def padded_vocabulary(shape: ModelShape) -> int:
    """Rows of the embedding after padding."""
    return -(-shape.vocab // VOCABULARY_PADDING) * VOCABULARY_PADDING

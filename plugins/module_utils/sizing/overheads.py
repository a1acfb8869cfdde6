"""Memory beside weights and KV cache: the activation peak, CUDA graphs, and what lives outside of PyTorch.

Before it sizes the cache, vLLM runs one step of the largest size and subtracts its peak: max_num_batched_tokens
tokens through the layers, then max_num_seqs rows of logits through the sampler. Which of both is the higher
one, and what else falls into the measurement, changed between releases; `Runner` names the eras. So both
numbers are always stated and predicted from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .parallelism import padded_vocabulary
from .shape import LayerShape, ModelShape, count_layers
from .units import DTYPE_BYTES, GIB, MIB
from .version import EngineVersion


class Runner(Enum):
    """Who runs the measured step: the engine before 0.8, its successor, and Model Runner V2."""

    V0 = "v0"
    V1 = "v1"
    V2 = "v2"


FIRST_V1 = EngineVersion(0, 8)
# Top-k and top-p without sorting the vocabulary (topk_topp_triton.py).
SORTLESS_SAMPLER = EngineVersion(0, 17)
# Since torch 2.10 graphs are compiled ahead of time, inside of the measured step.
AHEAD_OF_TIME_COMPILATION = EngineVersion(0, 17)
# VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS defaults to on.
GRAPH_ESTIMATE_APPLIED = EngineVersion(0, 20)
# Model Runner V2 measures graphs instead of answering 0.
V2_GRAPH_ESTIMATE = EngineVersion(0, 29)

# Where Model Runner V2 is the default (VllmConfig.use_v2_model_runner): for ever more architectures, then
# for dense models, then for all.
V2_FOR_ALL = EngineVersion(0, 29)
V2_FOR_DENSE = EngineVersion(0, 27)
V2_ARCHITECTURES = (
    (EngineVersion(0, 22), frozenset({"Qwen3ForCausalLM"})),
    (
        EngineVersion(0, 24),
        frozenset(
            {
                "Qwen3ForCausalLM",
                "DeepseekV2ForCausalLM",
                "Qwen2MoeForCausalLM",
                "GraniteMoeForCausalLM",
                "LlamaForCausalLM",
                "MistralForCausalLM",
            }
        ),
    ),
)

# The sampler's peak in bytes per sequence and vocabulary entry, by what the code holds at once, beside the
# hidden states of the step.
# V0: logits (2), a float32 copy (4), probabilities (4).
V0_LOGIT_BYTES = 10.0
# V1 with PyTorch's sort: logits (2), a float32 copy (4), sorted values and 8-byte indices (12), and the sort's
# double buffers (20). Published peaks over three vocabularies give 38.3 to 38.6.
SORT_LOGIT_BYTES = 38.3
# V1 without it: logits (2), a float32 copy (4), probabilities (4), noise (4) …
SORTLESS_LOGIT_BYTES = 14.0
# … and a float32 row per program of the top-k kernel, of which there are as many as multiprocessors. With it,
# peaks over eight vocabularies from 49,155 to 262,208 (vLLM 0.19) are met to 4 %.
TOP_K_ROW_BYTES = 4
TOP_K_ROWS = 132
# Index tensors of the step and of the sampler, in that era: 31 peaks lie 20 to 60 MiB above the rest.
STEP_BUFFER_BYTES = 40 * MIB
# V2: logits (2) and their float32 copy (4); penalties keep a 4-byte count and a bit per entry all the time.
V2_LOGIT_BYTES = 6.0
V2_STATE_LOGIT_BYTES = 4.125

# While it compiles ahead of time, Inductor tries kernels on copies of their inputs, inside of the measured
# step; the first graph's largest input is the embedding. A first start shows this peak, a restart with a warm
# cache does not. Cold peaks of eight models (vLLM 0.19 to 0.31) exceed their embedding by -0.1 to 0.2 GiB.
COMPILE_SCRATCH_BYTES = 64 * MIB

# CUDA graphs as V1 estimates them: published estimates are 0.17 to 0.36 GiB for few small batches and 0.42,
# 0.6 and 0.84 GiB for all sizes up to 512. V2 measures about what a capture takes, 0.22 to 0.25 GiB.
GRAPH_BASE_BYTES = GIB // 4
GRAPH_SPAN_BYTES = int(0.35 * GIB)
GRAPH_FULL_BATCH = 256

# Outside of PyTorch's allocator: library workspaces and kernels. 0.04 to 0.16 GiB before 0.18, 0.24 to 0.26
# after.
RECENT_LIBRARIES = EngineVersion(0, 18)
SINGLE_RANK_BYTES = int(0.13 * GIB)
SINGLE_RANK_RECENT_BYTES = int(0.25 * GIB)
# On unified memory free memory is read from the system, so the processes' own RAM counts as the engine's: 4.9
# GiB in one log, and about 4 GB of resident memory measured on a CPU.
UNIFIED_SINCE = EngineVersion(0, 13)
UNIFIED_PROCESS_BYTES = int(4.5 * GIB)
# Communicators of several ranks: 0.2 to 0.7 GiB. Where NVLink joins data-centre cards from Hopper on, symmetric
# memory and fused all-reduce (SYMM_MEM_ALL_REDUCE_MAX_SIZES) have buffers of their own: 0.55 GiB (0.11), 2.07 GiB
# with two and 2.13 to 2.21 GiB with four ranks (0.19).
COMMUNICATOR_BYTES = int(0.2 * GIB)
SYMMETRIC_MEMORY = EngineVersion(0, 13)
SYMMETRIC_BYTES = int(2.0 * GIB)
SYMMETRIC_RANK_BYTES = int(0.035 * GIB)
SYMMETRIC_CAPABILITIES = frozenset({(9, 0), (10, 0), (10, 3)})
OLD_COMMUNICATOR_BYTES = int(0.45 * GIB)

# A vision tower is profiled too: its output for a full batch, the copy in the encoder cache and the one merged
# into the prompt are held while the language model runs.
VISION_COPIES = 3

# Expert kernels keep their workspace since it has a manager of its own (v1/worker/workspace.py).
EXPERT_WORKSPACE = EngineVersion(0, 13)


@dataclass(frozen=True)
class EngineDefaults:
    """What vLLM takes when nothing is said."""

    utilization: float
    sequences: int
    batched_tokens: int


def engine_defaults(
    version: EngineVersion, total_bytes: int, device_name: str, max_model_len: int | None = None
) -> EngineDefaults:
    """Defaults of the API server (EngineArgs.get_batch_defaults, CacheConfig).

    Cards of 70 GiB and more get 8192 tokens and 1024 sequences, unless they are A100s; since 0.29 those of
    160 GiB and more get 16384 tokens. The utilization is 0.92 since 0.20, before that 0.90. Before 0.8 a step
    held one whole prompt, up to 32,768 tokens, and 256 sequences.
    """
    utilization = 0.92 if version >= EngineVersion(0, 20) else 0.90
    if version < FIRST_V1:
        tokens = max(2048, max_model_len or 8192)
        return EngineDefaults(utilization, 256, tokens if tokens <= 32768 else 2048)
    if total_bytes >= 160 * GIB and version >= EngineVersion(0, 29):
        return EngineDefaults(utilization, 1024, 16384)
    if total_bytes >= 70 * GIB and "a100" not in device_name.lower():
        return EngineDefaults(utilization, 1024, 8192)
    return EngineDefaults(utilization, 256, 2048)


def runner(version: EngineVersion, shape: ModelShape) -> Runner:
    """The era that a release and a model belong to."""
    if version < FIRST_V1:
        return Runner.V0
    if version >= V2_FOR_ALL:
        return Runner.V2
    dense = not shape.experts and not shape.is_hybrid
    if version >= V2_FOR_DENSE and dense:
        return Runner.V2
    named = [names for since, names in V2_ARCHITECTURES if version >= since]
    return Runner.V2 if named and shape.architecture in named[-1] else Runner.V1


@dataclass(frozen=True)
class Overheads:
    """Bytes per rank."""

    activation_bytes: int
    cuda_graphs_bytes: int
    non_torch_bytes: int

    @property
    def total_bytes(self) -> int:
        """All three together."""
        return self.activation_bytes + self.cuda_graphs_bytes + self.non_torch_bytes


@dataclass(frozen=True)
class Load:
    """What the overheads depend on beside the model."""

    version: EngineVersion
    batched_tokens: int
    sequences: int
    dtype: str
    tensor_parallel_size: int = 1
    enforce_eager: bool = False
    capability: tuple[int, int] | None = None
    is_unified: bool = False
    # Whether NVLink joins the ranks' cards.
    is_linked: bool = True
    is_first_stage: bool = True
    is_last_stage: bool = True


def layer_peak_elements(shape: ModelShape, layer: LayerShape, tensor_parallel_size: int) -> float:
    """Elements per token that a layer holds at its widest point, routed experts aside.

    Residual, block input, block output and the normalised copy are whole on every rank. A gated block adds
    its gate and up columns and their product, divided over the ranks.
    """
    stream = 4.0 * shape.hidden
    mlp = layer.mlp
    if mlp is None:
        return stream
    columns = mlp.shared_intermediate if mlp.experts else mlp.intermediate
    return stream + (3 if mlp.gated else 2) * columns / tensor_parallel_size


def expert_elements(shape: ModelShape, layer: LayerShape, tensor_parallel_size: int) -> float:
    """Elements per token of the two buffers that expert kernels work in.

    Per chosen expert one buffer holds the activated columns or the output, the other gate and up columns or
    the output, whichever is wider (TritonExperts.workspace_shapes). gpt-oss' MXFP4 kernels need none.
    """
    mlp = layer.mlp
    if mlp is None or not mlp.experts or shape.quantization.experts_only:
        return 0.0
    columns = mlp.intermediate / tensor_parallel_size
    gates = 2 if mlp.gated else 1
    chosen = max(1, shape.experts_per_token)
    return chosen * (max(columns, shape.hidden) + max(gates * columns, shape.hidden))


def _widest(shape: ModelShape, load: Load, elements: Callable[[ModelShape, LayerShape, int], float]) -> int:
    widest = max(elements(shape, layer, load.tensor_parallel_size) for layer, dummy in count_layers(shape.layers))
    return int(load.batched_tokens * widest * DTYPE_BYTES[load.dtype])


def forward_peak_bytes(shape: ModelShape, load: Load) -> int:
    """The layers' peak in the measured step."""
    peak = _widest(shape, load, layer_peak_elements)
    if load.version < EXPERT_WORKSPACE:
        peak += _widest(shape, load, expert_elements)
    return peak


def sampler_peak_bytes(shape: ModelShape, load: Load) -> int:
    """The sampler's peak: logits over the whole vocabulary, gathered from all ranks, and hidden states."""
    if not load.is_last_stage:
        return 0
    logits = min(load.sequences, load.batched_tokens) * shape.vocab
    hidden = int(load.batched_tokens * shape.hidden * DTYPE_BYTES[load.dtype])
    era = runner(load.version, shape)
    if era is Runner.V2:
        return hidden + int(logits * V2_LOGIT_BYTES)
    if era is Runner.V0:
        return hidden + int(logits * V0_LOGIT_BYTES)
    if load.version < SORTLESS_SAMPLER:
        return hidden + int(logits * SORT_LOGIT_BYTES)
    rows = min(load.sequences, TOP_K_ROWS) * shape.vocab * TOP_K_ROW_BYTES
    return hidden + rows + STEP_BUFFER_BYTES + int(logits * SORTLESS_LOGIT_BYTES)


def compile_peak_bytes(shape: ModelShape, load: Load) -> int:
    """The peak of a first start's compilation: the rank's part of the embedding, once more."""
    if load.version < AHEAD_OF_TIME_COMPILATION or load.enforce_eager or not load.is_first_stage:
        return 0
    embedding = padded_vocabulary(shape) * shape.hidden * DTYPE_BYTES[load.dtype]
    return int(embedding / load.tensor_parallel_size) + COMPILE_SCRATCH_BYTES


def _activation_bytes(shape: ModelShape, load: Load) -> int:
    peak = max(forward_peak_bytes(shape, load), sampler_peak_bytes(shape, load), compile_peak_bytes(shape, load))
    if load.version >= EXPERT_WORKSPACE:
        peak += _widest(shape, load, expert_elements)
    if shape.vision is not None and load.is_first_stage:
        peak += int(VISION_COPIES * load.batched_tokens * shape.hidden * DTYPE_BYTES[load.dtype])
    if runner(load.version, shape) is Runner.V2 and load.is_last_stage:
        peak += int(load.sequences * shape.vocab * V2_STATE_LOGIT_BYTES)
    return peak


def _graph_bytes(shape: ModelShape, load: Load) -> int:
    """What is subtracted for CUDA graphs, which is not always what they take."""
    if load.enforce_eager or load.version < GRAPH_ESTIMATE_APPLIED:
        return 0
    if runner(load.version, shape) is Runner.V2:
        return GRAPH_BASE_BYTES if load.version >= V2_GRAPH_ESTIMATE else 0
    return GRAPH_BASE_BYTES + int(GRAPH_SPAN_BYTES * min(1.0, load.sequences / GRAPH_FULL_BATCH))


def _non_torch_bytes(load: Load) -> int:
    single = SINGLE_RANK_RECENT_BYTES if load.version >= RECENT_LIBRARIES else SINGLE_RANK_BYTES
    if load.is_unified and load.version >= UNIFIED_SINCE:
        single += UNIFIED_PROCESS_BYTES
    if load.tensor_parallel_size == 1:
        return single
    if load.capability not in SYMMETRIC_CAPABILITIES or not load.is_linked:
        return single + COMMUNICATOR_BYTES
    if load.version < SYMMETRIC_MEMORY:
        return single + OLD_COMMUNICATOR_BYTES
    return SYMMETRIC_BYTES + SYMMETRIC_RANK_BYTES * load.tensor_parallel_size


def overheads(shape: ModelShape, load: Load) -> Overheads:
    """What one rank needs beside weights and cache."""
    return Overheads(_activation_bytes(shape, load), _graph_bytes(shape, load), _non_torch_bytes(load))


# An API server, an engine core and a worker, each a Python process with PyTorch: about 4 GB resident with
# a tiny model, of which 1 GiB was cache.
CPU_PROCESS_BYTES = 3 * GIB


def cpu_overheads(shape: ModelShape, load: Load) -> Overheads:
    """The same on a CPU, where nothing of it is taken from the cache: that has a size of its own."""
    activation = forward_peak_bytes(shape, load) + _widest(shape, load, expert_elements)
    return Overheads(max(activation, sampler_peak_bytes(shape, load)), 0, CPU_PROCESS_BYTES)

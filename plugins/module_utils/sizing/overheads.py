"""Memory beside weights and KV cache: the activation peak, CUDA graphs, and what lives outside of PyTorch.

Before it sizes the cache, vLLM runs one step of the largest size and subtracts its peak: max_num_batched_tokens
tokens through the layers, then max_num_seqs rows of logits through the sampler. Which of both is the higher
one, and what else falls into the measurement, changed between releases; `Runner` names the eras. So both
numbers are always stated and predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .shape import LayerShape, ModelShape
from .units import DTYPE_BYTES, GIB
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

# The sampler's peak in bytes per sequence and vocabulary entry, by what the code holds at once.
# V0: logits (2), a float32 copy (4), probabilities (4).
V0_LOGIT_BYTES = 10.0
# V1 with PyTorch's sort: logits (2), a float32 copy (4), sorted values and 8-byte indices (12), and the sort's
# double buffers (20). Five published peaks over three vocabularies (128,256; 151,936; 201,088) lie between
# 38.4 and 39.6.
SORT_LOGIT_BYTES = 38.5
# V1 without it: logits (2), a float32 copy (4), probabilities (4), noise (4), and the argmax' partial results.
SORTLESS_LOGIT_BYTES = 16.0
# V2: logits (2) and their float32 copy (4); penalties keep a 4-byte count and a bit per entry all the time.
V2_LOGIT_BYTES = 6.0
V2_STATE_LOGIT_BYTES = 4.125

# Ahead-of-time compilation tries kernels on scratch tensors while the peak is being recorded, unless the
# compile cache is warm: a first start shows it, a restart does not. Seven first starts (vLLM 0.28 to 0.31;
# 7 to 27 billion parameters; batches from 256 × 2048 to 8 × 8192) peaked at 1.34 to 1.93 GiB, whatever the
# batch; two with tensor parallelism of 2 at about half of it.
COLD_COMPILE_BYTES = int(1.4 * GIB)

# CUDA graphs as V1 estimates them: published estimates are 0.17 to 0.36 GiB for few small batches and 0.42
# and 0.6 GiB for all sizes up to 512. V2 measures about what a capture takes, 0.22 to 0.25 GiB.
GRAPH_BASE_BYTES = GIB // 4
GRAPH_FULL_BATCH = 256

# Outside of PyTorch's allocator: library workspaces and kernels. 0.04 to 0.16 GiB before 0.20 (seven logs),
# 0.22 and 0.26 after.
SINGLE_RANK_BYTES = int(0.13 * GIB)
SINGLE_RANK_RECENT_BYTES = int(0.22 * GIB)
# Communicators of several ranks. Over PCIe 0.2 to 0.7 GiB; with NVLink on Hopper and later the symmetric and
# all-reduce buffers make it 0.55 to 1.4 GiB with two ranks and 1.75 GiB with eight.
COMMUNICATOR_BYTES = int(0.45 * GIB)
FAST_LINK_BYTES = int(0.75 * GIB)
FAST_LINK_RANK_BYTES = int(0.12 * GIB)
FAST_LINK_CAPABILITY = (9, 0)
PIPELINE_BYTES = int(0.25 * GIB)


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
    pipeline_parallel_size: int = 1
    enforce_eager: bool = False
    capability: tuple[int, int] | None = None
    is_last_stage: bool = True


def layer_peak_elements(shape: ModelShape, layer: LayerShape, tensor_parallel_size: int) -> float:
    """Elements per token that a layer holds at its widest point.

    The residual, the block's input and its output are whole on every rank. A gated block adds its gate and up
    columns and their product, divided over the ranks. A mixture of experts does so once per chosen expert,
    with outputs of full width instead where those are wider than gate and up together.
    """
    stream = 3.0 * shape.hidden
    mlp = layer.mlp
    if mlp is None:
        return stream
    gates = 2 if mlp.gated else 1
    if not mlp.experts:
        return stream + (gates + 1) * mlp.intermediate / tensor_parallel_size
    columns = mlp.intermediate / tensor_parallel_size
    chosen = max(1, shape.experts_per_token) * (max(gates * columns, shape.hidden) + columns)
    return stream + chosen + (gates + 1) * mlp.shared_intermediate / tensor_parallel_size


def forward_peak_bytes(shape: ModelShape, load: Load) -> int:
    """The layers' peak in the measured step."""
    widest = max(layer_peak_elements(shape, layer, load.tensor_parallel_size) for layer in set(shape.layers))
    return int(load.batched_tokens * widest * DTYPE_BYTES[load.dtype])


def sampler_peak_bytes(shape: ModelShape, load: Load) -> int:
    """The sampler's peak: logits over the whole vocabulary, gathered from all ranks."""
    per_entry = {
        Runner.V0: V0_LOGIT_BYTES,
        Runner.V1: SORTLESS_LOGIT_BYTES if load.version >= SORTLESS_SAMPLER else SORT_LOGIT_BYTES,
        Runner.V2: V2_LOGIT_BYTES,
    }[runner(load.version, shape)]
    return int(_logits(shape, load) * per_entry)


def _logits(shape: ModelShape, load: Load) -> int:
    return min(load.sequences, load.batched_tokens) * shape.vocab if load.is_last_stage else 0


def _activation_bytes(shape: ModelShape, load: Load) -> int:
    peak = max(forward_peak_bytes(shape, load), sampler_peak_bytes(shape, load))
    if load.version >= AHEAD_OF_TIME_COMPILATION and not load.enforce_eager:
        peak = max(peak, COLD_COMPILE_BYTES // load.tensor_parallel_size)
    if runner(load.version, shape) is Runner.V2:
        peak += int(_logits(shape, load) * V2_STATE_LOGIT_BYTES)
    return peak


def _graph_bytes(shape: ModelShape, load: Load) -> int:
    """What is subtracted for CUDA graphs, which is not always what they take."""
    if load.enforce_eager or load.version < GRAPH_ESTIMATE_APPLIED:
        return 0
    if runner(load.version, shape) is Runner.V2:
        return GRAPH_BASE_BYTES if load.version >= V2_GRAPH_ESTIMATE else 0
    return int(GRAPH_BASE_BYTES * (1 + min(1.0, load.sequences / GRAPH_FULL_BATCH)))


def _non_torch_bytes(load: Load) -> int:
    recent = load.version >= GRAPH_ESTIMATE_APPLIED
    single = SINGLE_RANK_RECENT_BYTES if recent else SINGLE_RANK_BYTES
    if load.tensor_parallel_size > 1 and load.capability and load.capability >= FAST_LINK_CAPABILITY:
        return FAST_LINK_BYTES + FAST_LINK_RANK_BYTES * load.tensor_parallel_size
    if load.tensor_parallel_size > 1:
        return single + COMMUNICATOR_BYTES
    return single + (PIPELINE_BYTES if load.pipeline_parallel_size > 1 else 0)


def overheads(shape: ModelShape, load: Load) -> Overheads:
    """What one rank needs beside weights and cache."""
    return Overheads(_activation_bytes(shape, load), _graph_bytes(shape, load), _non_torch_bytes(load))


# An API server, an engine core and a worker, each a Python process with PyTorch: about 4 GB resident with
# a tiny model, of which 1 GiB was cache.
CPU_PROCESS_BYTES = 3 * GIB


def cpu_overheads(shape: ModelShape, load: Load) -> Overheads:
    """The same on a CPU, where nothing of it is taken from the cache: that has a size of its own."""
    return Overheads(forward_peak_bytes(shape, load) + sampler_peak_bytes(shape, load), 0, CPU_PROCESS_BYTES)

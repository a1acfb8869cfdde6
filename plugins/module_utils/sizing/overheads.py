"""Memory beside weights and KV cache: the activation peak, CUDA graphs, and what lives outside of PyTorch.

vLLM runs one step of the largest size before it sizes the cache: max_num_batched_tokens tokens through the
layers, then max_num_seqs rows of logits through the sampler. The higher of both peaks is subtracted from the
budget, so both numbers are always stated and predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass

from .shape import ModelShape
from .units import DTYPE_BYTES, GIB, MIB
from .version import EngineVersion

# The sampler's peak, in bytes per sequence and vocabulary entry. With PyTorch's sort: logits in 2 bytes, a
# float32 copy (4), the sorted copy with its 8-byte indices (12), and the sort's own double buffers (20).
# Four published figures of three vocabularies (128,256, 151,936, 201,088) give 38.4 to 38.9.
SORT_LOGIT_BYTES = 38.5
GRAPH_ESTIMATE_APPLIED = EngineVersion(0, 20)


@dataclass(frozen=True)
class EngineDefaults:
    """What vLLM takes when nothing is said."""

    utilization: float
    sequences: int
    batched_tokens: int


def engine_defaults(version: EngineVersion, total_bytes: int, device_name: str) -> EngineDefaults:
    """Defaults of the API server (vLLM EngineArgs.get_batch_defaults and CacheConfig).

    Cards of 70 GiB and more get 8192 tokens and 1024 sequences, unless they are A100s; since 0.32 those of
    160 GiB and more get 16384 tokens. The utilization is 0.92 since 0.20, before that 0.90.
    """
    utilization = 0.92 if version >= EngineVersion(0, 20) else 0.90
    if total_bytes >= 160 * GIB and version >= EngineVersion(0, 32):
        return EngineDefaults(utilization, 1024, 16384)
    if total_bytes >= 70 * GIB and "a100" not in device_name.lower():
        return EngineDefaults(utilization, 1024, 8192)
    return EngineDefaults(utilization, 256, 2048)


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


def forward_peak_bytes(shape: ModelShape, batched_tokens: int, tensor_parallel_size: int, dtype: str) -> int:
    """The layers' peak: per token the residual and the hidden state, and the widest block's inner tensors.

    A gated block holds its gate and up columns and their product (3 × intermediate); columns are split over
    the ranks, hidden states are not.
    """
    inner = 3 * shape.widest_mlp / tensor_parallel_size
    return int(batched_tokens * (2 * shape.hidden + inner) * DTYPE_BYTES[dtype])


def sampler_peak_bytes(shape: ModelShape, sequences: int, batched_tokens: int) -> int:
    """The sampler's peak over the whole vocabulary: logits are gathered from all ranks."""
    return int(min(sequences, batched_tokens) * shape.vocab * SORT_LOGIT_BYTES)


def overheads(
    shape: ModelShape,
    *,
    batched_tokens: int,
    sequences: int,
    tensor_parallel_size: int,
    dtype: str,
    enforce_eager: bool,
    version: EngineVersion,
    is_last_stage: bool = True,
) -> Overheads:
    """What one rank needs beside weights and cache."""
    forward = forward_peak_bytes(shape, batched_tokens, tensor_parallel_size, dtype)
    sampler = sampler_peak_bytes(shape, sequences, batched_tokens) if is_last_stage else 0
    graphs = 0
    if not enforce_eager and version >= GRAPH_ESTIMATE_APPLIED:
        graphs = 300 * MIB
    non_torch = 250 * MIB if tensor_parallel_size == 1 else 1000 * MIB
    return Overheads(max(forward, sampler), graphs, non_torch)

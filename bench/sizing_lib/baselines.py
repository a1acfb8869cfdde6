"""How others estimate: three ways in use, on the same records and with the same weights.

Each gives the bytes that are left for the cache out of utilization × total, per rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible_collections.llm.serving.plugins.module_utils.sizing.estimate import Setup
from ansible_collections.llm.serving.plugins.module_utils.sizing.units import GIB


def weights_only(setup: Setup, weights_bytes: int) -> float:
    """hf-mem, accelerate estimate-memory: the weights are all there is."""
    return setup.utilization * setup.total_bytes - weights_bytes


def gpustack(setup: Setup, weights_bytes: int) -> float:
    """GPUStack's claim for vLLM: 1.2 × weights + 2 GiB."""
    return setup.utilization * setup.total_bytes - 1.2 * weights_bytes - 2 * GIB


def llm_d_planner(setup: Setup, weights_bytes: int) -> float:
    """llm-d-planner: a constant activation peak per kind of model, and constants for the rest.

    Its published constants: 5.5 GiB for dense models, 8.0 for mixtures of experts, 2.5 for multimodal ones;
    outside of PyTorch 0.15 GiB with one rank and 0.6 with more; nothing for CUDA graphs.
    """
    text_activation = 8.0 if setup.shape.experts else 5.5
    activation = text_activation if setup.shape.vision is None else 2.5
    outside = 0.15 if setup.tensor_parallel_size == 1 else 0.6
    return setup.utilization * setup.total_bytes - weights_bytes - (activation + outside) * GIB


BASELINES: Mapping[str, Callable[[Setup, int], float]] = {
    "weights only": weights_only,
    "1.2 × weights + 2 GiB": gpustack,
    "constant activation": llm_d_planner,
}

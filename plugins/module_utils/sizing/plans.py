"""The values that planning takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .estimate import Account, Estimate, Setup
from .hardware import Device
from .safetensors import CheckpointSize
from .shape import ModelShape
from .version import DEFAULT_VERSION, EngineVersion
from .wishes import Wish


@dataclass(frozen=True)
class Host:
    """What is there to plan with.

    reserved_bytes: left alone on every device, or of the RAM on a CPU host. running: names of instances
    that are up now and hold some of the memory that counts as not free; None when nobody asked.
    """

    devices: tuple[Device, ...] = ()
    topology: Sequence[Sequence[str]] | None = None
    memory_total_bytes: int = 0
    memory_available_bytes: int | None = None
    cpu_count: int = 1
    numa_nodes: int = 1
    version: EngineVersion = DEFAULT_VERSION
    reserved_bytes: int = 0
    running: frozenset[str] | None = None


@dataclass(frozen=True)
class ModelFiles:
    """What a model directory says: its shape, and its weights' size where they are at hand."""

    shape: ModelShape
    checkpoint: CheckpointSize | None = None


@dataclass(frozen=True)
class Plan:
    """One instance's plan; `as_dict` gives it in the shape of docs/architecture.md."""

    wish: Wish
    device: str
    gpu_indices: tuple[int, ...]
    setup: Setup
    estimate: Estimate
    data_parallel_size: int
    engine_args: Mapping[str, Any]
    environment: Mapping[str, str]
    confidence: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data."""
        setup, expected, floor = self.setup, self.estimate.expected, self.estimate.floor
        return {
            "name": self.wish.name,
            "device": self.device,
            "gpu_indices": list(self.gpu_indices),
            "tensor_parallel_size": setup.tensor_parallel_size,
            "pipeline_parallel_size": setup.pipeline_parallel_size,
            "data_parallel_size": self.data_parallel_size,
            "dtype": setup.dtype,
            "kv_cache_dtype": setup.kv_cache_dtype,
            "max_model_len": setup.max_model_len,
            "max_num_seqs": setup.max_num_seqs,
            "max_num_batched_tokens": setup.max_num_batched_tokens,
            "gpu_memory_utilization": None if self.device == "cpu" else setup.utilization,
            "kv_cache_tokens": {"expected": expected.tokens, "floor": floor.tokens},
            "concurrency": round(expected.concurrency, 2),
            "memory": account_dict(self.estimate.account),
            "engine_args": dict(self.engine_args),
            "environment": dict(self.environment),
            "confidence": self.confidence,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }


def account_dict(account: Account) -> dict[str, Any]:
    """A byte account as plain data."""
    return {
        "total_bytes": account.total_bytes,
        "budget_bytes": account.budget_bytes,
        "weights_bytes": account.weights_bytes,
        "kv_cache_bytes": {"expected": account.kv_expected_bytes, "floor": account.kv_floor_bytes},
        "activation_bytes": account.activation_bytes,
        "cuda_graphs_bytes": account.cuda_graphs_bytes,
        "non_torch_bytes": account.non_torch_bytes,
        "free_bytes": account.free_bytes,
    }

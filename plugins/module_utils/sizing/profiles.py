"""What a deployment is for: numbers an operator may leave out, chosen by purpose."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SizingError


@dataclass(frozen=True)
class Profile:
    """Defaults of one purpose.

    utilization: share of a card's memory that the engine may use.
    sequences, batched_tokens: max_num_seqs and max_num_batched_tokens.
    concurrency: requests of full length that should fit before a smaller tensor-parallel size is chosen.
    """

    name: str
    utilization: float
    sequences: int
    batched_tokens: int
    concurrency: float
    prefers_wide_tensor_parallel: bool = False
    purpose: str = ""


PROFILES = {
    "balanced": Profile("balanced", 0.90, 64, 4096, 4.0, purpose="several users, moderate load"),
    "latency": Profile(
        "latency", 0.85, 16, 2048, 1.0, prefers_wide_tensor_parallel=True, purpose="few users, quick answers"
    ),
    # The seed's high-load mode: utilization 0.90 and fewer concurrent sequences for stability. A queue
    # in front of fewer sequences keeps the cache from being preempted under pressure.
    "throughput": Profile("throughput", 0.90, 32, 8192, 8.0, purpose="high load, kept stable by fewer sequences"),
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises SizingError for another."""
    if name not in PROFILES:
        raise SizingError(
            f"unknown profile {name!r}",
            expected=" | ".join(PROFILES),
            found=name,
            remedy="set profile to one of them",
        )
    return PROFILES[name]

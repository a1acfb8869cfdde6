"""Plans for every model of a host: decisions with their reasons, or a refusal with what would help."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import SizingError
from .plan_cpu import plan_cpu
from .plan_gpu import plan_gpu
from .plans import Host, ModelFiles, Plan
from .wishes import Wish

__all__ = ["Host", "ModelFiles", "Plan", "plan_host"]


def plan_host(wishes: Sequence[Wish], models: Sequence[ModelFiles], host: Host) -> list[Plan]:
    """Plans for all models of a host, in order. Raises SizingError when one of them cannot be served."""
    on_cpu = [wish for wish in wishes if _device_of(wish, host) == "cpu"]
    if on_cpu and len(on_cpu) != len(wishes):
        raise SizingError(
            "a host serves from its GPUs or from its CPU, not from both",
            expected="the same device for every model of the host",
            found="device: cpu for " + ", ".join(wish.name for wish in on_cpu),
            remedy="move these models to a host of their own",
        )
    return plan_cpu(wishes, models, host) if on_cpu else plan_gpu(wishes, models, host)


def _device_of(wish: Wish, host: Host) -> str:
    wished = wish.text("device") or "auto"
    if wished not in ("auto", "cpu", "cuda", "rocm", "gpu"):
        raise SizingError(
            f"{wish.name}: unknown device {wished!r}",
            expected="auto | cpu | cuda | rocm",
            found=wished,
            remedy="leave device out",
        )
    if wished == "cpu" or (wished == "auto" and not host.devices):
        return "cpu"
    if not host.devices:
        raise SizingError(
            f"{wish.name}: device {wished} was asked for, and this host has no usable GPU",
            expected="a GPU whose driver works",
            found="none",
            remedy="see what gpu_facts says, or set device: cpu",
        )
    return "gpu"

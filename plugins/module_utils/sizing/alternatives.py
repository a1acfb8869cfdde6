"""What else could be done with a model: other tensor-parallel sizes, other weight formats, other cards, other lengths.

Everything is answered by the arithmetic and the decisions of the plan itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .decide import longest_context
from .errors import SizingError
from .estimate import Setup, estimate, stage_layout
from .hardware import KNOWN_CARDS, imagined_devices
from .kv_cache import capacity
from .parallelism import stage_ranges, valid_tensor_parallel_sizes
from .plan_gpu import plan_gpu
from .plans import Host, ModelFiles, Plan
from .quantization import Quantization
from .remedies import FOUR_BITS
from .wishes import Wish

SHORTEST = 1024
MOST_GPUS = 8
# Cards worth a look, smallest first; of each kind at most eight.
CARDS = (
    *("T4", "A10", "L4", "RTX4090-24GB", "RTX5090-32GB", "A100-40GB", "L40S", "A100-80GB", "H100-80GB"),
    *("RTXPRO6000-96GB", "H200-141GB", "B200-180GB", "MI300X-192GB"),
)
# Keys of a wish that speak of one host's GPUs, and mean nothing on another.
_OF_A_HOST = (
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nodes", "gpus", "gpu_indices"),
    *(
        "kv_cache_memory_bytes",
        "measured_overhead_bytes",
        "cpu_kv_cache_gib",
        "device",
        "dtype",
        "gpu_memory_utilization",
    ),
)


@dataclass(frozen=True)
class Point:
    """Requests of one length that fit at once, as expected and for certain."""

    length: int
    expected: float
    floor: float


@dataclass(frozen=True)
class Alternative:
    """What another choice would give. Sizes in bytes per GPU; `problem` says why it does not work."""

    label: str
    gpus: int
    is_planned: bool = False
    weights_bytes: int | None = None
    kv_bytes: int | None = None
    tokens: int | None = None
    concurrency: float | None = None
    longest: int | None = None
    problem: str = ""


def curve(setup: Setup, longest: int) -> list[Point]:
    """Concurrency against context length, up to `longest`, at the memory that the plan leaves for the cache."""
    found = estimate(setup).account
    points = []
    for length in curve_lengths(setup.max_model_len, longest):
        at_length = replace(setup, max_model_len=length)
        layouts = [stage_layout(at_length, owned) for owned in stage_ranges(setup.shape, setup.pipeline_parallel_size)]
        expected, floor = (
            min(
                capacity(size, cache, length, setup.version, setup.context_parallel_size).concurrency
                for cache in layouts
            )
            for size in (found.kv_expected_bytes, found.kv_floor_bytes)
        )
        points.append(Point(length, expected, floor))
    return points


def curve_lengths(planned: int, longest: int) -> list[int]:
    """Lengths between 1,024 and `longest` in even steps on a logarithmic axis, the planned one among them."""
    last = max(planned, longest)
    length, lengths = float(min(SHORTEST, last)), {planned, last}
    while length < last:
        lengths.add(max(16, int(length) // 16 * 16))
        length *= 2**0.5
    return sorted(lengths)


def other_sizes(plan: Plan, devices: int) -> list[Alternative]:
    """The same model on more or fewer GPUs of the same kind."""
    setup = plan.setup
    most = max(MOST_GPUS, setup.tensor_parallel_size, devices)
    sizes = [size for size in valid_tensor_parallel_sizes(setup.shape, most) if _is_usual(size, setup)]
    return [
        _judged(replace(setup, tensor_parallel_size=size), f"tp {size}", is_planned=size == setup.tensor_parallel_size)
        for size in sizes
    ]


def _is_usual(size: int, setup: Setup) -> bool:
    return size & (size - 1) == 0 or size == setup.tensor_parallel_size


def other_formats(plan: Plan) -> list[Alternative]:
    """The same model with its weights, or its cache, kept in fewer bits, on the same GPUs."""
    setup = plan.setup
    own = setup.shape.quantization
    found = [_judged(setup, f"as it is ({_format_name(setup)})", is_planned=True)]
    for label, quantization in (("FP8", Quantization("fp8", 8.0)), ("AWQ, 4 bits", FOUR_BITS)):
        if own.bits <= quantization.bits + 0.5:
            continue
        narrowed = replace(setup, checkpoint=None, shape=replace(setup.shape, quantization=quantization))
        found.append(_judged(narrowed, f"{label} (estimate)"))
    if setup.kv_cache_dtype == "auto":
        found.append(_judged(replace(setup, kv_cache_dtype="fp8"), "KV cache in FP8"))
    return found


def _format_name(setup: Setup) -> str:
    quantization = setup.shape.quantization
    return f"{quantization.method}, {quantization.bits:.3g} bits" if quantization.is_quantized else setup.dtype


def other_cards(plan: Plan, files: ModelFiles, host: Host) -> list[Alternative]:
    """The same wish on as few as needed of each well-known card, at the planned context length."""
    values = {key: value for key, value in plan.wish.values.items() if key not in _OF_A_HOST}
    values.update(max_model_len=plan.setup.max_model_len, data_parallel_size=1)
    wish = replace(plan.wish, values=values)
    return [_on_card(name, wish, files, host) for name in CARDS]


def _on_card(name: str, wish: Wish, files: ModelFiles, host: Host) -> Alternative:
    imagined = replace(
        host,
        devices=imagined_devices(KNOWN_CARDS[name], MOST_GPUS),
        topology=None,
        reserved_bytes=0,
        running=None,
    )
    try:
        (found,) = plan_gpu([wish], [files], imagined)
    except SizingError as error:
        return Alternative(name, MOST_GPUS, problem=_short(error))
    size = found.setup.tensor_parallel_size
    return replace(_judged(found.setup, f"{size} × {name}"), gpus=size)


def _short(error: SizingError) -> str:
    if "does not fit" in error.message:
        return f"does not fit on {MOST_GPUS}"
    return f"{error.message}: {error.expected}" if error.expected else error.message


def _judged(setup: Setup, label: str, is_planned: bool = False) -> Alternative:
    found = estimate(setup)
    gpus = setup.tensor_parallel_size * setup.pipeline_parallel_size
    fits = found.account.kv_expected_bytes > 0 and found.expected.concurrency >= 1
    longest = longest_context(setup, found.account.kv_expected_bytes, 1.0, setup.shape.max_position or 32768)
    problem = ""
    if not fits:
        problem = f"one request fits up to {longest:,} tokens only" if longest else "does not fit"
    return Alternative(
        label,
        gpus,
        is_planned,
        found.account.weights_bytes,
        found.account.kv_expected_bytes if found.account.kv_expected_bytes > 0 else None,
        found.expected.tokens if fits else None,
        found.expected.concurrency if fits else None,
        longest or None,
        problem,
    )


def all_alternatives(plan: Plan, files: ModelFiles, host: Host) -> Mapping[str, Sequence[Alternative]]:
    """The tables by their titles; none on a CPU, whose cache has a size of its own."""
    if plan.setup.is_cpu:
        return {}
    return {
        "More or fewer GPUs of this kind": other_sizes(plan, len(host.devices)),
        "Weights or cache in fewer bits": other_formats(plan),
        "Other GPUs": other_cards(plan, files, host),
    }

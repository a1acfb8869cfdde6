"""Plans for a host that serves from its GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Optional

from .decide import (
    USEFUL_LENGTH,
    Notes,
    choose_batch,
    choose_dtype,
    choose_quantization,
    length_limit,
    longest_context,
    served_shape,
    whole_experts_remedy,
    with_unpredicted,
)
from .engine_config import engine_args, gpu_environment
from .errors import SizingError
from .estimate import GPU_BLOCK, Estimate, Setup, estimate
from .hardware import Device, is_linked
from .kv_cache import bytes_for_requests
from .parallelism import tensor_parallel_problem, valid_tensor_parallel_sizes
from .placement import Board, place
from .plans import Host, ModelFiles, Plan
from .profiles import Profile, profile
from .remedies import remedies, remedy_text
from .units import MIB, gib
from .wishes import Wish

# Bytes that an instance takes of a device at a tensor-parallel size; None when it does not fit.
_Booking = Callable[[int, Device], Optional[int]]

# A CUDA context, loaded kernels and what the driver keeps per process lie outside of the engine's budget.
PROCESS_RESERVE_BYTES = 600 * MIB
# Above this share little is left for a context and for fragmentation.
RISKY_UTILIZATION = 0.95


@dataclass(frozen=True)
class _Request:
    """A wish with everything decided that does not depend on the devices it gets."""

    wish: Wish
    files: ModelFiles
    purpose: Profile
    limit: int

    @property
    def stages(self) -> int:
        """Pipeline stages over all hosts."""
        return self.wish.integer("pipeline_parallel_size") or 1

    @property
    def nodes(self) -> int:
        """Hosts that share the instance; each has an equal part of its ranks."""
        return self.wish.integer("nodes") or 1

    @property
    def replicas(self) -> int:
        """Copies of the instance's ranks."""
        return self.wish.integer("data_parallel_size") or 1

    def devices_needed(self, tensor_parallel_size: int) -> int:
        """GPUs of this host that the instance takes."""
        return max(1, tensor_parallel_size * self.stages // self.nodes) * self.replicas

    def ranks(self, tensor_parallel_size: int) -> int:
        """GPUs that the instance takes, of all hosts."""
        return tensor_parallel_size * self.stages * self.replicas


def plan_gpu(wishes: Sequence[Wish], models: Sequence[ModelFiles], host: Host) -> list[Plan]:
    """Plans in the order of the wishes. Raises SizingError when one cannot be served."""
    requests = [
        _Request(
            wish,
            replace(files, shape=served_shape(wish, files.shape)),
            profile(wish.profile),
            length_limit(wish, files.shape),
        )
        for wish, files in zip(wishes, models)
    ]
    placed = _place_all(requests, host)
    placed, replicas = _fill_idle(requests, placed, host)
    shares = _shares(requests, placed, host)
    return [
        _finish(request, placed[index], replicas[index], shares[index], host) for index, request in enumerate(requests)
    ]


def _sizes(request: _Request, host: Host) -> list[int]:
    """Tensor-parallel sizes to try, in order. Raises SizingError when the operator's does not work."""
    wish, shape = request.wish, request.files.shape
    wished = wish.integer("tensor_parallel_size")
    indices = wish.values.get("gpu_indices")
    count = len(indices) if indices else (wish.integer("gpus") or 0)
    if wished is None and count:
        per_rank = request.stages * request.replicas
        count *= request.nodes
        if count % per_rank:
            raise SizingError(
                f"{wish.name}: {count} GPUs do not divide into {per_rank} stages and replicas",
                remedy="change gpus, pipeline_parallel_size or data_parallel_size",
            )
        wished = count // per_rank
    _check_mig(request, wished or 1, host)
    whole = _whole_cards(host)
    if wished is None and request.devices_needed(1) <= max(1, whole):
        most = max(1, whole * request.nodes // (request.stages * request.replicas))
        sizes = valid_tensor_parallel_sizes(shape, most)
        return list(reversed(sizes)) if request.purpose.prefers_wide_tensor_parallel else sizes
    wished = wished or 1
    problem = tensor_parallel_problem(shape, wished)
    if problem:
        allowed = valid_tensor_parallel_sizes(shape, max(8, wished))
        narrower = f"tensor_parallel_size: {max(size for size in allowed if size <= wished)}"
        raise SizingError(
            f"{wish.name}: tensor_parallel_size {wished} does not work: {problem}",
            expected="one of " + ", ".join(map(str, allowed)),
            found=str(wished),
            remedy="set " + " or ".join(filter(None, (narrower, whole_experts_remedy(shape, wished)))),
        )
    if request.devices_needed(wished) > len(host.devices):
        raise SizingError(
            f"{wish.name}: not enough GPUs",
            expected=f"{request.devices_needed(wished)} GPUs for tensor_parallel_size {wished}"
            + (f" in {request.replicas} replicas" if request.replicas > 1 else ""),
            found=f"{len(host.devices)} usable on this host",
            remedy=f"set replicas: {request.replicas - 1} or less"
            if request.replicas > 1
            else "leave tensor_parallel_size out and it is planned, or spread the model with nodes and "
            "pipeline_parallel_size",
        )
    return [wished]


def _whole_cards(host: Host) -> int:
    return sum(not device.is_mig for device in host.devices)


def _check_mig(request: _Request, size: int, host: Host) -> None:
    """Raises SizingError when ranks could only be placed on several MIG instances."""
    whole = _whole_cards(host)
    if whole < len(host.devices) and request.ranks(size) > 1 and request.devices_needed(size) > whole:
        raise _spans_mig(request, size)


def _spans_mig(request: _Request, size: int) -> SizingError:
    """CUDA shows a process one MIG instance only, and NCCL finds no way between those of a card."""
    settings = {
        "tensor_parallel_size": size,
        "pipeline_parallel_size": request.stages,
        "replicas": request.replicas,
    }
    wished = [name for name, count in settings.items() if count > 1]
    return SizingError(
        f"{request.wish.name}: a model cannot span MIG instances: CUDA shows a process one of them only",
        expected="one MIG instance for the model",
        found=", ".join(f"{name}: {settings[name]}" for name in wished),
        remedy="set " + " and ".join(f"{name}: 1" for name in wished) + ", or switch MIG off on its cards",
    )


def setup_for(request: _Request, device: Device, size: int, host: Host, notes: Notes) -> Setup:
    """The instance on that kind of device, at the longest context it may have and all of the device."""
    wish = request.wish
    files = with_unpredicted(wish, choose_quantization(wish, request.files, device.capability, notes))
    dtype = choose_dtype(wish, files.shape, device.capability, notes)
    sequences, tokens = choose_batch(wish, request.purpose, files.shape, notes, 16384)
    kv_cache_dtype = wish.text("kv_cache_dtype") or "auto"
    if kv_cache_dtype.startswith("fp8") and device.capability and device.capability < (8, 0):
        raise SizingError(
            f"{wish.name}: an fp8 KV cache needs a newer card",
            expected="compute capability 8.0 or higher",
            found=".".join(map(str, device.capability)),
            remedy="leave kv_cache_dtype out",
        )
    return Setup(
        shape=files.shape,
        checkpoint=files.checkpoint,
        total_bytes=device.total_bytes,
        utilization=wish.number("gpu_memory_utilization") or request.purpose.utilization,
        dtype=dtype,
        kv_cache_dtype=kv_cache_dtype,
        max_model_len=request.limit,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
        version=host.version,
        tensor_parallel_size=size,
        pipeline_parallel_size=wish.integer("pipeline_parallel_size") or 1,
        enforce_eager=wish.flag("enforce_eager"),
        capability=device.capability,
        is_unified=device.unified,
        block_size=wish.integer("block_size") or GPU_BLOCK,
        kv_cache_memory_bytes=wish.integer("kv_cache_memory_bytes"),
        measured_overhead_bytes=wish.integer("measured_overhead_bytes"),
    )


def _budget_needed(setup: Setup, concurrency: float, length: int, certain: bool = True) -> int:
    """The budget per device at which `concurrency` requests of `length` tokens fit, for certain or as
    predicted."""
    found = estimate(replace(setup, max_model_len=length, utilization=1.0, kv_cache_memory_bytes=None))
    account = found.account
    margin = account.kv_expected_bytes - account.kv_floor_bytes if certain else 0
    fixed = account.budget_bytes - account.kv_expected_bytes + margin
    if setup.kv_cache_memory_bytes is not None:
        return fixed - margin + setup.kv_cache_memory_bytes
    return fixed + bytes_for_requests(found.layout, concurrency)


@dataclass(frozen=True)
class _Level:
    """How well an instance has to be off: with as many full-length requests as its profile wants, with one
    for certain, or with one as predicted; on devices of its own or not."""

    comfortable: bool
    certain: bool
    alone: bool


_COMFORTABLE_ALONE = _Level(comfortable=True, certain=True, alone=True)
_CERTAIN_ALONE = _Level(comfortable=False, certain=True, alone=True)
_COMFORTABLE_SHARED = _Level(comfortable=True, certain=True, alone=False)
_CERTAIN_SHARED = _Level(comfortable=False, certain=True, alone=False)
_PREDICTED_ALONE = _Level(comfortable=False, certain=False, alone=True)
_PREDICTED_SHARED = _Level(comfortable=False, certain=False, alone=False)

# What is tried, one line after the other until all instances of the host find a place; within a line each
# instance takes the first level that it can have.
_PASSES = (
    (_COMFORTABLE_ALONE,),
    (_COMFORTABLE_ALONE, _CERTAIN_ALONE),
    (_CERTAIN_ALONE,),
    (_COMFORTABLE_ALONE, _CERTAIN_ALONE, _COMFORTABLE_SHARED, _CERTAIN_SHARED),
    (_CERTAIN_ALONE, _CERTAIN_SHARED),
    (_CERTAIN_ALONE, _CERTAIN_SHARED, _PREDICTED_ALONE, _PREDICTED_SHARED),
)


def _place_all(requests: Sequence[_Request], host: Host) -> list[tuple[int, tuple[int, ...]]]:
    """(tensor-parallel size, positions) of each request. Raises SizingError when one finds no place.

    Models whose GPUs the operator named come first, then the largest.
    """
    order = sorted(
        range(len(requests)),
        key=lambda index: (
            not requests[index].wish.values.get("gpu_indices"),
            -_weight_of(requests[index]),
            index,
        ),
    )
    board = _board(host)
    for levels in _PASSES:
        board = _board(host)
        placed: dict[int, tuple[int, tuple[int, ...]]] = {}
        for index in order:
            found = _place_one(requests[index], board, host, levels)
            if found is None:
                break
            placed[index] = found
        if len(placed) == len(requests):
            return [placed[index] for index in range(len(requests))]
    raise _refusal(requests[next(index for index in order if index not in placed)], board, host)


def _board(host: Host) -> Board:
    left = [max(0, device.total_bytes - host.reserved_bytes) for device in host.devices]
    return Board(host.devices, host.topology, left)


def _weight_of(request: _Request) -> int:
    checkpoint = request.files.checkpoint
    return checkpoint.total_bytes if checkpoint else request.files.shape.hidden * len(request.files.shape.layers)


def _wanted(request: _Request, comfortable: bool) -> tuple[float, int]:
    """Requests of which length have to fit."""
    wished = request.wish.number("concurrency")
    length = request.limit
    if request.wish.integer("max_model_len") is None:
        length = min(length, USEFUL_LENGTH)
    if comfortable:
        return wished or request.purpose.concurrency, length
    return 1.0, length if request.wish.integer("max_model_len") else min(length, 1024)


def _place_one(
    request: _Request, board: Board, host: Host, levels: Sequence[_Level]
) -> tuple[int, tuple[int, ...]] | None:
    sizes = _sizes(request, host)
    indices = request.wish.values.get("gpu_indices")
    for level in levels:
        needed = _remembered(partial(_booking, request, host, level))
        if indices:
            found = _pinned(request, board, sizes[0], indices, needed, alone=level.alone)
        else:
            tried = (_best(request, board, size, needed, alone=level.alone) for size in sizes)
            found = next(filter(None, tried), None)
        if found is not None:
            return found
    return None


def _best(
    request: _Request, board: Board, size: int, needed: _Booking, *, alone: bool
) -> tuple[int, tuple[int, ...]] | None:
    """The devices that suit the instance best, booked for it; None when it fits nowhere."""
    group = place(board, request.devices_needed(size), partial(needed, size), alone)
    if group is None:
        return None
    bookings = [needed(size, board.devices[position]) or 0 for position in group]
    board.take(request.wish.name, group, max(bookings))
    return size, group


def _remembered(booking: _Booking) -> _Booking:
    """The same, asked once per size and kind of device."""
    known: dict[tuple[int, str, int], int | None] = {}

    def answer(size: int, device: Device) -> int | None:
        key = (size, device.name, device.total_bytes)
        if key not in known:
            known[key] = booking(size, device)
        return known[key]

    return answer


def _booking(request: _Request, host: Host, level: _Level, size: int, device: Device) -> int | None:
    """Bytes that the instance takes of such a device at that level; None when it does not fit, or when the device
    is a MIG instance and the instance has several ranks."""
    if device.is_mig and request.ranks(size) > 1:
        return None
    fixed_share = request.wish.number("gpu_memory_utilization")
    try:
        setup = setup_for(request, device, size, host, Notes())
    except SizingError:
        # A card that cannot compute this is passed over if the host has others.
        if all(other.name == device.name for other in host.devices):
            raise
        return None
    need = _budget_needed(setup, *_wanted(request, level.comfortable), certain=level.certain)
    allowed = int((fixed_share or request.purpose.utilization) * device.total_bytes)
    if need > allowed:
        return None
    return allowed if fixed_share else need + PROCESS_RESERVE_BYTES


def _pinned(
    request: _Request,
    board: Board,
    size: int,
    indices: list[int],
    needed: _Booking,
    *,
    alone: bool,
) -> tuple[int, tuple[int, ...]] | None:
    """The devices that the operator named, if the instance fits there; of a card with MIG instances the one that
    suits best. Raises SizingError when they are not there or not as many as its ranks."""
    by_index = {device.index: position for position, device in enumerate(board.devices)}
    unknown = [index for index in indices if index not in by_index]
    if unknown:
        raise SizingError(
            f"{request.wish.name}: there is no GPU {unknown[0]}",
            expected="indices of " + ", ".join(map(str, sorted(by_index))),
            found=", ".join(map(str, indices)),
            remedy="correct gpu_indices",
        )
    group = tuple(by_index[index] for index in indices)
    if len(group) != request.devices_needed(size):
        raise SizingError(
            f"{request.wish.name}: gpu_indices names {len(group)} GPUs",
            expected=f"{request.devices_needed(size)} for tensor_parallel_size {size}",
            found=", ".join(map(str, indices)),
            remedy="name as many GPUs as the instance has ranks, or leave one of both out",
        )
    if any(board.devices[position].is_mig for position in group):
        if request.ranks(size) > 1:
            raise _spans_mig(request, size)
        return _best(request, board, size, _of_card(indices[0], needed), alone=alone)
    booked = 0
    for position in group:
        booking = needed(size, board.devices[position])
        if booking is None or booking > board.left_bytes[position]:
            return None
        booked = max(booked, booking)
    board.take(request.wish.name, group, booked)
    return size, group


def _of_card(index: int, booking: _Booking) -> _Booking:
    """The same for the devices of one card; no other has room."""
    return lambda size, device: booking(size, device) if device.index == index else None


def _refusal(request: _Request, board: Board, host: Host) -> SizingError:
    """Why the model cannot be placed, and what would help."""
    sizes = _sizes(request, host)
    device = max(host.devices, key=lambda device: device.total_bytes)
    setup = setup_for(request, device, max(sizes), host, Notes())
    concurrency, length = _wanted(request, comfortable=False)
    setup = replace(setup, max_model_len=length)
    need = _budget_needed(setup, concurrency, length)
    allowed = int(setup.utilization * device.total_bytes)
    taken = {name for users in board.users.values() for name in users}
    if need <= allowed and taken:
        return SizingError(
            f"{request.wish.name}: the GPUs of this host are taken",
            expected=f"{gib(need)} on {request.devices_needed(max(sizes))} GPU(s)",
            found="GPUs already given to " + ", ".join(sorted(taken)),
            remedy="move a model to another host, or lower gpu_memory_utilization of the others",
        )
    account = estimate(setup).account
    return SizingError(
        f"{request.wish.name} does not fit on {max(sizes)} × {device.name}",
        expected=f"{gib(need)} per GPU for weights ({gib(account.weights_bytes)}), overheads and one request "
        f"of {length} tokens",
        found=f"{gib(allowed)} ({setup.utilization:.2f} × {gib(device.total_bytes)})",
        remedy=remedy_text(remedies(setup, _whole_cards(host), replicas=request.replicas)),
    )


def _fill_idle(
    requests: Sequence[_Request], placed: list[tuple[int, tuple[int, ...]]], host: Host
) -> tuple[list[tuple[int, tuple[int, ...]]], list[int]]:
    """Give GPUs that nobody uses to more replicas of the models whose number the operator left open.

    Mixture-of-experts models are left alone: their replicas would share the experts between them.
    """
    replicas = [request.replicas for request in requests]
    placed = list(placed)
    used = {position for dummy, group in placed for position in group}
    open_requests = [
        index
        for index, request in enumerate(requests)
        if request.wish.integer("data_parallel_size") is None
        and not request.wish.values.get("gpu_indices")
        and request.wish.integer("gpus") is None
        and not request.files.shape.experts
        and (request.wish.integer("nodes") or 1) == 1
        and not any(set(placed[index][1]) & set(placed[other][1]) for other in range(len(requests)) if other != index)
    ]
    grown = True
    while grown:
        grown = False
        for index in open_requests:
            size, group = placed[index]
            kind = host.devices[group[0]]
            idle = [
                position
                for position, device in enumerate(host.devices)
                if position not in used and (device.name, device.total_bytes) == (kind.name, kind.total_bytes)
            ]
            ranks = size * requests[index].stages
            if len(idle) >= ranks and not kind.is_mig:
                extra = tuple(idle[:ranks])
                placed[index] = (size, group + extra)
                used.update(extra)
                replicas[index] += 1
                grown = True
    return placed, replicas


def _shares(requests: Sequence[_Request], placed: Sequence[tuple[int, tuple[int, ...]]], host: Host) -> list[float]:
    """gpu_memory_utilization of each: the profile's on a card of its own, a part of it on a shared one."""
    users: dict[int, list[int]] = {}
    for index, (_dummy, group) in enumerate(placed):
        for position in group:
            users.setdefault(position, []).append(index)
    shares = []
    for index, request in enumerate(requests):
        fixed = request.wish.number("gpu_memory_utilization")
        if fixed:
            shares.append(fixed)
            continue
        shares.append(
            min(
                _share_of(index, position, sharing=users[position], requests=requests, placed=placed, host=host)
                for position in placed[index][1]
            )
        )
    return shares


def _share_of(
    index: int,
    position: int,
    *,
    sharing: list[int],
    requests: Sequence[_Request],
    placed: Sequence[tuple[int, tuple[int, ...]]],
    host: Host,
) -> float:
    device = host.devices[position]
    reserve = host.reserved_bytes + len(sharing) * PROCESS_RESERVE_BYTES
    available = min(max(requests[other].purpose.utilization for other in sharing), 1 - reserve / device.total_bytes)
    if len(sharing) == 1:
        return math.floor(available * 1000) / 1000
    needs = {}
    for other in sharing:
        request = requests[other]
        fixed = request.wish.number("gpu_memory_utilization")
        if fixed:
            available -= fixed
            continue
        setup = setup_for(request, device, placed[other][0], host, Notes())
        needs[other] = _budget_needed(setup, *_wanted(request, comfortable=False)) / device.total_bytes
    left = max(0.0, available - sum(needs.values()))
    return math.floor((needs[index] + left / len(needs)) * 1000) / 1000


def _finish(request: _Request, placed: tuple[int, tuple[int, ...]], replicas: int, share: float, host: Host) -> Plan:
    size, group = placed
    wish = request.wish
    devices = [host.devices[position] for position in group]
    smallest = min(devices, key=lambda device: device.total_bytes)
    notes = Notes(warnings=list(wish.warnings))
    _explain_parallelism(request, size, replicas, devices, notes)
    setup = replace(
        setup_for(request, smallest, size, host, notes),
        utilization=share,
        is_linked=_spans_links(request, size, devices, host),
    )
    setup = _with_length(request, setup, notes)
    found = estimate(setup)
    _check_result(request, setup, found, notes, host)
    _check_free(request, setup, found.account.budget_bytes, devices, host=host, notes=notes)
    is_safe = found.is_safe
    return Plan(
        wish=wish,
        device="rocm" if smallest.vendor == "amd" else "cuda",
        gpu_indices=tuple(device.index for device in devices),
        setup=setup,
        estimate=found,
        data_parallel_size=replicas,
        engine_args=engine_args(wish, setup, replicas, is_cpu=False),
        environment=gpu_environment(wish, devices),
        confidence="normal" if is_safe else "low",
        reasons=tuple(notes.reasons),
        warnings=tuple(notes.warnings),
    )


def _spans_links(request: _Request, size: int, devices: Sequence[Device], host: Host) -> bool:
    """Whether NVLink joins the tensor-parallel ranks; it does not reach another host."""
    if request.stages % request.nodes:
        return False
    return is_linked(host.topology, [device.index for device in devices[:size]])


def _explain_parallelism(request: _Request, size: int, replicas: int, devices: Sequence[Device], notes: Notes) -> None:
    names = ", ".join(str(device.index) for device in devices)
    wish = request.wish
    if wish.integer("tensor_parallel_size") is not None:
        notes.because(f"tensor_parallel_size {size}: set by the operator.")
    elif wish.values.get("gpu_indices") or wish.integer("gpus"):
        notes.because(f"tensor_parallel_size {size}: all of the GPUs that the operator gave it.")
    elif request.purpose.prefers_wide_tensor_parallel:
        notes.because(f"tensor_parallel_size {size}: the largest that the model allows here, for low latency.")
    else:
        notes.because(f"tensor_parallel_size {size}: the smallest that holds the model and enough cache.")
    notes.because(
        f"GPU {names} ({devices[0].name}): unused and linked best."
        if len(devices) > 1
        else f"GPU {names} ({devices[0].name})."
    )
    if replicas > 1:
        how = "set by the operator" if wish.integer("data_parallel_size") else "the host's other GPUs were idle"
        notes.because(f"data_parallel_size {replicas}: {how}.")


def _with_length(request: _Request, setup: Setup, notes: Notes) -> Setup:
    """Set max_model_len: the operator's, or the longest of which the wished number of requests fits."""
    if request.wish.integer("max_model_len") is not None:
        notes.because(f"max_model_len {setup.max_model_len}: set by the operator.")
        return setup
    concurrency = request.wish.number("concurrency") or request.purpose.concurrency
    kv_bytes = estimate(setup).account.kv_floor_bytes
    for wanted in (concurrency, 1.0):
        length = longest_context(setup, kv_bytes, wanted, request.limit)
        if length:
            break
    if length >= request.limit:
        notes.because(f"max_model_len {length}: all that the model allows; {concurrency:g} request(s) of it fit.")
    else:
        notes.because(f"max_model_len {length}: the longest of which {wanted:g} requests fit.")
    return replace(setup, max_model_len=max(length, 1))


def _check_result(request: _Request, setup: Setup, found: Estimate, notes: Notes, host: Host) -> None:
    account, name = found.account, request.wish.name
    if account.kv_expected_bytes <= 0 or found.expected.concurrency < 1:
        raise SizingError(
            f"{name} does not fit",
            expected=f"room for one request of {setup.max_model_len} tokens "
            f"({gib(bytes_for_requests(found.layout, 1))} of KV cache)",
            found=f"{gib(account.kv_expected_bytes)} of {gib(account.budget_bytes)} are left for it",
            remedy=remedy_text(remedies(setup, _whole_cards(host), replicas=request.replicas)),
        )
    if found.floor.concurrency < 1:
        notes.warn(
            f"max_model_len {setup.max_model_len} fits as predicted, not if the prediction is off by its margin: "
            f"{found.floor.tokens} tokens are certain."
        )
    utilization = request.wish.number("gpu_memory_utilization")
    if utilization is not None:
        notes.because(f"gpu_memory_utilization {utilization}: set by the operator.")
        if utilization > RISKY_UTILIZATION:
            notes.warn(
                f"gpu_memory_utilization {utilization} leaves {gib(account.free_bytes)} for CUDA contexts and "
                "fragmentation; 0.90 to 0.95 is usual."
            )
    else:
        notes.because(
            f"gpu_memory_utilization {setup.utilization}: {gib(account.budget_bytes)} for the engine, "
            f"{gib(account.free_bytes)} stay free."
        )
    notes.because(
        f"KV cache {gib(account.kv_expected_bytes)}: budget {gib(account.budget_bytes)} − weights "
        f"{gib(account.weights_bytes)} − activations {gib(account.activation_bytes)} − CUDA graphs "
        f"{gib(account.cuda_graphs_bytes)} − outside of PyTorch {gib(account.non_torch_bytes)}."
    )
    for note in setup.shape.unsafe:
        notes.warn(f"estimate unsafe: {note}; more memory is held back.")


def _check_free(
    request: _Request, setup: Setup, budget: int, devices: Sequence[Device], *, host: Host, notes: Notes
) -> None:
    """The engine refuses to start when less is free than its budget. Memory that this host's own
    instances hold is no reason to refuse: they may be the ones that are replaced."""
    if host.running is not None and request.wish.name in host.running:
        return
    for device in devices:
        if device.free_bytes is None or device.free_bytes >= budget:
            continue
        held = device.total_bytes - device.free_bytes
        share = math.floor(max(0.0, device.free_bytes / device.total_bytes - 0.01) * 100) / 100
        text = f"GPU {device.index} has {gib(device.free_bytes)} free, starting needs {gib(budget)}"
        if host.running is None or host.running:
            notes.warn(f"{text}; this is in order if an instance to be replaced holds the rest.")
            continue
        raise SizingError(
            f"{request.wish.name}: another process holds {gib(held)} of GPU {device.index}",
            expected=f"{gib(budget)} free ({setup.utilization} × {gib(device.total_bytes)})",
            found=f"{gib(device.free_bytes)} free",
            remedy=f"stop that process, or keep clear of it with reserved_bytes: {held}, or set "
            f"gpu_memory_utilization: {share}",
        )

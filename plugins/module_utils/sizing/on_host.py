"""Plans for one host: what its facts say of it, and what earlier starts of its engines showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import SizingError
from .hardware import devices_from_facts
from .model_files import read_model
from .plan import plan_host
from .plans import Host
from .recalibration import learned, signature, told_apart
from .version import EngineVersion
from .wishes import parse_wishes

Wishes = Sequence[Mapping[str, Any]]


def host_from(facts: Mapping[str, Any], gpu: Mapping[str, Any], version: str, *, models: Wishes) -> Host:
    """Return the host as its facts describe it. Raises SizingError when a card is there and cannot be used.

    facts: memory_total_bytes, memory_available_bytes, cpu_count, numa_nodes, reserved_bytes, and running, the names of
    the instances that hold memory now, None where nobody knows. gpu: what the module gpu_facts returns.
    """
    problem = gpu.get("problem")
    wants_cpu = all((model.get("device") or "") == "cpu" for model in models)
    if problem and not gpu.get("devices") and not wants_cpu:
        raise SizingError(
            f"a GPU is there and cannot be used: {problem.get('message', problem)}",
            expected="a GPU whose driver works",
            found=str(problem.get("code", "a problem")),
            remedy=f"{problem.get('remedy', 'see gpu_facts')}; or set device: cpu for every model",
        )
    return Host(
        devices=() if wants_cpu else devices_from_facts(gpu),
        topology=gpu.get("topology"),
        memory_total_bytes=facts["memory_total_bytes"],
        memory_available_bytes=facts["memory_available_bytes"],
        cpu_count=facts["cpu_count"],
        numa_nodes=facts["numa_nodes"],
        version=EngineVersion.parse(version),
        reserved_bytes=facts["reserved_bytes"],
        running=None if facts["running"] is None else frozenset(facts["running"]),
    )


def plan_wishes(
    models: Wishes, facts: Mapping[str, Any], gpu: Mapping[str, Any], version: str, measurements: Mapping[str, int]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the plans of all models and what tells each configuration from others; reads the models' files.

    facts and gpu: as `host_from` has them. measurements: overheads in bytes by such a signature; where there is one the
    model is planned once more with it. Raises SizingError, and ValueError for what is no wish or no version.
    """
    wishes = parse_wishes(models)
    host = host_from(facts, gpu, version, models=models)
    files = [read_model(wish.model) for wish in wishes]
    first = [plan.as_dict() for plan in plan_host(wishes, files, host)]
    cards = [device.name for device in host.devices]
    signatures = {plan["name"]: signature(plan, version, cards) for plan in first}
    known = {name: measurements.get(text) for name, text in signatures.items()}
    if not any(known.values()):
        return first, signatures
    second = [
        learned(wish, plan, int(known[wish.name] or 0)) if known[wish.name] else wish
        for wish, plan in zip(wishes, first)
    ]
    plans = [plan.as_dict() for plan in plan_host(second, files, host)]
    for wish, before, plan in zip(wishes, first, plans):
        overhead_bytes = known[wish.name]
        if overhead_bytes:
            plan["reasons"] = told_apart(plan["reasons"], before["reasons"], wish, int(overhead_bytes))
    return plans, signatures

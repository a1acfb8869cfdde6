"""Plans for every host of an inventory, or for hosts only thought of; hosts that are alike are planned once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..engines import choice
from ..sizing.description import from_description
from ..sizing.errors import SizingError
from ..sizing.hardware import Device, devices_from_facts, imagined_devices
from ..sizing.plan import plan_host
from ..sizing.plan_gpu import PROCESS_RESERVE_BYTES
from ..sizing.plans import Host, ModelFiles, Plan
from ..sizing.profiles import PROFILES
from ..sizing.quantization import NOT_QUANTIZED
from ..sizing.shape import ModelShape
from ..sizing.units import MIB
from ..sizing.version import EngineVersion
from ..sizing.weights import stage_weights
from ..sizing.what_if import ImaginedGpus
from ..sizing.wishes import Wish, parse_wishes

# How a model's shape and weights are found: by repository or directory, and revision.
ModelSource = Callable[[str, str], "FoundModel"]


@dataclass(frozen=True)
class FoundModel:
    """A model's description, where it is from, and what is to be said about that; or why it could not be read."""

    files: ModelFiles | None
    origin: str = ""
    remark: str = ""
    problem: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of one wished model on one kind of host."""

    name: str
    model: str
    suited: choice.Choice
    origin: str = ""
    plan: Plan | None = None
    refusal: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: ModelFiles | None = None


@dataclass(frozen=True)
class Group:
    """Hosts that are alike, what they have, and what was planned for them by one engine."""

    engine: str
    hosts: tuple[str, ...]
    hardware: str
    host: Host
    outcomes: tuple[Outcome, ...]
    ollama: Mapping[str, Any] = field(default_factory=dict)
    refusal: Mapping[str, str] = field(default_factory=dict)

    @property
    def reserve_bytes(self) -> int:
        """What an engine's process takes of a device beside its budget, and what the operator keeps clear of."""
        return self.host.reserved_bytes + (0 if not self.host.devices else PROCESS_RESERVE_BYTES)


_ALL_OR_NONE = "Another model of this host is refused: the role serves none of them until that is mended."


def plan_fleet(hosts: Sequence[Mapping[str, Any]], source: ModelSource) -> list[Group]:
    """Plan every host; those of equal facts and wishes become one group, in the order of the inventory."""
    groups: dict[str, Group] = {}
    members: dict[str, list[str]] = {}

    def planned(key: str, entry: Mapping[str, Any], engine: str) -> Group:
        if key not in groups:
            groups[key] = _vllm_group(entry, source) if engine == "vllm" else _ollama_group(entry)
        return groups[key]

    for entry in hosts:
        for engine in ("vllm", "ollama"):
            if not entry.get(engine):
                continue
            idle = _idle(entry)
            key = _key(idle, engine)
            if idle.get("gpu") and not _has_room(planned(key, idle, engine), entry):
                key = _key(entry, engine)
            planned(key, entry, engine)
            members.setdefault(key, []).append(str(entry["name"]))
    kept = [replace(groups[key], hosts=tuple(names)) for key, names in members.items()]
    return _merged(kept)


def _idle(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The host as it would be if nobody used its GPUs."""
    gpu = entry.get("gpu") or {}
    devices = [
        {
            **device,
            "memory_free_bytes": None,
            "mig_devices": [{**part, "memory_free_bytes": None} for part in device.get("mig_devices") or ()],
        }
        for device in gpu.get("devices") or ()
    ]
    return {**entry, "gpu": {**gpu, "devices": devices}} if devices else dict(entry)


def _has_room(group: Group, entry: Mapping[str, Any]) -> bool:
    """Whether every plan that an idle host would get could start on this one as it is."""
    devices = devices_from_facts(entry.get("gpu") or {})
    if any(device.is_mig for device in devices):
        # Parts of one card share its index: they are looked at one by one.
        return False
    free = {device.index: device.free_bytes for device in devices}
    if group.engine != "vllm" or any(outcome.refusal for outcome in group.outcomes):
        return True
    return all(
        (free.get(index) or 0) >= outcome.plan.estimate.account.budget_bytes or free.get(index) is None
        for outcome in group.outcomes
        if outcome.plan is not None
        for index in outcome.plan.gpu_indices
    )


def _merged(groups: Sequence[Group]) -> list[Group]:
    """Groups that differ in facts, such as free memory, and not in what was planned, become one."""
    merged: dict[str, list[Group]] = {}
    for group in groups:
        planned = [
            (outcome.name, outcome.model, outcome.plan and outcome.plan.as_dict(), outcome.refusal, outcome.warnings)
            for outcome in group.outcomes
        ]
        told = [group.engine, group.hardware, str(group.host.version), planned, group.ollama, group.refusal]
        merged.setdefault(json.dumps(told, sort_keys=True, default=str), []).append(group)
    return [
        replace(alike[0], hosts=tuple(name for group in alike for name in group.hosts)) for alike in merged.values()
    ]


def imagined_group(
    gpus: ImaginedGpus,
    wishes: Sequence[Mapping[str, Any]],
    version: str,
    source: ModelSource,
    circumstances: Mapping[str, Any],
) -> Group:
    """A host that nobody has to have: cards of the table, and plenty of everything else."""
    card = gpus.card
    host = Host(
        devices=imagined_devices(card, gpus.count),
        memory_total_bytes=1024 * 1024 * MIB,
        cpu_count=64,
        version=EngineVersion.parse(version),
    )
    suiting = choice.Host(card.vendor, gpus.count, gpus.count * card.driver_mib * MIB, card.capability)
    return _planned((gpus.label,), gpus.label, host, _Wanted(wishes, {}, suiting, circumstances=circumstances), source)


@dataclass(frozen=True)
class _Wanted:
    """The wishes for a host, warnings about outdated names, the engine rules' view of the host, and revisions."""

    wishes: Sequence[Mapping[str, Any]]
    warnings: Mapping[str, Sequence[str]]
    suiting: choice.Host
    revisions: Mapping[str, str] = field(default_factory=dict)
    # What hosts told about their models, by name; and why some that are there cannot be read.
    found: Mapping[str, Any] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    # What the rules of the engine choice know beyond a wish: goal, effort and so on.
    circumstances: Mapping[str, Any] = field(default_factory=dict)


def _key(entry: Mapping[str, Any], engine: str) -> str:
    """Equal for hosts that get equal plans."""
    gpu = dict(entry.get("gpu") or {})
    unimportant = ("uuid", "pci_address")
    devices = [
        {
            **{key: value for key, value in device.items() if key not in unimportant},
            "mig_devices": [
                {key: value for key, value in part.items() if key not in unimportant}
                for part in device.get("mig_devices") or ()
            ],
        }
        for device in gpu.get("devices") or ()
    ]
    facts = [engine, entry[engine], gpu.get("vendor"), devices, gpu.get("topology"), gpu.get("problem")]
    if not devices:
        facts += [entry.get(key) for key in ("memory_total_bytes", "cpu_count", "numa_nodes", "memory_available_bytes")]
    return json.dumps(facts, sort_keys=True, default=str)


def _vllm_group(entry: Mapping[str, Any], source: ModelSource) -> Group:
    gpu, asked = entry.get("gpu") or {}, entry["vllm"]
    wants_cpu = all(model.get("device") == "cpu" for model in asked["wishes"]["models"])
    host = Host(
        devices=() if wants_cpu else devices_from_facts(gpu),
        topology=gpu.get("topology"),
        memory_total_bytes=int(entry.get("memory_total_bytes") or 0),
        memory_available_bytes=entry.get("memory_available_bytes"),
        cpu_count=int(entry.get("cpu_count") or 1),
        numa_nodes=int(entry.get("numa_nodes") or 1),
        version=EngineVersion.parse(str(asked["version"])),
        reserved_bytes=int(asked.get("reserved_bytes") or 0),
        running=frozenset(asked.get("running") or ()),
    )
    wanted = _Wanted(
        asked["wishes"]["models"],
        asked["wishes"].get("warnings") or {},
        choice.host_from_facts(gpu),
        {str(item["name"]): str(item.get("revision") or "main") for item in asked.get("sources") or ()},
        asked.get("found") or {},
        asked.get("problems") or {},
    )
    problem = gpu.get("problem")
    if problem and not gpu.get("devices") and not wants_cpu:
        refusal = {
            "message": f"a GPU is there and cannot be used: {problem.get('message', problem)}",
            "remedy": f"{problem.get('remedy', 'see gpu_facts')}; or set device: cpu",
        }
        return Group("vllm", (str(entry["name"]),), hardware(host), host, (), refusal=refusal)
    return _planned((str(entry["name"]),), hardware(host), host, wanted, source)


def hardware(host: Host) -> str:
    """A host's devices in a few words."""
    if not host.devices:
        return f"CPU, {host.cpu_count} processors, {host.memory_total_bytes / 1024**3:.0f} GiB of RAM"
    names: dict[str, int] = {}
    for device in host.devices:
        names[device.name] = names.get(device.name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in names.items())


def _planned(names: tuple[str, ...], label: str, host: Host, wanted: _Wanted, source: ModelSource) -> Group:
    empty = Group("vllm", names, label, host, ())
    try:
        wishes = parse_wishes(wanted.wishes)
    except SizingError as error:
        return replace(empty, refusal=error.as_dict())
    models = {wish.name: _find(wish, wanted, source) for wish in wishes}
    plans, refusals = _plan_what_fits(wishes, models, host)
    outcomes = [_outcome(wish, models[wish.name], plans, refusals, wanted) for wish in wishes]
    if plans and refusals:
        outcomes = [
            replace(outcome, warnings=(*outcome.warnings, _ALL_OR_NONE)) if outcome.plan else outcome
            for outcome in outcomes
        ]
    return replace(empty, outcomes=tuple(outcomes))


def _find(wish: Wish, wanted: _Wanted, source: ModelSource) -> FoundModel:
    if wish.name in wanted.problems:
        return FoundModel(None, problem={"message": wanted.problems[wish.name]})
    told = wanted.found.get(wish.name)
    if told:
        return found_model(told, f"{told.get('path') or wish.model} on the host")
    return source(wish.model, wanted.revisions.get(wish.name, "main"))


def found_model(told: Mapping[str, Any], origin: str, remark: str = "") -> FoundModel:
    """A described model, or why its description is none."""
    try:
        return FoundModel(from_description(told), origin, remark)
    except SizingError as error:
        return FoundModel(None, origin, problem=error.as_dict())


def _plan_what_fits(
    wishes: Sequence[Wish], models: Mapping[str, FoundModel], host: Host
) -> tuple[dict[str, Plan], dict[str, Mapping[str, str]]]:
    """Plans by name, and refusals. The role refuses the whole list; here the rest is planned all the same."""
    refusals: dict[str, Mapping[str, str]] = {}
    left = []
    for wish in wishes:
        if models[wish.name].files is None:
            refusals[wish.name] = models[wish.name].problem
        else:
            left.append(wish)
    while left:
        files = [found for found in (models[wish.name].files for wish in left) if found is not None]
        try:
            return {plan.wish.name: plan for plan in plan_host(left, files, host)}, refusals
        except SizingError as error:
            culprits = [wish for wish in left if _is_about(error, wish)] or left
            for wish in culprits:
                refusals[wish.name] = error.as_dict()
            left = [wish for wish in left if wish not in culprits]
    return {}, refusals


def _is_about(error: SizingError, wish: Wish) -> bool:
    return error.message.startswith((f"{wish.name}:", f"{wish.name} "))


def _outcome(
    wish: Wish,
    found: FoundModel,
    plans: Mapping[str, Plan],
    refusals: Mapping[str, Mapping[str, str]],
    wanted: _Wanted,
) -> Outcome:
    plan, files = plans.get(wish.name), found.files
    suited = choice.choose(wanted.suiting, _suiting_wish(wish, files, wanted.circumstances))
    warnings = (*wanted.warnings.get(wish.name, ()), *([found.remark] if found.remark else []))
    outcome = Outcome(wish.name, wish.model, suited, found.origin, warnings=warnings)
    if plan is None or files is None:
        return replace(outcome, refusal=refusals.get(wish.name, {}))
    return replace(outcome, plan=plan, files=files, warnings=(*warnings, *plan.warnings))


def parameters(shape: ModelShape) -> int:
    """Parameters of the language model, as its shape has them."""
    plain = replace(shape, quantization=NOT_QUANTIZED)
    return stage_weights(plain, [plain.layers], 1, None, "bfloat16")[0].total_bytes // 2


def _suiting_wish(wish: Wish, files: ModelFiles | None, circumstances: Mapping[str, Any]) -> choice.Wish:
    """The wish as the rules of the engine choice see it."""
    concurrency = wish.number("concurrency") or wish.integer("max_num_seqs")
    if concurrency is None and wish.profile == "throughput":
        concurrency = PROFILES["throughput"].sequences
    known = {
        "parameters": parameters(files.shape) if files else None,
        "weights_bytes": files.checkpoint.total_bytes if files and files.checkpoint else None,
        "format": "safetensors" if files and files.checkpoint and files.checkpoint.tensors else None,
        "concurrency": int(concurrency) if concurrency is not None else None,
        "latency_sensitive": True if wish.profile == "latency" else None,
    }
    return choice.Wish(wish.name, **{**known, **circumstances})


def _ollama_group(entry: Mapping[str, Any]) -> Group:
    """Ollama's plan was made on the host, where its files are; here it is told, with the engine that suits."""
    planned = entry["ollama"]
    suiting = choice.host_from_facts(entry.get("gpu") or {})
    devices: tuple[Device, ...] = devices_from_facts(entry.get("gpu") or {})
    host = Host(
        devices=devices,
        memory_total_bytes=int(entry.get("memory_total_bytes") or 0),
        cpu_count=int(entry.get("cpu_count") or 1),
    )
    models = (planned.get("memory") or {}).get("models") or ()
    several = len(models) > int((planned.get("environment") or {}).get("OLLAMA_MAX_LOADED_MODELS") or 1)
    outcomes = [
        Outcome(
            str(model["name"]),
            str(model["name"]),
            choice.choose(
                suiting,
                choice.Wish(
                    str(model["name"]),
                    weights_bytes=model.get("weights_bytes"),
                    concurrency=model.get("parallel"),
                    switches_models=True if several else None,
                ),
            ),
        )
        for model in models
    ]
    return Group("ollama", (str(entry["name"]),), hardware(host), host, tuple(outcomes), ollama=planned)

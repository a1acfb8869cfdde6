"""Entries of `vllm_models`: what is wrong with them, and what planner and engine get to see of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.addresses import HIGHEST_PORT, is_host, is_port
from ..support.hidden import is_hidden
from . import members
from .instances import InstanceError, check_name
from .options import did_you_mean, spell, translate

# Options that planning does not know, and that are worth a key of their own all the same.
PASSED_ON = ("enable_log_requests",)
# Options that vLLM no longer has, in the spelling of the key; extra_args may hold any.
OUTDATED = ("disable_log_requests", "swap_space", "num_scheduler_steps", "use_v2_block_manager", "worker_use_ray")
# Keys that say where a model comes from, and how its instance is kept; planning does not want them.
SOURCE = ("revision", "verify", "allow_patterns", "ignore_patterns", "allow_pickle")
KEPT_BACK = (*SOURCE, "state", "secrets", "model", "members")
DEFAULT_PORT = 8000
# The keys of an entry and the role's variables, as its specification has them: reading that takes a run longer than
# everything else that is done with them.
KEYS = (
    "name",
    "model",
    "revision",
    "verify",
    "allow_patterns",
    "ignore_patterns",
    "allow_pickle",
    "state",
    "members",
    "host",
    "port",
    "served_model_name",
    "profile",
    "device",
    "gpus",
    "gpu_indices",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "concurrency",
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "cpu_kv_cache_gib",
    "block_size",
    "measured_overhead_bytes",
    "enforce_eager",
    "trust_remote_code",
    "enable_log_requests",
    "disable_log_requests",
    "swap_space",
    "num_scheduler_steps",
    "use_v2_block_manager",
    "worker_use_ray",
    "environment",
    "secrets",
    "extra_args",
)
VARIABLES = (
    "vllm_state",
    "vllm_models",
    "vllm_model_defaults",
    "vllm_tuned",
    "vllm_variant",
    "vllm_version",
    "vllm_requirements",
    "vllm_allow_vulnerable",
    "vllm_python",
    "vllm_keep",
    "vllm_keep_generations",
    "vllm_install_environment",
    "vllm_packages",
    "vllm_host",
    "vllm_api_key",
    "vllm_environment",
    "vllm_alloc_conf",
    "vllm_reserved_gib",
    "vllm_recalibrate",
    "vllm_unit_settings",
    "vllm_checks",
    "vllm_start_timeout_seconds",
    "vllm_hang_seconds",
    "vllm_member_address",
    "vllm_defer_changes",
)


@dataclass(frozen=True)
class Wishes:
    """What vllm_plan is asked for, and sentences about outdated names."""

    models: list[dict[str, Any]]
    warnings: dict[str, list[str]]


def wanted(entries: Sequence[Mapping[str, Any]], state: str = "present") -> list[dict[str, Any]]:
    """Return the entries of that state; what a validated entry leaves open is None and dropped."""
    filled = [
        {key: value for key, value in entry.items() if value is not None}
        for entry in entries
        if isinstance(entry, Mapping)  # entry_problems tells of others
    ]
    return [entry for entry in filled if entry.get("state", "present") == state]


def tuned(entries: Sequence[Any], settings: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return the entries with these settings, by the models' names, in the place of their own."""
    return [
        {**entry, **settings.get(str(entry.get("name")), {})} if isinstance(entry, Mapping) else entry
        for entry in entries
    ]


def models(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries for the role models."""
    keys = ("name", "model", "trust_remote_code", *SOURCE)
    return [{key: entry[key] for key in keys if key in entry} for entry in wanted(entries)]


def entry_problems(entries: Sequence[Mapping[str, Any]], known: Collection[str]) -> list[str]:
    """Return a sentence for everything that is wrong with the entries by themselves."""
    if not isinstance(entries, (list, tuple)):
        return [f"vllm_models: expected a list of models, found {entries!r}"]
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, Mapping):
            problems.append(f"vllm_models, entry {number}: expected name, model and so on, found {entry!r}")
            continue
        label = f"vllm_models, {entry.get('name') or f'entry {number}'}"
        problems += [f"{label}: there is no key {key!r}{did_you_mean(key, known)}" for key in entry if key not in known]
        for key in ("name", "model"):
            if not entry.get(key):
                problems.append(f"{label}: expected {key}, found nothing")
            elif not isinstance(entry[key], str):
                problems.append(f"{label}: expected {key} to be text, found {entry[key]!r}: put it in quotes")
        port = entry.get("port")
        if port is not None and not is_port(port):
            problems.append(f"{label}: expected a port from 1 to {HIGHEST_PORT}, found {port!r}")
        host = entry.get("host")
        if host is not None and not is_host(str(host)):
            problems.append(f"{label}: expected host to be an address of this host, found {host!r}")
        try:
            check_name(str(entry.get("name", "")))
        except InstanceError as error:
            problems.append(f"{label}: {error}")
        if is_hidden(Path(str(entry.get("model", "")))):
            problems.append(
                f"{label}: services may not look into {entry['model']}: move the model, to /srv for instance"
            )
    served = wanted(entries)
    for key, default in (("name", None), ("port", DEFAULT_PORT)):
        values = [entry.get(key, default) for entry in served]
        for value in sorted({value for value in values if value is not None and values.count(value) > 1}, key=str):
            names = [str(entry.get("name")) for entry, other in zip(served, values) if other == value]
            problems.append(f"vllm_models: {' and '.join(names)} both have the {key} {value}: change one of them")
    return problems


def unknown_variables(names: Collection[str], known: Collection[str], prefix: str = "vllm_") -> list[str]:
    """Return a sentence for each variable that looks like one of the role's and is none."""
    return [
        f"there is no variable {name}{did_you_mean(name, known)}"
        for name in sorted(names)
        if name.startswith(prefix) and name not in known
    ]


def port_problems(
    entries: Sequence[Mapping[str, Any]], listeners: Sequence[Mapping[str, Any]], own: Collection[str] = ()
) -> list[str]:
    """Return a sentence for each port that somebody else than an instance of ours listens on.

    `own` names the instances that the host has: they give their ports up when they are restarted or removed.
    """
    units = {f"vllm@{name}.service" for name in own}
    problems = []
    for entry in wanted(entries):
        port = int(entry.get("port", DEFAULT_PORT))
        for listener in listeners:
            if listener["port"] == port and listener["unit"] not in units:
                who = listener["unit"] or listener["process"] or "a process of another namespace"
                pid = f" (process {listener['pid']})" if listener["pid"] else ""
                problems.append(
                    f"{entry['name']}: expected port {port} to be free, found {who}{pid} listening on it:"
                    " stop it or set another port"
                )
    return problems


def path_problems(entries: Sequence[Mapping[str, Any]], missing: Collection[str]) -> list[str]:
    """Return a sentence for each model whose directory is not there."""
    return [
        f"{entry['name']}: expected a model in {entry['model']}, found no such directory: correct model"
        for entry in wanted(entries)
        if str(entry["model"]) in missing
    ]


def wishes(
    entries: Sequence[Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    host: str,
    *,
    here: str = "",
    variables: members.Variables = lambda _host: {},
) -> Wishes:
    """Return what to ask vllm_plan for: the entries with their models' directories, old names translated.

    `found` is what the role models said about each. `here` is the host's name, `variables` knows those of its fellows.
    """
    asked_for: list[dict[str, Any]] = []
    warnings: dict[str, list[str]] = {}
    for entry in wanted(entries):
        merged = {**defaults, **entry}
        name = str(merged["name"])
        options = {key: merged.pop(key) for key in (*PASSED_ON, *OUTDATED) if key in merged}
        if members.is_shared(merged):
            planned, joined = members.part(merged, here, int(merged.get("port") or DEFAULT_PORT), variables)
            merged = {**merged, **planned, "extra_args": {**joined, **(merged.get("extra_args") or {})}}
        translation = translate({**options, **(merged.pop("extra_args", None) or {})})
        asked = {key: value for key, value in merged.items() if key not in KEPT_BACK}
        asked_for.append(
            {
                "host": host,
                "port": DEFAULT_PORT,
                **asked,
                "model": str(found.get(name, {}).get("path") or merged["model"]),
                "extra_args": {spell(key): value for key, value in translation.options.items()},
            }
        )
        warnings[name] = list(translation.warnings)
    return Wishes(asked_for, warnings)


def secrets(entries: Sequence[Mapping[str, Any]], of_host: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what nobody may see, by instance."""
    return {str(entry["name"]): {**of_host, **(entry.get("secrets") or {})} for entry in wanted(entries)}


def instances(
    entries: Sequence[Mapping[str, Any]],
    plans: Sequence[Mapping[str, Any]],
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the instances for vllm_instances: a plan's options and variables, and the host's own."""
    own_secrets = {str(entry["name"]): entry.get("secrets") or {} for entry in wanted(entries)}
    return [
        {
            "name": plan["name"],
            "config": dict(plan["engine_args"]),
            "environment": {**environment, **plan["environment"]},
            "secrets": {**secrets, **own_secrets.get(plan["name"], {})},
        }
        for plan in plans
    ]


def endpoints(
    plans: Sequence[Mapping[str, Any]], timeout_seconds: float, checks: Sequence[str], config_dir: str
) -> list[dict[str, Any]]:
    """Return how to see that each instance serves: where, by which name, and how long to wait for it.

    The first host of a model that several share answers for all of them.
    """
    return [
        {
            "name": plan["name"],
            "unit": f"vllm@{plan['name']}.service",
            "url": url(plan),
            "model": plan["engine_args"].get("served-model-name", plan["name"]),
            "checks": list(checks),
            "wait_seconds": start_timeout_seconds(plan, timeout_seconds),
            "environment_file": f"{config_dir}/{plan['name']}.env",
        }
        for plan in plans
        if not plan["engine_args"].get("headless")
    ]


def url(plan: Mapping[str, Any]) -> str:
    """Return where an instance answers, as seen from its own host."""
    options = plan["engine_args"]
    host = str(options.get("host") or "127.0.0.1")
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    scheme = "https" if options.get("ssl-certfile") else "http"
    return f"{scheme}://{local}:{options.get('port', DEFAULT_PORT)}"


def start_timeout_seconds(plan: Mapping[str, Any], setting: float) -> int:
    """Return how long an instance may take to load: from the size of its weights, unless it is set.

    Ten minutes for starting Python, compiling and capturing graphs, and 8 seconds per GiB, which is a spinning disk.
    """
    if setting:
        return int(setting)
    weights_bytes = (plan.get("memory") or {}).get("weights_bytes") or 0
    ranks = int(plan["tensor_parallel_size"]) * int(plan["pipeline_parallel_size"])
    return 600 + 8 * round(weights_bytes * ranks / (1 << 30))

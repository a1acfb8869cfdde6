"""What an instance of vLLM was told by its command line and environment, as an entry of `vllm_models`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import basename

from ..engines.entries import KEYS, PASSED_ON
from ..engines.options import spell, translate
from .commands import SECRET_OPTIONS

NUMBERS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "max_num_seqs", "block_size", "port")
LENGTHS = ("max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes")
FLOATS = ("gpu_memory_utilization",)
SWITCHES = ("enforce_eager", "trust_remote_code", *PASSED_ON, "disable_log_requests")
SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-q": "quantization",
}
# Keys of an entry that are options of vLLM, too.
OPTION_KEYS = frozenset(KEYS) - {"name", "model", "state", "secrets", "environment", "extra_args", "gpus", "profile"}
SECRET_NAME = re.compile(r"(TOKEN|API_KEY|PASSWORD|SECRET)", re.IGNORECASE)
# What the role sets itself, or what has done nothing for long.
REPLACED = {
    "HF_HUB_ENABLE_HF_TRANSFER": "hf_transfer is gone from the Hub's client; downloads are fast without it",
    "VLLM_USE_V1": "there is only one engine now",
    "VLLM_WORKER_MULTIPROC_METHOD": "vLLM chooses it itself",
    "VLLM_ATTENTION_BACKEND": "set attention-backend in extra_args if it is still wanted",
}
OWN = ("HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "TRANSFORMERS_CACHE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")
KEPT_PREFIXES = ("VLLM_", "NCCL_", "OMP_", "GLOO_", "TORCH_", "CUDA_", "HF_HUB_", "PYTORCH_")
LENGTH = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)(i?)")
MULTIPLES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
DEFAULT_ALLOC_CONF = "expandable_segments:True,max_split_size_mb:256"  # the role's own default
NAME_LIMIT = 40
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what was found


@dataclass
class Instance:
    """An entry of `vllm_models`, variables of the host beside it, and what there is to say. `model` is as written."""

    model: str
    entry: dict[str, object] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def vllm_entry(arguments: Sequence[str], environment: Mapping[str, str], unit: str) -> Instance:
    """Say a command line in an entry's keys. Secrets are named and never repeated."""
    options, positional = parse(arguments)
    model = str(options.pop("model", "") or (positional[0] if positional else ""))
    result = Instance(model)
    secrets = [name for name in map(spell, SECRET_OPTIONS) if options.pop(name, None) is not None]
    translation = translate({spell_key(name): value for name, value in options.items()})
    result.warnings += list(translation.warnings)
    extra: dict[str, object] = {}
    for written, value in translation.options.items():
        key = spell_key(spell(written))
        if key in ("served_model_name", "model"):
            continue
        if key == "max_model_len" and str(value) in ("auto", "-1"):
            result.warnings.append("max_model_len auto is left out: the longest that fits is planned")
        elif key in OPTION_KEYS:
            result.entry[key] = typed(key, value)
        else:
            extra[spell(written)] = plain(value)
    if not result.entry.get("enable_log_requests", True):
        del result.entry["enable_log_requests"]  # off is the default today
    served = options.get("served-model-name")
    names = served if isinstance(served, list) else str(served or "").split()
    result.entry = {
        "name": instance_name(names[0] if names else basename(model) or unit),
        "model": model,
        **result.entry,
    }
    if names and names != [result.entry["name"]]:
        result.entry["served_model_name"] = " ".join(names)
    if extra:
        result.entry["extra_args"] = extra
    _environment(result, environment, secrets)
    _host(result)
    return result


def parse(arguments: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """Read `--name value`, `--name=value` and flags into options by their spelling in configuration files."""
    options: dict[str, object] = {}
    positional: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        written, separator, value = word.partition("=")
        name = spell(SHORT.get(written, written))
        values: list[str] = [value] if separator else []
        while not separator and index < len(arguments) and not _is_option(arguments[index]):
            values.append(arguments[index])
            index += 1
            if name not in ("served-model-name", "allowed-origins", "cuda-graph-sizes", "lora-modules"):
                break
        negated = name.startswith("no-") and not values
        content: object = values if len(values) > 1 else (values[0] if values else not negated)
        options[name[3:] if negated else name] = content
    return options, positional


def typed(key: str, value: object) -> object:
    """Give an option's value the type of the entry's key; what does not fit stays text, and the role will refuse it."""
    text = str(value)
    try:
        if key in NUMBERS:
            return int(text)
        if key in LENGTHS:
            return length(text)
        if key in FLOATS:
            return float(text)
    except ValueError:
        return text
    if key in SWITCHES:
        return text.lower() in ("true", "1", "yes", "")
    return value


def length(text: str) -> int:
    """Read 8192, 8k (8,000) and 8K (8,192), as vLLM does; `auto` is -1 there. Raises ValueError."""
    match = LENGTH.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    power = MULTIPLES[match[2].lower()]
    base = 1024 if match[2].isupper() or match[3] else 1000
    return int(float(match[1]) * base**power)


def plain(value: object) -> object:
    """Read numbers, truth and JSON out of text."""
    if not isinstance(value, str):
        return value
    if value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


def spell_key(name: str) -> str:
    """The spelling of a key: disable-log-requests → disable_log_requests."""
    return name.replace("-", "_")


def instance_name(text: str) -> str:
    """Make a unit's name of what clients call a model."""
    cleaned = re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.")
    return cleaned[:NAME_LIMIT].rstrip("-.") or "model"


def _is_option(word: str) -> bool:
    return word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word)


def _environment(result: Instance, environment: Mapping[str, str], secrets: Sequence[str]) -> None:
    kept: dict[str, str] = {}
    for name, value in sorted(environment.items()):
        if name in OWN or (not name.startswith(KEPT_PREFIXES) and name not in ("HIP_VISIBLE_DEVICES", "HF_TOKEN")):
            continue
        if SECRET_NAME.search(name):
            secrets = [*secrets, name]
        elif name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
            _cards(result, name, value)
        elif name in REPLACED:
            result.warnings.append(f"{name} is left out: {REPLACED[name]}")
        elif name == "HF_HUB_DISABLE_XET":
            if value.lower() in ("1", "true", "yes", "on"):
                result.variables["models_xet"] = False
        elif name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
            if value != DEFAULT_ALLOC_CONF:
                result.variables["vllm_alloc_conf"] = value
        else:
            kept[name] = value
    if kept:
        result.entry["environment"] = kept
    for name in secrets:
        _secret(result, name)


def _cards(result: Instance, name: str, value: str) -> None:
    items = [item.strip() for item in value.split(",") if item.strip()]
    if items and all(item.isdigit() for item in items):
        result.entry["gpu_indices"] = [int(item) for item in items]
    elif items:
        result.warnings.append(f"{name}={value} names cards by something else than numbers: set gpu_indices")


def _secret(result: Instance, name: str) -> None:
    if name in ("api-key", "VLLM_API_KEY"):
        result.variables["vllm_api_key"] = "{{ vault_vllm_api_key }}"
        result.warnings.append(
            "an API key stands in the clear in the old unit or script: put it, or better a new one, into a vault as "
            "vault_vllm_api_key"
        )
    elif name in ("hf-token", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        result.variables["models_hub_token"] = "{{ vault_models_hub_token }}"  # noqa: S105 - a template
        result.warnings.append(
            "a token of the Hub stands in the clear in the old unit or script: put it into a vault as "
            "vault_models_hub_token"
        )
    else:
        result.warnings.append(
            f"{name} looks like a secret and is left out: put it into the entry's secrets, from a vault"
        )


def _host(result: Instance) -> None:
    host = str(result.entry.setdefault("host", EVERY_ADDRESS))  # vLLM's own default
    if host in (EVERY_ADDRESS, "::"):
        result.warnings.append(
            f"it listens on {host}, for everybody who reaches the host: behind the gateway, take host out"
        )
    elif host in ("127.0.0.1", "localhost"):
        del result.entry["host"]

"""The server's environment: what it reads, what it no longer reads, and whether it is in force.

Old names are translated into what does their job today; each translation is told with both names. The table
is that of `envconfig` in Ollama 0.32. What the server runs with is read from its own «server config» line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Any

from ..support.passwords import has_password
from .values import FALSE, FOREVER_SECONDS, TRUE, OllamaError, address, duration_seconds, size_bytes, switch

MIB = 1024**2
GIB = 1024**3
LEAST_FREE_BYTES = GIB  # what llama.cpp keeps free of every card unless told otherwise
CONFIG_LINE = re.compile(r'msg="server config" env="?(map\[.*\])')
CONFIG_KEY = re.compile(r"(?:^| )([A-Z][A-Z0-9_]+|https?_proxy|no_proxy):")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The folder of the models is given to the server's user, and removed with them.
SYSTEM_FOLDERS = frozenset(
    (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin"),
        *("srv", "sys", "tmp", "usr", "usr/share", "var", "var/lib"),
    )
)
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"})
ALSO_VISIBLE = ("HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES"}

Check = Callable[[str], object]


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text):
        raise OllamaError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def _switch(text: str) -> bool:
    if text and text not in TRUE | FALSE:
        raise OllamaError(f"expected true or false, found {text!r}")
    return switch(text)


def _level(text: str) -> str:
    if text in TRUE:
        return "DEBUG"
    if not text or text in FALSE:
        return "INFO"
    if not re.fullmatch("[0-9]{1,3}", text):
        raise OllamaError(f"expected true, false or a level such as 2, found {text!r}")
    steps = int(text) - 1
    return "DEBUG" if not steps else f"DEBUG-{4 * steps}"


def _load_timeout(text: str) -> float:
    """Seconds; 0 is for ever here (envconfig.LoadTimeout), while it is 0 in OLLAMA_KEEP_ALIVE."""
    return duration_seconds(text) or FOREVER_SECONDS


def _text(text: str) -> str:
    return text


# What the server reads, and how: two values are the same setting when they read the same.
READ_AS: Mapping[str, Check] = {
    "OLLAMA_AUTH": _switch,
    "OLLAMA_CLOUD_BASE_URL": _text,
    "OLLAMA_CONTEXT_LENGTH": _count,
    "OLLAMA_DEBUG": _level,
    "OLLAMA_DEBUG_LOG_REQUESTS": _switch,
    "OLLAMA_EDITOR": _text,
    "OLLAMA_EXPERIMENT": _text,
    "OLLAMA_FLASH_ATTENTION": _switch,
    "OLLAMA_GO_TEMPLATE": _switch,
    "OLLAMA_GPU_OVERHEAD": _count,
    "OLLAMA_HOST": address,
    "OLLAMA_IGPU_ENABLE": _text,
    "OLLAMA_KEEP_ALIVE": duration_seconds,
    "OLLAMA_KV_CACHE_TYPE": _text,
    "OLLAMA_LLM_LIBRARY": _text,
    "OLLAMA_LOAD_TIMEOUT": _load_timeout,
    "OLLAMA_MAX_LOADED_MODELS": _count,
    "OLLAMA_MAX_QUEUE": _count,
    "OLLAMA_MAX_TRANSFER_STREAMS": _count,
    "OLLAMA_MODELS": _text,
    "OLLAMA_NOHISTORY": _switch,
    "OLLAMA_NOPRUNE": _switch,
    "OLLAMA_NO_CLOUD": _switch,
    "OLLAMA_NUM_PARALLEL": _count,
    "OLLAMA_ORIGINS": _text,
    "OLLAMA_REMOTES": _text,
    "OLLAMA_SCHED_SPREAD": _switch,
    "OLLAMA_VULKAN": _switch,
    "LLAMA_ARG_FIT": _text,
    "LLAMA_ARG_FIT_TARGET": _text,
}
MAX_VRAM, NUM_GPU, GPU_LAYERS = "OLLAMA_MAX_VRAM", "OLLAMA_NUM_GPU", "OLLAMA_GPU_LAYERS"
RETIRED = (MAX_VRAM, NUM_GPU, GPU_LAYERS)


@dataclass(frozen=True)
class Gpu:
    """A card, or a MIG instance of one. None where its memory is unknown."""

    index: int
    name: str
    memory_total_bytes: int | None
    uuid: str = ""


@dataclass
class Settings:
    """The environment on its way to the server, and what there is to say about it.

    layers: layers per model that go to the GPU, the parameter `num_gpu` of every model that has none.
    """

    environment: dict[str, str]
    layers: int | None = None
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def gpus_from(gpu: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Return the cards of `ansible_facts.gpu`; a card that is split counts as its MIG instances."""
    found = []
    for device in gpu.get("devices") or []:
        for part in device.get("mig_devices") or [device]:
            found.append(
                Gpu(device["index"], part.get("name") or "GPU", part.get("memory_total_bytes"), part.get("uuid") or "")
            )
    return tuple(found)


def settings(wanted: Mapping[str, object], vendor: str | None, gpus: Sequence[Gpu]) -> Settings:
    """Check the operator's variables and translate the retired ones. Raises OllamaError."""
    result = Settings({name: _as_text(name, value) for name, value in wanted.items() if value is not None})
    if "OLLAMA_GPU_OVERHEAD" in result.environment:
        result.environment["OLLAMA_GPU_OVERHEAD"] = str(size_bytes(result.environment["OLLAMA_GPU_OVERHEAD"]))
    for name, value in result.environment.items():
        _check(name, value)
    _translate_num_gpu(result, vendor, gpus)
    _translate_max_vram(result, gpus)
    _translate_layers(result)
    unknown = [name for name in result.environment if name.startswith("OLLAMA_") and name not in READ_AS]
    if unknown:
        result.warnings.append(f"{', '.join(sorted(unknown))}: not known to Ollama 0.32, passed on as written")
    return result


def visible(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """The cards that the server may see."""
    for name in (*VISIBLE.values(), *ALSO_VISIBLE):
        if name in environment:
            chosen = [item.strip() for item in environment[name].split(",")]
            return [gpu for gpu in gpus if str(gpu.index) in chosen or (gpu.uuid and _names(gpu.uuid, chosen))]
    return list(gpus)


def parse_config(lines: Sequence[str]) -> dict[str, str] | None:
    """The configuration that the server logged when it started last; None where the lines do not have it."""
    for line in reversed(lines):
        match = CONFIG_LINE.search(line)
        if match:
            body = match[1].replace('\\"', '"')[len("map[") : -1]
            keys = list(CONFIG_KEY.finditer(body))
            ends = [key.start() for key in keys[1:]] + [len(body)]
            return {key[1]: body[key.end() : end].strip() for key, end in zip(keys, ends)}
    return None


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What was set and is not in force, one sentence each."""
    return [
        f"{name}: expected {value!r}, the server runs with {found[name]!r}"
        for name, value in sorted(wanted.items())
        if name in found and not _same(name, value, found[name])
    ]


def render(environment: Mapping[str, str]) -> str:
    """The lines of an EnvironmentFile, in a fixed order."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(environment.items()))


def _as_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    text = str(value)
    if not NAME.fullmatch(name) or any(char in text for char in "\0\n\r"):
        raise OllamaError(f"expected a variable's name and one line of text, found {name!r}: {text!r}")
    return text


def _check(name: str, value: str) -> None:
    if name in PROXIES and _has_password(value):
        raise OllamaError(
            f"{name} holds a password. The server prints its proxies into the journal when it starts. "
            "Use a proxy that needs none, or one on this host that adds it."
        )
    if name == "OLLAMA_MODELS" and (not value.startswith("/") or normpath(value).strip("/") in SYSTEM_FOLDERS):
        raise OllamaError(f"expected OLLAMA_MODELS as an absolute path of a folder of its own, found {value!r}")
    try:
        READ_AS.get(name, _text)(value)
    except OllamaError as error:
        raise OllamaError(f"{name}: {error}") from None


def _has_password(proxy: str) -> bool:
    try:
        return has_password(proxy)
    except ValueError:
        raise OllamaError("expected the URL of a proxy, such as http://proxy:3128, found none") from None


def _translate_num_gpu(result: Settings, vendor: str | None, gpus: Sequence[Gpu]) -> None:
    value = result.environment.pop(NUM_GPU, None)
    if value is None:
        return
    count = _count_of(NUM_GPU, value)
    cards = sorted({gpu.index for gpu in gpus})  # a card that is split comes once per MIG instance
    name = VISIBLE.get(vendor or "")
    dead = f"{NUM_GPU} is not read by today's server"
    if name is None:
        result.warnings.append(f"{dead}; this host has no GPU to choose from, so {NUM_GPU}={count} does nothing")
        return
    if name in result.environment:
        result.warnings.append(f"{dead}; {name}={result.environment[name]} was set as well and wins")
        return
    if count > len(cards):
        raise OllamaError(f"{NUM_GPU}={count}: this host has {len(cards)} GPUs. Set it to at most that, or remove it.")
    result.environment[name] = ",".join(str(index) for index in cards[:count]) or "-1"
    result.warnings.append(f"{dead}; translated to {name}={result.environment[name]}. Set {name} instead.")


def _translate_max_vram(result: Settings, gpus: Sequence[Gpu]) -> None:
    value = result.environment.pop(MAX_VRAM, None)
    seen = visible(gpus, result.environment)
    if value is not None:
        _limit_vram(result, value, seen)
    if "OLLAMA_GPU_OVERHEAD" in result.environment and "LLAMA_ARG_FIT_TARGET" not in result.environment:
        overhead_bytes = int(result.environment["OLLAMA_GPU_OVERHEAD"])
        if overhead_bytes > LEAST_FREE_BYTES:
            target = math.ceil(overhead_bytes / MIB)
            result.environment["LLAMA_ARG_FIT_TARGET"] = str(target)
            result.reasons.append(
                f"LLAMA_ARG_FIT_TARGET={target} (MiB): llama-server places layers by it, and does not read "
                "OLLAMA_GPU_OVERHEAD, by which the server counts"
            )


def _limit_vram(result: Settings, value: str, seen: Sequence[Gpu]) -> None:
    limit_bytes = size_bytes(value)
    dead = f"{MAX_VRAM} is not read by today's server"
    if not limit_bytes:
        result.warnings.append(f"{dead}; {MAX_VRAM}={value} meant no limit, which is so without it")
        return
    if "OLLAMA_GPU_OVERHEAD" in result.environment:
        result.warnings.append(f"{dead}; OLLAMA_GPU_OVERHEAD was set as well and wins")
        return
    sizes = [gpu.memory_total_bytes for gpu in seen if gpu.memory_total_bytes]
    if not sizes:
        result.warnings.append(
            f"{dead}; this host has no GPU whose memory is known, so {MAX_VRAM}={value} does nothing"
        )
        return
    overhead_bytes = max(0, math.ceil((sum(sizes) - limit_bytes) / len(sizes)))
    result.environment["OLLAMA_GPU_OVERHEAD"] = str(overhead_bytes)
    per_card = "" if len(sizes) == 1 else f" on each of {len(sizes)} cards"
    result.warnings.append(
        f"{dead}; translated to OLLAMA_GPU_OVERHEAD={overhead_bytes}, total minus limit{per_card}. "
        "Set OLLAMA_GPU_OVERHEAD instead."
    )


def _translate_layers(result: Settings) -> None:
    value = result.environment.pop(GPU_LAYERS, None)
    if value is None:
        return
    result.layers = -1 if value.strip() == "-1" else _count_of(GPU_LAYERS, value)
    result.warnings.append(
        f"{GPU_LAYERS} is not read by today's server; translated to the parameter num_gpu={result.layers} of every "
        "model that sets none. Set `parameters: {num_gpu: …}` of a model instead."
    )


def _count_of(name: str, value: str) -> int:
    try:
        return _count(value.strip())
    except OllamaError as error:
        raise OllamaError(f"{name}: {error}") from None


def _names(uuid: str, chosen: Sequence[str]) -> bool:
    return any(item and uuid.startswith(item) for item in chosen)


def _same(name: str, wanted: str, found: str) -> bool:
    if name == "OLLAMA_ORIGINS":
        return set(wanted.split(",")) <= set(found.strip("[]").split())
    if name == "OLLAMA_REMOTES":
        return wanted.split(",") == found.strip("[]").split()
    if name == "OLLAMA_DEBUG":
        return _level(wanted) == found
    read = READ_AS.get(name, _text)
    return read(wanted) == read(found)


def _quoted(value: str) -> str:
    if value and not re.search(r"[^A-Za-z0-9_@%+=:,./*\[\]-]", value):
        return value
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'"{escaped}"'

"""Whether a running server is what was meant: its settings are in force, and its GPUs are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .api import Loaded
from .environment import VISIBLE, differences, parse_config
from .log import gpu_trouble, last_start, libraries, shorten

DEVICE_FILES = {"nvidia": "/dev/nvidiactl", "amd": "/dev/kfd"}
BACKENDS = {"nvidia": "cuda*", "amd": "rocm*"}


@dataclass(frozen=True)
class GpuHost:
    """What decides whether GPUs can be used. lib: the folder with the server's libraries."""

    vendor: str | None
    names: Sequence[str]
    lib: Path
    dev: Path = Path("/dev")


def settings_problems(wanted: Mapping[str, str], lines: Sequence[str]) -> list[str]:
    """What is set and not in force, by the server's own line."""
    config = parse_config(lines)
    if config is None:
        return ["the journal has no «server config» line of the running server, so no setting could be checked"]
    return differences(wanted, config)


def gpu_problems(
    host: GpuHost,
    loaded: Sequence[Loaded],
    least_percent: float,
    environment: Mapping[str, str],
    lines: Sequence[str],
) -> list[str]:
    """Models that are not where they should be on a host with GPUs, and why."""
    if not host.names or not least_percent:
        return []
    short = [model for model in loaded if model.gpu_percent < least_percent]
    if not short:
        return []
    cards = ", ".join(host.names)
    problems = [
        f"{model.name}: {model.gpu_percent:.0f} % of its {model.size_bytes} bytes are on the GPU, expected "
        f"{least_percent:g} %; GPUs of this host: {cards}"
        for model in short
    ]
    none_used = all(model.vram_bytes == 0 for model in short)
    reasons = _why_no_gpu(host, environment, lines) if none_used else [_why_partial(short)]
    return [*problems, *(f"reason: {reason}" for reason in reasons)]


def _why_partial(short: Sequence[Loaded]) -> str:
    contexts = ", ".join(f"{model.name} with a context of {model.context}" for model in short)
    return (
        f"it did not fit into the free memory of the cards ({contexts}). Lower num_ctx, ollama_num_parallel or "
        "ollama_max_loaded_models, set ollama_kv_cache_type: q8_0, or accept it by ollama_gpu_percent."
    )


def _why_no_gpu(host: GpuHost, environment: Mapping[str, str], lines: Sequence[str]) -> list[str]:
    reasons = []
    for name in VISIBLE.values():
        if environment.get(name) in {"-1", ""}:
            reasons.append(f"{name}={environment[name]} hides every card from the server")
    backend = BACKENDS.get(host.vendor or "")
    if backend and not any(host.lib.glob(backend)):
        reasons.append(f"{host.lib} has no {backend} folder: this archive was built without support for these cards")
    device = DEVICE_FILES.get(host.vendor or "")
    if device and not (host.dev / Path(device).relative_to("/dev")).exists():
        reasons.append(f"{device} is missing: the driver is not loaded, or nvidia-modprobe has not made the file")
    started = last_start(lines)
    found = libraries(started)
    if found:
        reasons.append(f"when it started the server found only: {', '.join(found)}")
    reasons += [f"it logged: {shorten(line)}" for line in gpu_trouble(started)]
    return reasons or ["unknown: set ollama_debug: true and read journalctl -u ollama"]

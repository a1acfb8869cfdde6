"""What a running Ollama was told by its environment, as variables of the role ollama."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..ollama.environment import READ_AS, RETIRED, Gpu, settings
from ..ollama.values import OllamaError, address, switch

# The server's variables that have one of the role's own.
TEXTS = {
    "OLLAMA_KEEP_ALIVE": "ollama_keep_alive",
    "OLLAMA_KV_CACHE_TYPE": "ollama_kv_cache_type",
    "OLLAMA_LOAD_TIMEOUT": "ollama_load_timeout",
    "OLLAMA_GPU_OVERHEAD": "ollama_gpu_overhead",
    "CUDA_VISIBLE_DEVICES": "ollama_cuda_visible_devices",
}
COUNTS = {
    "OLLAMA_MAX_LOADED_MODELS": "ollama_max_loaded_models",
    "OLLAMA_NUM_PARALLEL": "ollama_num_parallel",
    "OLLAMA_MAX_QUEUE": "ollama_max_queue",
    "OLLAMA_CONTEXT_LENGTH": "ollama_context_length",
}
SWITCHES = {
    "OLLAMA_FLASH_ATTENTION": "ollama_flash_attention",
    "OLLAMA_SCHED_SPREAD": "ollama_sched_spread",
    "OLLAMA_NOPRUNE": "ollama_noprune",
    "OLLAMA_NO_CLOUD": "ollama_no_cloud",
}
# Passed on as they are; anything else of the old environment (PATH, HOME, …) is the role's business.
PASSED_ON = (
    *("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "GGML_VK_VISIBLE_DEVICES"),
    *("HSA_OVERRIDE_GFX_VERSION", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET", "SSL_CERT_FILE"),
)
DEFAULT_HOST = "127.0.0.1:11434"


@dataclass
class Adopted:
    """Variables for the inventory, the server's own that have none among them, and what there is to say."""

    variables: dict[str, object] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def ollama_variables(environment: Mapping[str, str], vendor: str | None, gpus: Sequence[Gpu]) -> Adopted:
    """Say an old server's environment in the role's variables.

    Names that the server no longer reads are translated as the role would. OLLAMA_MODELS is not among the variables:
    where the models come to lie is decided elsewhere. Raises OllamaError when a value is none that the server takes.
    """
    wanted = {
        name: value
        for name, value in environment.items()
        if value and name != "OLLAMA_MODELS" and (name.startswith("OLLAMA_") or name in PASSED_ON or name in TEXTS)
    }
    result = Adopted()
    translated = settings(wanted, vendor, gpus)
    # LLAMA_ARG_FIT_TARGET follows from the overhead, in the role as well.
    derived = {"LLAMA_ARG_FIT_TARGET"} - set(wanted)
    for name, value in sorted(translated.environment.items()):
        if name in derived:
            continue
        _assign(result, name, value)
    if result.other:
        result.variables["ollama_environment"] = result.other
    if translated.layers is not None:
        result.variables["ollama_gpu_layers"] = translated.layers
    result.warnings += [warning for warning in translated.warnings if any(name in warning for name in RETIRED)]
    unknown = sorted(name for name in wanted if name.startswith("OLLAMA_") and name not in (*READ_AS, *RETIRED))
    if unknown:
        result.warnings.append(f"{', '.join(unknown)}: not known to the server, kept in ollama_environment")
    return result


def _assign(result: Adopted, name: str, value: str) -> None:
    if name == "OLLAMA_HOST":
        host, port = address(value)
        bound = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if bound != DEFAULT_HOST:
            result.variables["ollama_host"] = bound
        if host in {"0.0.0.0", "::"}:  # noqa: S104 - what was found
            result.warnings.append(
                f"OLLAMA_HOST={value} lets everybody who reaches the host use the server: behind the gateway, take "
                "ollama_host out or set the private address"
            )
    elif name == "OLLAMA_DEBUG":
        if switch(value):
            result.variables["ollama_debug"] = True
    elif name == "OLLAMA_ORIGINS":
        result.variables["ollama_origins"] = [item for item in value.split(",") if item]
    elif name in TEXTS:
        result.variables[TEXTS[name]] = value
    elif name in COUNTS:
        result.variables[COUNTS[name]] = int(value)
    elif name in SWITCHES:
        result.variables[SWITCHES[name]] = switch(value)
    else:
        result.other[name] = value


def bound_port(environment: Mapping[str, str]) -> int:
    """The port that the server listened on; that of the default where the value is none."""
    try:
        return address(environment.get("OLLAMA_HOST") or DEFAULT_HOST)[1]
    except OllamaError:
        return address(DEFAULT_HOST)[1]

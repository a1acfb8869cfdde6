"""vLLM's long options: old names translated, unknown ones refused, and what is left made into a `--config` file.

Options are named as in that file, without the two dashes and with dashes inside; underscores are taken as dashes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# What vLLM takes is plain YAML: scalars, lists of scalars, and mappings that it reads as JSON.
Value = object
OPTION_NAME = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")

# Options that no longer do anything: what made them unnecessary.
DROPPED = {
    "swap-space": "requests that do not fit are recomputed now, nothing is swapped",
    "num-scheduler-steps": "scheduling is asynchronous now (async-scheduling, on by default)",
    "multi-step-stream-outputs": "scheduling is asynchronous now (async-scheduling, on by default)",
    "use-v2-block-manager": "there is only one block manager now",
    "max-seq-len-to-capture": "CUDA graphs are chosen by batch size now (compilation-config)",
    "max-context-len-to-capture": "CUDA graphs are chosen by batch size now (compilation-config)",
    "scheduler-delay-factor": "the scheduler starts requests at once now",
    "preemption-mode": "preempted requests are always recomputed now",
    "tokenizer-pool-size": "tokenizing has its own threads now",
    "tokenizer-pool-type": "tokenizing has its own threads now",
    "disable-async-output-proc": "outputs are always processed asynchronously now",
    "disable-frontend-multiprocessing": "the engine always runs in a process of its own now",
    "enable-reasoning": "reasoning-parser alone turns it on now",
    "quantization-param-path": "scales are read from the checkpoint now",
    "num-lookahead-slots": "speculative-config decides it now",
    "engine-use-ray": "the engine always runs in a process of its own now",
    "max-num-partial-prefills": "several prompts are prefilled together whenever they fit the batch now",
}
# Options that have another name today.
RENAMED = {
    "kv-cache-memory": "kv-cache-memory-bytes",
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
    "model-tag": "model",
}
# Options that moved into a mapping.
NESTED = {
    "guided-decoding-backend": ("structured-outputs-config", "backend"),
    "speculative-model": ("speculative-config", "model"),
    "num-speculative-tokens": ("speculative-config", "num_speculative_tokens"),
    "rope-scaling": ("hf-overrides", "rope_scaling"),
    "rope-theta": ("hf-overrides", "rope_theta"),
    "cuda-graph-sizes": ("compilation-config", "cudagraph_capture_sizes"),
}


@dataclass(frozen=True)
class Translation:
    """Options by the names of today, and a sentence for each that was written by an old one."""

    options: dict[str, Value]
    warnings: tuple[str, ...]


def spell(name: str) -> str:
    """Return an option's name as `--config` files have it: max_model_len, --max-model-len → max-model-len."""
    return name.strip().lstrip("-").replace("_", "-")


def translate(options: Mapping[str, Value]) -> Translation:
    """Say with today's options what old ones meant. An operator's new spelling wins over an old one beside it."""
    current: dict[str, Value] = {}
    moved: dict[str, Value] = {}
    warnings: list[str] = []
    for written, value in options.items():
        replacement, news = _replace(spell(written), value)
        if news:
            warnings.append(f"{written} {news}")
            for name, meant in replacement.items():
                moved[name] = _merge(moved.get(name), meant)
        else:
            current.update(replacement)
    for name, meant in moved.items():
        current[name] = _merge(meant, current.get(name))
    return Translation(current, tuple(warnings))


def _replace(name: str, value: Value) -> tuple[dict[str, Value], str]:
    """Return the options that stand for one option today and, where they differ, what to tell its writer."""
    if name == "disable-log-requests":
        asked = str(not _is_true(value)).lower()
        news = f"is outdated: enable_log_requests says it now, and that is {asked}"
        return {"enable-log-requests": not _is_true(value)}, news
    if name == "worker-use-ray":
        ray: dict[str, Value] = {"distributed-executor-backend": "ray"} if _is_true(value) else {}
        return ray, "is outdated: distributed_executor_backend says it now"
    if name == "task":
        return _task(str(value)), "is outdated: runner and convert say it now"
    return _look_up(name, value)


def _look_up(name: str, value: Value) -> tuple[dict[str, Value], str]:
    """Do the same for options that the tables above tell all about."""
    if name in DROPPED:
        return {}, f"is outdated and left out: {DROPPED[name]}"
    if name in NESTED:
        parent, key = NESTED[name]
        return {parent: {key: value}}, f"is outdated: {parent}.{key} says it now"
    if name in RENAMED:
        return {RENAMED[name]: value}, f"is called {RENAMED[name]} now"
    return {name: value}, ""


def _merge(below: Value, above: Value) -> Value:
    """Return the upper of two values; of two mappings both, the upper one's keys winning."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **above}
    return below if above is None else above


def config_file(options: Mapping[str, Value]) -> dict[str, Value]:
    """Return what to write into a `--config` file: no empty values, which vLLM would read as the word None."""
    return {spell(name): value for name, value in options.items() if value is not None and value not in ("", [])}


def known_options(help_text: str) -> tuple[str, ...]:
    """Read the names of all long options out of `vllm serve --help=all`."""
    names: set[str] = set()
    for line in help_text.splitlines():
        if line.startswith("  -"):
            names.update(OPTION_NAME.findall(line.strip().split("  ")[0]))
    return tuple(sorted(names))


def unknown_options(options: Collection[str], known: Collection[str]) -> list[str]:
    """Return a sentence for each option that this version does not know, with the nearest one that it does."""
    return [
        f"vLLM has no option {name!r}{did_you_mean(name, known)}"
        for name in sorted(spell(option) for option in options)
        if name not in known and f"no-{name}" not in known
    ]


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return «; did you mean 'x'?» for the nearest of the known names, or nothing when none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_true(value: Value) -> bool:
    return str(value).strip().lower() not in {"false", "no", "off", "0", "none", ""}


def _task(task: str) -> dict[str, Value]:
    if task in {"embed", "embedding"}:
        return {"runner": "pooling", "convert": "embed"}
    if task in {"classify", "score", "reward"}:
        return {"runner": "pooling", "convert": "classify"}
    return {} if task == "auto" else {"runner": "generate"}

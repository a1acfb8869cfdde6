"""The plans of all hosts for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engines.tables import table
from ..sizing.units import GIB
from .fleet import Group, Outcome
from .sizes import size

NONE = "–"
HEADER = (
    *("model", "suits", "GPUs", "TP×PP×DP", "dtype", "context", "seqs", "KV tokens", "at once"),
    *("weights", "KV cache", "free", "sure"),
)
SHOWN_HOSTS = 6


def host_names(hosts: Sequence[str], most: int = SHOWN_HOSTS) -> str:
    """The first names, and how many more there are."""
    more = len(hosts) - most
    return ", ".join(hosts[:most]) + (f" and {more:,} more" if more > 0 else "")


def report(groups: Sequence[Group], unreached: Sequence[str]) -> str:
    """One block per kind of host: a table, then per model the reasons and warnings, or what would help."""
    blocks = ["\n".join(_block(group)) for group in groups]
    if unreached:
        blocks.append(f"Could not be looked at, see above: {host_names(unreached, 20)}")
    return "\n\n".join(blocks)


def _block(group: Group) -> list[str]:
    several = f" ({len(group.hosts):,} hosts alike)" if len(group.hosts) > 1 else ""
    engine = f"vLLM {group.host.version}" if group.engine == "vllm" else "Ollama"
    lines = [f"== {host_names(group.hosts)}{several}: {group.hardware}; {engine} =="]
    if group.refusal:
        return lines + _refusal(group.refusal)
    if group.engine == "ollama":
        return lines + _ollama(group)
    if not group.outcomes:
        return [*lines, "  vllm_models is empty: nothing to plan."]
    lines += table(HEADER, [_row(outcome) for outcome in group.outcomes])
    for outcome in group.outcomes:
        lines += ["", f"{outcome.name} ({outcome.model})", *_engine_lines(outcome)]
        lines += _refusal(outcome.refusal) if outcome.plan is None else []
        lines += [f"  - {reason}" for reason in (outcome.plan.reasons if outcome.plan else ())]
        lines += [f"  ! {warning}" for warning in outcome.warnings]
    return lines


def _engine_lines(outcome: Outcome) -> list[str]:
    return [f"  engine: {outcome.suited.engine or 'none'}, by the rules: " + "; ".join(outcome.suited.reasons)]


def _row(outcome: Outcome) -> list[str]:
    suits = outcome.suited.engine or NONE
    plan = outcome.plan
    if plan is None:
        return [outcome.name, suits, "refused", *[NONE] * (len(HEADER) - 3)]
    setup, account = plan.setup, plan.estimate.account
    sizes = (setup.tensor_parallel_size, setup.pipeline_parallel_size, plan.data_parallel_size)
    return [
        outcome.name,
        suits,
        ",".join(map(str, plan.gpu_indices)) or "CPU",
        "×".join(map(str, sizes)),
        setup.dtype,
        f"{setup.max_model_len:,}",
        str(setup.max_num_seqs),
        f"{plan.estimate.expected.tokens:,}",
        f"{plan.estimate.expected.concurrency:.1f}",
        size(account.weights_bytes),
        size(account.kv_expected_bytes),
        size(account.free_bytes),
        "yes" if plan.confidence == "normal" else "less",
    ]


def _refusal(refusal: Mapping[str, str]) -> list[str]:
    lines = [f"  REFUSED: {refusal.get('message', 'no reason given')}"]
    for label in ("expected", "found", "remedy"):
        if refusal.get(label):
            lines.append(f"    {label}: {refusal[label]}")
    return lines


def _ollama(group: Group) -> list[str]:
    planned: Mapping[str, Any] = group.ollama
    memory = planned.get("memory") or {}
    suits = {outcome.name: outcome.suited for outcome in group.outcomes}
    rows = [
        [
            str(model["name"]),
            suits[str(model["name"])].engine or NONE,
            f"{model['context']:,}" if model.get("context") else NONE,
            str(model.get("parallel") or NONE),
            _size(model.get("weights_bytes")),
            _size(model.get("need_bytes")),
        ]
        for model in memory.get("models") or ()
    ]
    lines = table(("model", "suits", "context", "parallel", "weights", "needs"), rows) if rows else []
    usable, total = memory.get("usable_bytes") or 0, memory.get("total_bytes") or 0
    lines.append(f"  memory: {usable / GIB:.1f} GiB usable of {total / GIB:.1f} GiB ({memory.get('pool', 'unknown')})")
    for name, suited in suits.items():
        lines.append(f"  {name}: engine {suited.engine or 'none'}, by the rules: " + "; ".join(suited.reasons))
    lines += [f"  - {reason}" for reason in planned.get("reasons") or ()]
    lines += [f"  ! {remark}" for remark in planned.get("remarks") or ()]
    return lines


def _size(value: Any) -> str:
    return NONE if value is None else size(value)

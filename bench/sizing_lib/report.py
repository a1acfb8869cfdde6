"""The result for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .baselines import BASELINES
from .measure import Result


def _number(value: float | None, width: int, digits: int = 2) -> str:
    return "–".rjust(width) if value is None else f"{value:{width}.{digits}f}"


def _percent(value: float | None, width: int = 7) -> str:
    return "–".rjust(width) if value is None else f"{100 * value:+.1f} %".rjust(width)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def print_report(results: Sequence[Result], summary: dict[str, Any]) -> None:
    """A line per record, then the sums, then what was left out and why."""
    names = list(BASELINES)
    print("KV cache in GiB per rank; errors are shares of utilization × total; B1 to B3 are other ways:")
    for index, name in enumerate(names, 1):
        print(f"  B{index}: {name}")
    print()
    print(
        f"{'record':7} {'model':38} {'predicted':>9} {'floor':>7} {'logged':>7} {'error':>8} "
        f"{'tokens':>8} {'verdict':>11} {'B1':>8} {'B2':>8} {'B3':>8}"
    )
    for result in results:
        if result.excluded:
            continue
        verdict = f"{result.verdict} {'right' if result.verdict_right else 'WRONG'}"
        baselines = " ".join(_percent(result.baselines.get(name), 8) for name in names)
        print(
            f"{result.id:7} {result.model[:38]:38} {_number(result.predicted_gib, 9)} "
            f"{_number(result.floor_gib, 7)} {_number(result.logged_gib, 7)} {_percent(result.error, 8)} "
            f"{_percent(result.tokens_error, 8)} {verdict:>11} {baselines}"
            + ("  estimate unsafe" if result.confidence == "low" else "")
            + ("  BELOW FLOOR" if result.floor_held is False else "")
        )
        for remedy in result.remedies:
            print(f"{'':8}would fit: {remedy}")
    _print_summary(summary)
    print("\nLeft out:")
    for identifier, reason in summary["excluded"].items():
        print(f"  {identifier}: {reason}")


def _print_summary(summary: dict[str, Any]) -> None:
    memory, tokens = summary["kv_memory"], summary["tokens"]
    per_token, fails, passes = summary["bytes_per_token"], summary["must_fail"], summary["must_start"]
    print()
    print(
        f"KV memory, {memory['compared']} records: median error {_share(memory['median'])}, "
        f"90th percentile {_share(memory['p90'])}, largest {_share(memory['largest'])}; "
        f"below the floor {memory['floor_violated']}"
    )
    print(
        f"Tokens, {tokens['compared']} records: median error {_share(tokens['median'])}, "
        f"90th percentile {_share(tokens['p90'])}"
    )
    print(
        f"Bytes per token, {per_token['compared']} records that are not hybrid: "
        f"{per_token['within_1_percent']} within 1 %"
    )
    print(
        f"Refused {fails['refused']} of {fails['compared']} that did not start "
        f"({fails['with_remedy']} with a remedy); accepted {passes['accepted']} of {passes['compared']} that did"
    )
    weights = summary["weights_from_config"]
    print(
        f"Weights from the configuration alone, {weights['compared']} records: median error "
        f"{_share(weights['median'])}, 90th percentile {_share(weights['p90'])}"
    )
    for name, values in summary["baselines"].items():
        times = values["times_worse"]
        print(
            f"{name}: median error {_share(values['median'])}, 90th percentile {_share(values['p90'])}"
            + (f", {times:.1f} times ours" if times else "")
        )

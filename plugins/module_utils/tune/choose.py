"""Which settings to try around a plan, which did best, and how to say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, int]
# What is tried of each setting, as a multiple of what was planned.
FACTORS = (0.5, 2)
# A step of the engine must have room for a prompt, and batches are counted in these.
LEAST = {"max_num_seqs": 1, "max_num_batched_tokens": 256, "ollama_num_parallel": 1}
# Less than this is noise: the plan stays.
LEAST_GAIN = 0.03


def candidates(planned: Settings, least: Settings | None = None) -> list[dict[str, int]]:
    """Return the plan itself, then every setting of it halved and doubled, one at a time, without repetitions."""
    floors = {**LEAST, **(least or {})}
    found = [dict(planned)]
    for name, value in planned.items():
        for factor in FACTORS:
            candidate = {**planned, name: max(floors.get(name, 1), int(value * factor))}
            if candidate not in found:
                found.append(candidate)
    return found


def reference(summary: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the load at which most answers were within the promise; None when nothing was measured."""
    stages = (summary or {}).get("stages") or []
    judged = [stage for stage in stages if stage.get("goodput") and stage["goodput"].get("judged", True)]
    return max(judged, key=lambda stage: float(stage["goodput"]["requests_per_second"]), default=None)


def score(summary: Mapping[str, Any] | None) -> float:
    """Return answers within the promise per second, at the load where they were most; 0 when nothing was measured."""
    stage = reference(summary)
    return float(stage["goodput"]["requests_per_second"]) if stage else 0.0


def best(trials: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the best trial; the first, which is the plan, unless another is clearly better.

    A trial is `{settings, summary}`; summary is None where the engine did not start with these settings.
    """
    scores = [score(trial.get("summary")) for trial in trials]
    winner = max(range(len(scores)), key=lambda number: scores[number])
    return winner if scores[winner] > scores[0] * (1 + LEAST_GAIN) else 0


def report(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines for each trial, and one that says what to take."""
    chosen = best(trials)
    lines = [line for number, trial in enumerate(trials) for line in _lines(trial, number == chosen)]
    before, after = score(trials[0].get("summary")), score(trials[chosen].get("summary"))
    if chosen == 0:
        return [*lines, f"The plan stays: no other setting kept the promise for {LEAST_GAIN:.0%} more requests."]
    gain = f"{after / before - 1:+.0%}" if before else "from none"
    return [*lines, f"Before: {before:.2f} requests/s as promised. After: {after:.2f} ({gain})."]


def settings_words(settings: Settings) -> str:
    """Return settings as people read them."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _lines(trial: Mapping[str, Any], is_chosen: bool) -> list[str]:
    mark = "* " if is_chosen else "  "
    name = mark + settings_words(trial["settings"])
    summary = trial.get("summary")
    if not summary:
        return [f"{name}: not measured ({trial.get('error') or 'no reason known'})"]
    lines = [f"{name}: {score(summary):.2f} requests/s as promised"]
    for stage in summary["stages"]:
        share = f", {stage['goodput']['share']:.0%} as promised" if stage.get("goodput") else ""
        answers, tokens = (stage["throughput"][f"{kind}_per_second"] for kind in ("requests", "output_tokens"))
        lines.append(f"      {stage['label']}: {answers:.2f} answers/s, {tokens:.0f} tokens/s{share}")
    return lines

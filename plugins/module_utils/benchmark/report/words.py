"""The run in a few sentences, for somebody who reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .text import duration, number, percent, plural

Summary = Mapping[str, Any]
Stage = Mapping[str, Any]
# Silent reading of English: about 240 words a minute (Brysbaert 2019), about 1.3 tokens a word.
READING_TOKENS_PER_SECOND = 5.2


def reference(summary: Summary) -> Stage | None:
    """Return the stage that the run is summed up by, or None when nothing was answered.

    With a promise: the heaviest load that keeps it, or the lightest one when none does. Else the load at the knee, or
    else the one with most answers a second.
    """
    stages: list[Stage] = [stage for stage in summary["stages"] if stage["requests"]["ok"]]
    if not stages:
        return None
    if summary["slo"]:
        judged = [stage for stage in stages if stage["goodput"]["judged"]]
        kept = [stage for stage in judged if keeps(summary["slo"], stage)]
        return kept[-1] if kept else (judged or stages)[0]
    if summary["knee"]:
        return next(stage for stage in stages if stage["number"] == summary["knee"]["number"])
    return max(stages, key=lambda stage: float(stage["throughput"]["requests_per_second"]))


def keeps(slo: Mapping[str, Any], stage: Stage) -> bool:
    """Whether a stage keeps the promise."""
    requests = stage["requests"]
    failed = requests["failed"] / requests["sent"] if requests["sent"] else 1.0
    return bool(stage["goodput"]["share"] >= slo["share"] and failed <= slo["max_failed_share"])


def load_words(stage: Stage) -> str:
    """Return a load in words."""
    if stage["mode"] == "closed":
        return f"{plural(int(stage['load']), 'request', 'requests')} under way at a time"
    return f"{number(stage['load'])} requests arriving per second"


def tokens_per_second_per_user(stage: Stage) -> float | None:
    """Return how fast text flows for the median user once it has begun."""
    tpot = stage["tpot_seconds"]["p50"]
    return 1 / tpot if tpot else None


def tiles(summary: Summary) -> list[tuple[str, str]]:
    """Return figures and what they are."""
    stage = reference(summary)
    sent = sum(each["requests"]["sent"] for each in summary["stages"])
    failed = sum(each["requests"]["failed"] for each in summary["stages"])
    failures = (number(failed), f"of {plural(sent, 'request', 'requests')} failed")
    if stage is None:
        return [failures]
    found = [
        (f"{number(stage['throughput']['requests_per_second'])} / s", "answers"),
        (f"{number(stage['throughput']['output_tokens_per_second'])} / s", "tokens written, for all users together"),
        (duration(stage["ttft_seconds"]["p95"]), "until the first word, for 95 % of users at most"),
    ]
    speed = tokens_per_second_per_user(stage)
    if speed:
        found.append((f"{number(speed)} / s", "tokens for each user, in the median"))
    return [*found, failures]


def sentences(summary: Summary) -> list[str]:
    """Return the run in a few sentences."""
    stage = reference(summary)
    if stage is None:
        return ["No request was answered: see the failures below."]
    found = [_capacity(stage), _wait(stage)]
    speed = tokens_per_second_per_user(stage)
    if speed:
        found.append(_flow(speed))
    found.append(_knee(summary, stage))
    failed = sum(each["requests"]["failed"] for each in summary["stages"])
    if failed:
        sent = sum(each["requests"]["sent"] for each in summary["stages"])
        found.append(f"{plural(failed, 'request', 'requests')} of {number(sent)} failed ({percent(failed / sent)}).")
    return [sentence for sentence in found if sentence]


def _capacity(stage: Stage) -> str:
    throughput = stage["throughput"]
    return (
        f"With {load_words(stage)}, the server gives {number(throughput['requests_per_second'])} answers per second, "
        f"which is {number(60 * throughput['requests_per_second'])} a minute or "
        f"{number(throughput['output_tokens_per_second'])} tokens per second."
    )


def _wait(stage: Stage) -> str:
    first, whole = stage["ttft_seconds"], stage["e2e_seconds"]
    if not first["count"]:
        return (
            f"Half of the answers are complete within {duration(whole['p50'])}, 95 % within {duration(whole['p95'])}."
        )
    return (
        f"Half of the users see the first word within {duration(first['p50'])}, 95 % within {duration(first['p95'])}; "
        f"the whole answer takes {duration(whole['p50'])} in the median, {duration(whole['p95'])} for 95 %."
    )


def _flow(speed: float) -> str:
    times = speed / READING_TOKENS_PER_SECOND
    pace = (
        f"about {number(round(times))} times as fast as people read" if times >= 1.5 else "about as fast as people read"
    )
    if times < 0.9:
        pace = "slower than people read"
    return f"Once begun, text flows at {number(speed)} tokens per second for each user, {pace}."


def _knee(summary: Summary, stage: Stage) -> str:
    knee = summary["knee"]
    same = [each for each in summary["stages"] if each["mode"] == (knee or stage)["mode"] and each["requests"]["ok"]]
    if knee:
        at = next(each for each in same if each["number"] == knee["number"])
        last = same[-1]
        return (
            f"The knee is at {load_words(at)}: beyond it, more load buys waiting rather than answers (at "
            f"{load_words(last)}, {_change(at, last, 'requests_per_second')} as many answers a second, each taking "
            f"{number(last['e2e_seconds']['p50'] / at['e2e_seconds']['p50'])} times as long)."
        )
    if len(same) > 2:
        return "No knee was reached: the heaviest load was still the best trade of answers against waiting."
    return ""


def _change(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    return f"{number(after['throughput'][name] / before['throughput'][name])} times"


def verdict(summary: Summary) -> tuple[str, str, Sequence[str]]:
    """Return style, headline and details of the banner, or empty texts without a promise."""
    if summary["abandoned"]:
        return "bad", "The run was given up.", [summary["abandoned"]]
    slo = summary["slo"]
    if slo is None:
        return "", "", []
    if slo["met"]:
        return "good", "The promise is kept.", [slo["promise"]]
    return "bad", "The promise is not kept.", [slo["promise"], *slo["unmet"]]

"""A whole run: the client's ceiling, warm-up, every stage, and what came of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..openai.client import Server
from .ceiling import Ceiling, measure_ceiling
from .environment import client_environment, server_environment
from .errors import BenchmarkError
from .load import Generator, StageRun
from .prompts import Scale
from .records import Record
from .report import page
from .settings import Settings
from .slo import unmet
from .summary import caveats, knee, named, stage_summary

SCHEMA = 1
FILES = ("requests.jsonl", "summary.json", "report.html")
# Beyond this, what waits for the client's processor is no longer small against what it measures.
NEAR_CEILING_SHARE = 0.5
LATE_SECONDS = 0.02


@dataclass
class Outcome:
    """What a run came to."""

    summary: dict[str, Any]
    records: list[Record] = field(repr=False)

    @property
    def problems(self) -> list[str]:
        """Return why the run must count as failed: given up, or a promise that was not kept."""
        found = [self.summary["abandoned"]] if self.summary["abandoned"] else []
        return found + (self.summary["slo"]["unmet"] if self.summary["slo"] else [])


def execute(settings: Settings) -> Outcome:
    """Measure. Raises BenchmarkError when a setting cannot work or the server does not answer at all."""
    began = time.monotonic()
    here = client_environment()
    ceiling = measure_ceiling(settings.client_ceiling_seconds) if settings.client_ceiling_seconds else None
    server = Server(settings.url, settings.api_key, validate_certs=settings.validate_certs, ca_path=settings.ca_path)
    there = server_environment(server, settings.model)
    scale, runs = asyncio.run(_measure(settings))
    seconds = time.monotonic() - began
    return summarize(settings, runs, scale=scale, client=here, server=there, ceiling=ceiling, seconds=seconds)


def summarize(
    settings: Settings,
    runs: Sequence[StageRun],
    *,
    scale: Scale,
    client: Mapping[str, Any],
    server: Mapping[str, Any],
    ceiling: Ceiling | None,
    seconds: float,
) -> Outcome:
    """Return the figures of a run that took these seconds until now."""
    stages = [stage_summary(run.stage, run.records, run.seconds, run.work, settings.slo) for run in runs]
    began = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    summary = {
        "schema": SCHEMA,
        "title": settings.title or settings.model,
        "started_at": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "settings": settings.as_dict(),
        "client": {**client, "ceiling": ceiling.as_dict() if ceiling else None},
        "server": dict(server),
        "tokens_per_word": round(scale.per_word, 4) if scale.measured else None,
        "stages": stages,
        "knee": knee(stages),
        "slo": _judge(settings, stages),
        "abandoned": next((run.abandoned for run in runs if run.abandoned), None),
        "warnings": [*caveats(stages), *client_warnings(stages, ceiling), *_scale_warnings(settings, scale)],
    }
    return Outcome(summary, [record for run in runs for record in run.records])


def preview(settings: Settings) -> dict[str, Any]:
    """Return what a run would send, without sending anything."""
    return {
        "settings": settings.as_dict(),
        "stages": [
            {"label": stage.label, "mode": stage.mode, "load": stage.load, "requests": stage.requests}
            for stage in settings.stages
        ],
        "requests": sum(stage.requests for stage in settings.stages) + settings.warmup_requests,
        "longest_seconds": settings.longest_seconds,
    }


def write(outcome: Outcome, folder: Path) -> None:
    """Write FILES. Raises BenchmarkError when the folder does not take them."""
    texts = (
        "".join(json.dumps(record.as_dict()) + "\n" for record in outcome.records),
        json.dumps(outcome.summary, indent=1, ensure_ascii=False) + "\n",
        page.render(outcome.summary, outcome.records),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, texts):
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise BenchmarkError(f"dest: cannot write to {folder}: {error}") from error


def client_warnings(stages: Sequence[dict[str, Any]], ceiling: Ceiling | None) -> list[str]:
    """Say at which loads the client itself may have been the bottleneck."""
    found = []
    busy = {stage["label"]: stage["client"]["busy_share"] for stage in stages}
    busy = {label: share for label, share in busy.items() if share > NEAR_CEILING_SHARE}
    if busy:
        limit = f"; its ceiling here: {ceiling.events_per_second:.0f} pieces of text a second" if ceiling else ""
        found.append(
            f"At {named(busy, stages)}: the client itself was busy up to {100 * max(busy.values()):.0f} % of the time"
            f"{limit}. Its own delays are in the figures. Send from a faster host, or from several."
        )
    late: dict[str, float] = {stage["label"]: _late_seconds(stage["client"]) for stage in stages}
    late = {label: seconds for label, seconds in late.items() if seconds > LATE_SECONDS}
    if late:
        found.append(
            f"At {named(late, stages)}: the client was up to {1000 * max(late.values()):.0f} ms late (99th percentile),"
            " since its host had no processor free for it. That is in the figures. Send from a host with processors to"
            " spare."
        )
    return found


def _late_seconds(work: Mapping[str, Any]) -> float:
    return max(float(work["loop_lag_p99_seconds"]), float(work["send_lag_p99_seconds"] or 0.0))


async def _measure(settings: Settings) -> tuple[Scale, list[StageRun]]:
    generator = Generator(settings)
    try:
        scale = await generator.prepare()
        runs: list[StageRun] = []
        for stage in settings.stages:
            runs.append(await generator.run(stage))
            if runs[-1].abandoned:
                break
        return scale, runs
    finally:
        generator.close()


def _judge(settings: Settings, stages: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    if settings.slo is None:
        return None
    problems = unmet(settings.slo, list(stages))
    return {**settings.slo.as_dict(), "promise": settings.slo.describe(), "met": not problems, "unmet": problems}


def _scale_warnings(settings: Settings, scale: Scale) -> list[str]:
    if settings.prompts or scale.measured:
        return []
    return [
        "The server did not say how many tokens a prompt has: input_tokens was made from words by a guess "
        f"({scale.per_word:g} tokens a word)."
    ]

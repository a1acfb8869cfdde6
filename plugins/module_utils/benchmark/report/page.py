"""The page: a summary for a manager at the top, details for an engineer below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..numbers import percentile
from ..records import Record
from . import charts, words
from .charts import Band, Mark, Series
from .document import document
from .text import NONE, duration, esc, number, percent

Summary = Mapping[str, Any]
Stage = Mapping[str, Any]

MAX_DOTS = 1500
MAX_CROSSES = 500
MAX_STEPS = 1500
CURVE_POINTS = 120
MAX_CURVES = 6
MANY_LOADS = 3
# Gaps between pieces that came in one packet are next to 0, which no logarithmic axis shows.
LEAST_SECONDS = 1e-4
WIDE, NARROW = 900, charts.WIDTH
PERCENTILES = (("p50", "median"), ("p95", "95 %"), ("p99", "99 %"))
MODES = {
    "closed": (
        "Closed loop",
        "requests under way at a time",
        "a number of users, each sending the next request when the last one is answered",
    ),
    "open": (
        "Open loop",
        "requests arriving per second",
        "requests at random times (Poisson), whether or not earlier ones are answered",
    ),
}
TIMES = (
    ("ttft_seconds", "Time to the first token"),
    ("tpot_seconds", "Time per output token"),
    ("e2e_seconds", "Whole answer"),
)


def render(summary: Summary, records: Sequence[Record]) -> str:
    """Return the page."""
    measured = [stage for stage in summary["stages"] if stage["requests"]["ok"]]
    parts = [
        _header(summary),
        _banner(*words.verdict(summary)),
        _tiles(summary),
        *(f"<p>{esc(sentence)}</p>" for sentence in words.sentences(summary)),
        _banner("note", "To know when reading the figures:" if summary["warnings"] else "", summary["warnings"]),
        *(_load_charts(summary, measured, mode) for mode in MODES),
        _timeline(summary, records),
        "<h2>For engineers</h2>",
        _table(summary["stages"]),
        _distributions(summary, measured, records),
        _failures(summary["stages"]),
        _settings(summary),
        METHOD,
    ]
    return document(f"Benchmark of {summary['title']}", parts)


def _header(summary: Summary) -> str:
    server = summary["server"]
    engine = " ".join(str(part) for part in (server["engine"], server["version"]) if part)
    where = summary["settings"]["url"] + summary["settings"]["endpoint"]
    day, clock = summary["started_at"].split("T")
    facts = [f"Model <code>{esc(summary['settings']['model'])}</code> at <code>{esc(where)}</code>"]
    facts += [esc(engine)] if engine else []
    facts.append(f"{esc(day)} {esc(clock[:5])} UTC, {esc(duration(summary['seconds']))}")
    return f'<h1>Benchmark of {esc(summary["title"])}</h1><p class="soft">{" · ".join(facts)}</p>'


def _banner(style: str, headline: str, details: Sequence[str]) -> str:
    if not headline:
        return ""
    entries = "".join(f"<li>{_detail(detail)}</li>" for detail in details)
    return f'<div class="banner {style}"><p><b>{esc(headline)}</b></p><ul>{entries}</ul></div>'


def _detail(text: str) -> str:
    """Show what was found at many loads as a list: in a sentence nobody reads it."""
    expected, _comma, found = text.partition(", found ")
    loads = found.split("; ")
    if len(loads) < MANY_LOADS:
        return esc(text)
    return f"{esc(expected)}, found<ul>{''.join(f'<li>{esc(load)}</li>' for load in loads)}</ul>"


def _tiles(summary: Summary) -> str:
    stage = words.reference(summary)
    entries = "".join(f"<li><b>{esc(figure)}</b><span>{esc(what)}</span></li>" for figure, what in words.tiles(summary))
    caption = (
        f'<p class="soft small">At {esc(words.load_words(stage))}, failures of the whole run:</p>' if stage else ""
    )
    return f'{caption}<ul class="tiles">{entries}</ul>'


def _load_charts(summary: Summary, measured: Sequence[Stage], mode: str) -> str:
    stages = [stage for stage in measured if stage["mode"] == mode]
    if not stages:
        return ""
    name, load_name, what = MODES[mode]
    knee = summary["knee"]
    knee_mark = Mark(knee["load"], "knee", "knee") if knee and knee["mode"] == mode else None
    figures = [
        charts.against_load(
            "Tokens written per second", [_over(stages, "tokens", "s1", _tokens)], load_name, number, knee=knee_mark
        ),
        charts.against_load("Answers per second", _answers(stages), load_name, number, knee=knee_mark),
    ]
    for key, title in TIMES:
        lines = [
            _over(stages, label, f"s{index}", lambda stage, k=key, q=quantile: stage[k][q])
            for index, (quantile, label) in enumerate(PERCENTILES, 1)
        ]
        if any(line.points for line in lines):
            figures.append(
                charts.against_load(title, lines, load_name, duration, knee=knee_mark, limit=_limit(summary, key))
            )
    return (
        f"<h2>{esc(name)}: latency and throughput against load</h2>"
        f'<p class="soft">{esc(what[0].upper() + what[1:])}.</p><div class="charts">{"".join(figures)}</div>'
    )


def _over(stages: Sequence[Stage], name: str, style: str, value: Any) -> Series:
    points = [(stage["load"], found) for stage in stages if (found := value(stage)) is not None]
    return Series(name, style, points)


def _tokens(stage: Stage) -> float:
    return float(stage["throughput"]["output_tokens_per_second"])


def _answers(stages: Sequence[Stage]) -> list[Series]:
    lines = [_over(stages, "answers", "s1", lambda stage: stage["throughput"]["requests_per_second"])]
    if stages[0]["goodput"]:
        lines.append(_over(stages, "of them within the promise", "s4", lambda s: s["goodput"]["requests_per_second"]))
    return lines


def _limit(summary: Summary, key: str) -> Mark | None:
    limit = (summary["slo"] or {}).get(key)
    return Mark(limit, f"promise: {duration(limit)}", "limit") if limit else None


def _timeline(summary: Summary, records: Sequence[Record]) -> str:
    if not records:
        return ""
    labels = {stage["number"]: stage["label"] for stage in summary["stages"]}
    bands = []
    for number_, label in labels.items():
        own = [record for record in records if record.stage == number_]
        if own:
            bands.append(Band(min(r.start_seconds for r in own), max(r.end_seconds for r in own), label))
    good = [(r.start_seconds, r.latency_seconds) for r in records if r.ok]
    failed = [(r.start_seconds, r.latency_seconds, f"{r.failure}: {r.message}") for r in records if not r.ok]
    steps = _thinned(_steps(records), MAX_STEPS)
    shown = len(good) > MAX_DOTS or len(failed) > MAX_CROSSES
    note = (
        f'<p class="soft small">Drawn: at most {MAX_DOTS} answers and {MAX_CROSSES} failures, evenly chosen.</p>'
        if shown
        else ""
    )
    figures = []
    for style, width in (("wide", WIDE), ("narrow", NARROW)):
        requests = charts.timeline(
            "Each request: when it was sent and how long it took" + (" (crosses: failures)" if failed else ""),
            width,
            bands,
            _thinned(good, MAX_DOTS),
            _thinned(failed, MAX_CROSSES),
        )
        load = charts.under_way("Requests under way", width, bands, steps)
        figures.append(f'<div class="{style}">{requests}</div><div class="{style}">{load}</div>')
    return f"<h2>Timeline</h2>{''.join(figures)}{note}"


def _steps(records: Sequence[Record]) -> list[tuple[float, float]]:
    changes = sorted(change for r in records for change in ((r.start_seconds, 1), (r.end_seconds, -1)))
    steps, now = [], 0
    for at, change in changes:
        now += change
        steps.append((at, float(now)))
    return steps


def _thinned(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of the values, evenly chosen, the last one included."""
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def _distributions(summary: Summary, measured: Sequence[Stage], records: Sequence[Record]) -> str:
    figures = []
    chosen = _thinned(measured, MAX_CURVES)
    for key, title in (("ttft_seconds", "Time to the first token"), ("itl_seconds", "Gaps between tokens")):
        lines = []
        for index, stage in enumerate(chosen, 1):
            points = _curve(sorted(_values(records, stage["number"], key)))
            if points:
                lines.append(Series(stage["label"], f"s{index}", points))
        if lines:
            figures.append(charts.cumulative(title, lines, _limit(summary, key)))
    if not figures:
        return ""
    title = "Distributions: share of requests, or gaps, at most so long"
    return f'<h3>{title}</h3><div class="charts">{"".join(figures)}</div>'


def _values(records: Sequence[Record], stage: int, key: str) -> list[float]:
    own = [record for record in records if record.stage == stage and record.ok]
    if key == "itl_seconds":
        return [gap for record in own for gap in record.itl_seconds]
    return [record.ttft_seconds for record in own if record.ttft_seconds is not None]


def _curve(ordered: Sequence[float]) -> list[tuple[float, float]]:
    if not ordered:
        return []
    shares = [index / CURVE_POINTS for index in range(CURVE_POINTS + 1)]
    return [(max(percentile(ordered, 100 * share), LEAST_SECONDS), share) for share in shares]


def _table(stages: Sequence[Stage]) -> str:
    heads = "".join(f"<th>{esc(stage['label'])}</th>" for stage in stages)
    rows = [_row(name, [shown(stage) for stage in stages]) for name, shown in _counts()]
    if stages and stages[0]["goodput"]:
        rows.append(_row("within the promise", [percent(stage["goodput"]["share"]) for stage in stages]))
    groups = [*TIMES[:1], ("itl_seconds", "Gaps between tokens"), *TIMES[1:]]
    for key, title in groups:
        rows.append(f'<tr class="group"><th colspan="{len(stages) + 1}">{esc(title)}</th></tr>')
        for quantile in ("mean", "p50", "p90", "p95", "p99", "max"):
            rows.append(_row(quantile, [duration(stage[key][quantile]) for stage in stages]))
    rows.append(f'<tr class="group"><th colspan="{len(stages) + 1}">The client itself</th></tr>')
    rows.append(_row("busy", [percent(stage["client"]["busy_share"]) for stage in stages]))
    rows.append(_row("late (p99)", [duration(stage["client"]["loop_lag_p99_seconds"]) for stage in stages]))
    return (
        f'<h3>Every load</h3><div class="scroll"><table><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _counts() -> list[tuple[str, Any]]:
    return [
        ("requests sent", lambda s: number(s["requests"]["sent"])),
        ("failed", lambda s: number(s["requests"]["failed"])),
        ("most under way", lambda s: number(s["requests"]["most_at_once"])),
        ("seconds", lambda s: number(s["seconds"])),
        ("answers per second", lambda s: number(s["throughput"]["requests_per_second"])),
        ("tokens written per second", lambda s: number(s["throughput"]["output_tokens_per_second"])),
        ("tokens read per second", lambda s: number(s["throughput"]["input_tokens_per_second"])),
        ("tokens of a prompt (mean)", lambda s: number(s["input_tokens"]["mean"])),
        ("tokens of an answer (mean)", lambda s: number(s["output_tokens"]["mean"])),
    ]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{esc(name)}</th>{''.join(f'<td>{esc(cell)}</td>' for cell in cells)}</tr>"


def _failures(stages: Sequence[Stage]) -> str:
    rows = [
        f'<tr><td>{esc(stage["label"])}</td><td class="left">{esc(failure["kind"])}</td>'
        f"<td>{number(failure['count'])}</td>"
        f'<td class="text">{esc(failure["message"])}</td></tr>'
        for stage in stages
        for failure in stage["failures"]
    ]
    if not rows:
        return "<h3>Failures</h3><p>None.</p>"
    return (
        '<h3>Failures</h3><p class="soft small">They are part of no latency.</p><div class="scroll"><table><thead><tr>'
        '<th>load</th><th class="left">kind</th><th>count</th><th class="left">the first one</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _settings(summary: Summary) -> str:
    client, server = summary["client"], summary["server"]
    ceiling = client["ceiling"]
    measured = (
        f"{number(ceiling['events_per_second'])} pieces of text a second, "
        f"or {number(ceiling['requests_per_second'])} short answers"
        if ceiling
        else "not measured"
    )
    environment = [
        ("engine", server["engine"]),
        ("engine's version", server["version"]),
        ("longest context", server["max_model_len"]),
        ("model files", server["root"]),
        ("requests sent from", client["host"]),
        ("its system", f"{client['system']}, {client['machine']}"),
        ("its processors", f"{client['processors']} × {client['processor'] or 'unknown'}"),
        ("its load before", client["load_average"]),
        ("its Python", client["python"]),
        ("the client's ceiling there", measured),
        ("tokens per word", summary["tokens_per_word"]),
    ]
    return (
        '<div class="pair"><section><h3>Settings</h3>'
        f"{_list(list(summary['settings'].items()))}</section><section><h3>Environment</h3>{_list(environment)}</section></div>"
    )


def _list(entries: Sequence[tuple[str, Any]]) -> str:
    shown = "".join(f"<dt>{esc(name)}</dt><dd>{esc(_plain(value))}</dd>" for name, value in entries if value != "")
    return f"<dl>{shown}</dl>"


def _plain(value: Any) -> str:
    if value is None or value in ({}, []):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


METHOD = """<h3>How to read this</h3><div class="small">
<p><b>Time to the first token</b> counts from the moment a request is sent, a new connection included, to the first
piece of text. <b>Gaps between tokens</b> are those between pieces of text as they arrive; a piece may hold several
tokens. <b>Time per output token</b> is, for each request, the time from the first piece to the last one, divided by the
number of tokens after the first. <b>Whole answer</b> ends with the last byte.</p>
<p>Percentiles are over successful requests only, interpolated linearly. Throughput is over the time from the first
request of a load to the end of its last one. Warm-up is part of no figure.</p>
<p>The <b>knee</b> is the load at which answers per second, divided by the median time of an answer, is largest. At
least three loads are needed to see one.</p></div>"""

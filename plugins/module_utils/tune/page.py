"""What tuning came to, as one HTML page that needs nothing else: the answer at the top, every trial below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..benchmark.report.document import document
from ..benchmark.report.text import NONE, duration, esc, number, percent
from .choose import LEAST_GAIN, best, reference, score, settings_words

Trial = Mapping[str, Any]
TIMES = (("ttft_seconds", "first token"), ("tpot_seconds", "per output token"), ("e2e_seconds", "whole answer"))
LIMITS = {
    "ttft_seconds": "first token",
    "tpot_seconds": "per output token",
    "itl_seconds": "gaps between tokens",
    "e2e_seconds": "whole answer",
}
COLUMNS = ("load", "answers/s", "tokens/s", "as promised", *(name for _key, name in TIMES))
OWN_CSS = """
.bars{list-style:none;padding:0;margin:12px 0}.bars li{margin:10px 0}
.bars span{display:flex;justify-content:space-between;gap:12px;font-size:.9rem}
.bars i{display:block;height:14px;border-radius:3px;background:var(--blue);min-width:2px}
.bars .chosen i{background:var(--green)}.bars .failed i{background:var(--red)}
.bars .chosen b::after{content:" – chosen"}.bars .plan b::before{content:"plan: "}
.tiles .both b{font-size:1.2rem}
tr.group span,td.text span{position:sticky;left:8px;display:inline-block;max-width:min(100%,calc(100vw - 60px));
white-space:normal;overflow-wrap:anywhere}
"""


def render(trials: Sequence[Trial], model: str, host: str, promise: Mapping[str, Any], when: str) -> str:
    """Return the page. The first trial is the plan."""
    chosen = best(trials)
    title = f"Tuning of {model} on {host}"
    parts = [
        f'<h1>{esc(title)}</h1><p class="soft">Tuned for {esc(_promise(promise))}<br>{esc(when)}</p>',
        _banner(trials, chosen),
        _tiles(trials[0], trials[chosen]),
        "<h2>Requests per second within the promise</h2>"
        '<p class="soft">Of each setting, at the load where they were most.</p>',
        _bars(trials, chosen),
        "<h2>For engineers</h2>",
        _table(trials, chosen),
    ]
    return document(title, parts, OWN_CSS)


def _promise(promise: Mapping[str, Any]) -> str:
    limits = [f"{name} within {duration(promise[key])}" for key, name in LIMITS.items() if promise.get(key)]
    share = f" for {percent(promise['share'])} of requests" if promise.get("share") else ""
    return (", ".join(limits) or "the promise") + share


def _banner(trials: Sequence[Trial], chosen: int) -> str:
    before, after = score(trials[0].get("summary")), score(trials[chosen].get("summary"))
    name = settings_words(trials[chosen]["settings"]).replace(", ", " and ")
    style = "good" if chosen else "note"
    if chosen == 0:
        text = f"The plan stays: nothing else was more than {percent(LEAST_GAIN)} better."
    elif before:
        gain = percent(round(after / before - 1, 2))
        text = f"With {name} the promise is kept for {gain} more requests than with the plan."
    else:
        text = f"With {name} the promise is kept, and with the plan it is not."
    return f'<div class="banner {style}"><p><b>{esc(text)}</b></p></div>'


def _tiles(before: Trial, after: Trial) -> str:
    """Show both sides of the figures that people ask for."""
    first, second = reference(before.get("summary")), reference(after.get("summary"))
    figures = [
        (number(score(before.get("summary"))), number(score(after.get("summary"))), "requests a second as promised"),
        (_tokens(first), _tokens(second), "tokens written a second"),
        *((_time(first, key, "p95"), _time(second, key, "p95"), f"{name}, 95 %") for key, name in TIMES),
    ]
    is_one = before is after
    entries = "".join(
        f"<li{'' if is_one else ' class=both'}><b>{_joined(a) if is_one else f'{_joined(a)} → {_joined(b)}'}</b>"
        f"<span>{esc(what)}</span></li>"
        for a, b, what in figures
        if (a, b) != (NONE, NONE)
    )
    caption = "The plan, at its best load:" if is_one else "Before (the plan) → after, each at its best load:"
    return f'<p class="soft small">{caption}</p><ul class="tiles">{entries}</ul>'


def _joined(figure: str) -> str:
    """Keep a figure and its unit on one line."""
    return esc(figure).replace(" ", "&nbsp;")


def _tokens(stage: Mapping[str, Any] | None) -> str:
    return number(stage["throughput"]["output_tokens_per_second"]) if stage else NONE


def _time(stage: Mapping[str, Any] | None, key: str, quantile: str) -> str:
    return duration(((stage or {}).get(key) or {}).get(quantile))


def _bars(trials: Sequence[Trial], chosen: int) -> str:
    most = max((score(trial.get("summary")) for trial in trials), default=0.0) or 1.0
    entries = []
    for index, trial in enumerate(trials):
        value, serves = score(trial.get("summary")), bool(trial.get("summary"))
        kinds = {"plan": index == 0, "chosen": index == chosen, "failed": not serves}
        classes = " ".join(kind for kind, holds in kinds.items() if holds)
        figure = number(value) if serves else "did not serve"
        entries.append(
            f'<li class="{classes}"><span><b>{esc(settings_words(trial["settings"]))}</b>{esc(figure)}</span>'
            f'<i style="width:{100 * value / most:.1f}%"></i></li>'
        )
    return f'<ul class="bars">{"".join(entries)}</ul>'


def _table(trials: Sequence[Trial], chosen: int) -> str:
    rows = []
    for index, trial in enumerate(trials):
        name = settings_words(trial["settings"]) + (" (chosen)" if index == chosen else "")
        rows.append(f'<tr class="group"><th colspan="{len(COLUMNS)}"><span>{esc(name)}</span></th></tr>')
        summary = trial.get("summary")
        if not summary:
            why = esc(f"not measured: {trial.get('error') or 'no reason known'}")
            rows.append(f'<tr><td class="text" colspan="{len(COLUMNS)}"><span>{why}</span></td></tr>')
        for stage in (summary or {}).get("stages") or ():
            share = percent(stage["goodput"]["share"]) if stage.get("goodput") else NONE
            cells = [stage["label"], number(stage["throughput"]["requests_per_second"]), _tokens(stage), share]
            cells += [f"{_time(stage, key, 'p50')} / {_time(stage, key, 'p95')}" for key, _name in TIMES]
            rows.append(f"<tr>{''.join(f'<td>{esc(cell)}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{esc(entry)}</th>" for entry in COLUMNS)
    return (
        '<p class="soft small">Times: the median / what 95 % of requests took at most.</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )

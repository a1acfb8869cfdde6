"""All plans as one HTML page that needs nothing else: no script, no font, no request.

Names, paths and sentences come from inventories and repositories: all of them are escaped, and the page's own
policy forbids scripts and requests besides.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence

from ..sizing.alternatives import Alternative, Point, all_alternatives, curve
from ..sizing.plans import Plan
from .bars import KINDS, Bar, Segment, bars
from .chart import chart, tokens
from .fleet import Group, Outcome
from .formulas import Figure, account, results
from .sizes import size
from .style import STYLE
from .text import host_names

NONE = "–"
# A segment narrower than this share has no room for words; the table has them all.
WORDS_FROM = 0.26
_WORDS = {"weights": "weights", "kv": "KV", "free": "free"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def text(value: object) -> str:
    """Escaped for HTML, inside of tags and out."""
    return html.escape(str(value), quote=True)


def render(groups: Sequence[Group], unreached: Sequence[str], when: str) -> str:
    """The whole page."""
    shown: dict[str, str] = {}
    sections = "".join(_group(group, number, shown) for number, group in enumerate(groups, 1))
    lost = ""
    if unreached:
        lost = _box(
            "Could not be looked at; the output of the play says why", {"hosts": host_names(unreached, 50)}, is_bad=True
        )
    overview = _overview(groups) if sum(len(group.outcomes) for group in groups) > 1 else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>Plan</title><style>{STYLE}</style></head><body>{_patterns()}<main>"
        f'<header><h1>What would run where, and why</h1><p class="soft">{_count(groups)}, planned {text(when)}. '
        "Nothing was changed. Predictions are an expected value and a floor; decisions rest on the floor.</p>"
        f"{_legend()}</header>{lost}{overview}{sections}"
        '<footer class="soft"><p>Formulas and their sources: docs/sizing.md of the collection llm.serving.</p></footer>'
        "</main></body></html>\n"
    )


def _patterns() -> str:
    """The hatching of what is expected and not certain; its colours follow the scheme."""
    return (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs><pattern id="unsure" width="7" '
        'height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="margin" width="7" '
        'height="7"/><rect class="kv" width="2.4" height="7"/></pattern></defs></svg>'
    )


def _count(groups: Sequence[Group]) -> str:
    hosts = sum(len(group.hosts) for group in groups)
    planned = sum(len(group.outcomes) * len(group.hosts) for group in groups)
    return f"{hosts:,} host{'s' * (hosts != 1)}, {planned:,} model{'s' * (planned != 1)}"


def _legend() -> str:
    items = "".join(f'<li><span class="chip {kind}"></span>{name}</li>' for kind, name in KINDS.items())
    return f'<ul class="legend" aria-label="Legend of the memory bars">{items}</ul>'


def _overview(groups: Sequence[Group]) -> str:
    rows = []
    for number, group in enumerate(groups, 1):
        for outcome in group.outcomes:
            plan = outcome.plan
            figures = _overview_figures(plan)
            state = _badge(outcome, group)
            rows.append(
                f'<tr><th scope="row"><a href="#g{number}">{text(outcome.name)}</a></th>'
                f'<td class="left">{text(host_names(group.hosts, 2))}</td>'
                f'<td class="left wide">{text(group.hardware)}</td>{figures}<td>{state}</td></tr>'
            )
    return (
        '<section class="card" aria-label="Overview"><table><caption>Overview</caption><thead><tr>'
        '<th scope="col">model</th><th scope="col" class="left">hosts</th>'
        '<th scope="col" class="left wide">hardware</th>'
        '<th scope="col" class="wide">TP × PP × DP</th><th scope="col" class="wide">context</th>'
        '<th scope="col">at once</th><th scope="col" class="wide">KV tokens</th><th scope="col">verdict</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _overview_figures(plan: Plan | None) -> str:
    values = [NONE] * 4
    if plan is not None:
        values = [
            _split(plan),
            tokens(plan.setup.max_model_len),
            f"{plan.estimate.expected.concurrency:,.1f}",
            f"{plan.estimate.expected.tokens:,}",
        ]
    classes = ("wide", "wide", "", "wide")
    return "".join(f'<td class="num {kind}">{value}</td>' for kind, value in zip(classes, values))


def _split(plan: Plan) -> str:
    setup = plan.setup
    return f"{setup.tensor_parallel_size} × {setup.pipeline_parallel_size} × {plan.data_parallel_size}"


def _badge(outcome: Outcome, group: Group) -> str:
    if group.engine == "ollama":
        fits = (group.ollama.get("memory") or {}).get("fits")
        verdicts = {"True": ("fits", "good"), "False": ("does not fit", "bad")}
        label, kind = verdicts.get(str(fits), ("not known yet", "warn"))
    elif outcome.plan is None:
        label, kind = "refused", "bad"
    elif outcome.plan.confidence != "normal":
        label, kind = "fits, less sure", "warn"
    else:
        label, kind = "fits", "good"
    return f'<span class="badge {kind}">{label}</span>'


def _group(group: Group, number: int, shown: dict[str, str]) -> str:
    engine = f"vLLM {group.host.version}" if group.engine == "vllm" else "Ollama"
    several = f" · {len(group.hosts):,} hosts alike" if len(group.hosts) > 1 else ""
    names = host_names(group.hosts)
    hardware = "" if names == group.hardware else f"{text(group.hardware)} · "
    parts = [
        f'<section id="g{number}"><h2>{text(names)}</h2><p class="soft">{hardware}{text(engine)}{several}</p>',
    ]
    if len(group.hosts) > 6:
        parts.append(
            f"<details><summary>All {len(group.hosts):,} hosts</summary>{text(', '.join(group.hosts))}</details>"
        )
    if group.refusal:
        parts.append(_refusal(group.refusal))
    drawn = bars(group)
    if drawn:
        parts.append(f'<div class="card"><h3>Memory</h3><div class="bars">{"".join(map(_bar, drawn))}</div></div>')
    if group.engine == "ollama":
        parts.append(_ollama(group))
    else:
        parts += [_outcome(outcome, group, f"g{number}m{index}", shown) for index, outcome in enumerate(group.outcomes)]
    return "".join(parts) + "</section>"


def _bar(shown: Bar) -> str:
    shares = [segment.size_bytes / shown.total_bytes for segment in shown.segments]
    spoken = ", ".join(f"{_owned(segment)} {size(segment.size_bytes)}" for segment in shown.segments)
    rects, start = [], 0.0
    for segment, share in zip(shown.segments, shares):
        fill = ' fill="url(#unsure)"' if segment.kind == "margin" else f' class="{segment.kind}"'
        rects.append(
            f'<rect x="{100 * start:.4f}%" width="{100 * share:.4f}%" height="100%"{fill} '
            f'data-bytes="{segment.size_bytes}"><title>{text(_owned(segment))}: {size(segment.size_bytes)}, '
            f"{100 * share:.1f} %</title></rect>"
        )
        if share >= WORDS_FROM and segment.kind in _WORDS:
            rects.append(
                f'<text class="on-{segment.kind}" x="{100 * (start + share / 2):.2f}%" y="50%" text-anchor="middle">'
                f"{_WORDS[segment.kind]} {size(segment.size_bytes)}</text>"
            )
        start += share
    used = [segment for segment in shown.segments if segment.owner]
    owners = ", ".join(dict.fromkeys(segment.owner for segment in used)) or "nobody"
    return (
        f'<div class="barrow"><span>{text(shown.title)}</span><svg class="bar" role="img" '
        f'data-total="{shown.total_bytes}" aria-label="{text(shown.title)}, {size(shown.total_bytes)}: {text(spoken)}">'
        f'{"".join(rects)}<rect class="frame" x="0" width="100%" height="100%" rx="5"/></svg>'
        f'<span class="total">{size(shown.total_bytes)} · {text(owners)}</span></div>'
    )


def _owned(segment: Segment) -> str:
    name = KINDS[segment.kind]
    return f"{name} of {segment.owner}" if segment.owner else name


def _outcome(outcome: Outcome, group: Group, anchor: str, shown: dict[str, str]) -> str:
    head = (
        f'<article class="card" id="{anchor}"><div class="head"><h3>{text(outcome.name)}</h3>'
        f"{_badge(outcome, group)}</div>"
        f'<p class="soft">{text(outcome.model)}{" · from " + text(outcome.origin) if outcome.origin else ""}</p>'
    )
    suited = _suited(outcome)
    plan = outcome.plan
    if plan is None:
        return f"{head}{_refusal(outcome.refusal)}{suited}</article>"
    key = _same(plan)
    warnings = _list_box(outcome.warnings)
    if key in shown:
        link = f'<p><a href="#{shown[key]}">The same plan as above</a>, with its account, chart and alternatives.</p>'
        return f"{head}{_tiles(plan)}{warnings}{link}</article>"
    shown[key] = anchor
    told = all_alternatives(plan, outcome.files, group.host) if outcome.files else {}
    others = "".join(_alternatives(title, rows) for title, rows in told.items())
    others = f"<h4>What else could be done</h4>{others}" if others else ""
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in plan.reasons)
    return (
        f"{head}{_tiles(plan)}{warnings}"
        f"<h4>The account of one {'instance' if plan.setup.is_cpu else 'GPU'}</h4>"
        f"{_account([*account(plan), *results(plan)])}"
        f"{_curve(outcome, plan)}{others}"
        f'<details open><summary>Why this plan</summary><ul class="why">{reasons}</ul></details>{suited}</article>'
    )


def _same(plan: Plan) -> str:
    """Equal for plans whose account, chart and alternatives are equal."""
    told = plan.as_dict()
    for key in ("engine_args", "environment", "gpu_indices", "warnings", "reasons", "data_parallel_size"):
        told.pop(key)
    return json.dumps([told, plan.wish.model, str(plan.setup.version)], sort_keys=True, default=str)


def _tiles(plan: Plan) -> str:
    setup, found = plan.setup, plan.estimate
    where = ", ".join(map(str, plan.gpu_indices)) or "CPU"
    replicas = f", in each of {plan.data_parallel_size} replicas" if plan.data_parallel_size > 1 else ""
    tiles = (
        (f"{found.expected.concurrency:,.1f}", f"requests of full length at once{replicas}"),
        (f"{setup.max_model_len:,}", "max_model_len"),
        (f"{found.expected.tokens:,}", "KV cache tokens"),
        (_split(plan), f"TP × PP × DP, {'GPU ' if plan.gpu_indices else ''}{where}"),
        (setup.dtype, f"dtype; KV cache {setup.kv_cache_dtype}"),
        (str(setup.max_num_seqs), f"max_num_seqs; {setup.max_num_batched_tokens:,} tokens a step"),
    )
    return (
        '<ul class="tiles">' + "".join(f"<li><b>{text(a)}</b><span>{text(b)}</span></li>" for a, b in tiles) + "</ul>"
    )


def _account(figures: Iterable[Figure]) -> str:
    rows = "".join(
        f'<tr{" class=sum" if figure.sign == "=" else ""}><th scope="row"><span class="sign">{figure.sign}</span>'
        f'{text(figure.label)}</th><td class="num">{text(figure.value)}</td>'
        f'<td class="formula">{text(figure.formula)}</td></tr>'
        for figure in figures
    )
    return (
        '<table class="account"><thead><tr><th scope="col">figure</th><th scope="col">value</th>'
        f'<th scope="col" class="left">formula</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _curve(outcome: Outcome, plan: Plan) -> str:
    found = plan.estimate
    points = curve(plan.setup, plan.setup.shape.max_position or plan.setup.max_model_len)
    planned = Point(plan.setup.max_model_len, found.expected.concurrency, found.floor.concurrency)
    label = text(
        f"{outcome.name}: requests at once against context length, from {points[0].expected:.1f} at "
        f"{points[0].length:,} tokens to {points[-1].expected:.1f} at {points[-1].length:,}; "
        f"planned {planned.expected:.1f} at {planned.length:,}"
    )
    drawn = chart(points, planned, plan.setup.max_num_seqs, label)
    if not drawn:
        return ""
    rows = "".join(
        f'<tr{" class=planned" if point.length == planned.length else ""}><th scope="row">{point.length:,}</th>'
        f"<td>{point.expected:.2f}</td><td>{point.floor:.2f}</td></tr>"
        for point in points
    )
    return (
        "<h4>Requests at once, by context length</h4>"
        f'<figure><div class="plot">{drawn}<div class="axis">tokens per request (log)</div></div>'
        '<figcaption class="soft">Prompt and reply count. Line: expected; dashed: certain. Both axes are logarithmic.'
        "</figcaption></figure>"
        '<details><summary>The chart in figures</summary><table><thead><tr><th scope="col">tokens</th>'
        f'<th scope="col">expected</th><th scope="col">certain</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _alternatives(title: str, rows: Sequence[Alternative]) -> str:
    body = "".join(_alternative(row) for row in rows)
    return (
        f'<details open><summary>{text(title)}</summary><table><thead><tr><th scope="col">choice</th>'
        '<th scope="col">GPUs</th><th scope="col" class="wide">weights each</th>'
        '<th scope="col" class="wide">KV each</th>'
        '<th scope="col" class="wide">KV tokens</th><th scope="col">at once</th><th scope="col">longest request</th>'
        "</tr></thead>"
        f"<tbody>{body}</tbody></table></details>"
    )


def _alternative(row: Alternative) -> str:
    start = f'<tr{" class=planned" if row.is_planned else ""}><th scope="row">{text(row.label)}'
    start += f"{' · planned' if row.is_planned else ''}</th>"
    if row.problem and row.weights_bytes is None:
        return f'{start}<td colspan="6" class="left soft">{text(row.problem)}</td></tr>'
    count = NONE if row.concurrency is None else f"{row.concurrency:,.1f}"
    longest = NONE if row.longest is None else tokens(row.longest)
    return (
        f'{start}<td>{row.gpus}</td><td class="num wide">{_size(row.weights_bytes)}</td>'
        f'<td class="num wide">{_size(row.kv_bytes)}</td>'
        f'<td class="num wide">{NONE if row.tokens is None else f"{row.tokens:,}"}</td>'
        f"<td{'' if row.problem else ' class=num'}>{text(row.problem) if row.problem else count}</td><td>{longest}</td></tr>"
    )


def _size(value: int | None) -> str:
    return NONE if value is None else size(value)


def _suited(outcome: Outcome) -> str:
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in outcome.suited.reasons)
    names = {"vllm": "vLLM", "ollama": "Ollama", None: "none"}
    return (
        f"<details><summary>Engine that suits: {names[outcome.suited.engine]}</summary>"
        f'<ul class="why">{reasons}</ul><p class="soft">By the table of rules in docs/choosing-an-engine.md.</p>'
        "</details>"
    )


def _list_box(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    return '<div class="box"><ul>' + "".join(f"<li>{text(warning)}</li>" for warning in warnings) + "</ul></div>"


def _refusal(refusal: Mapping[str, str]) -> str:
    told = {key: refusal[key] for key in ("expected", "found", "remedy") if refusal.get(key)}
    return _box(refusal.get("message", "refused"), told, is_bad=True)


def _box(title: str, lines: Mapping[str, str], is_bad: bool) -> str:
    items = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in lines.items())
    kind = " bad" if is_bad else ""
    return f'<div class="box{kind}" role="note"><b>{text(title)}</b><dl>{items}</dl></div>'


def _ollama(group: Group) -> str:
    planned = group.ollama
    memory = planned.get("memory") or {}
    rows = "".join(
        f'<tr><th scope="row">{text(model.get("name"))}</th><td>{text(model.get("parallel") or NONE)}</td>'
        f"<td>{tokens(model['context']) if model.get('context') else NONE}</td>"
        f'<td class="num wide">{_size(model.get("weights_bytes"))}</td>'
        f'<td class="num">{_size(model.get("need_bytes"))}</td></tr>'
        for model in memory.get("models") or ()
    )
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in planned.get("reasons") or ())
    suited = "".join(f"<h4>{text(outcome.name)}</h4>{_suited(outcome)}" for outcome in group.outcomes)
    return (
        f'<article class="card"><h3>Ollama</h3>{_list_box(planned.get("remarks") or ())}'
        '<table><caption class="soft">'
        "needs = weights + parallel × context × KV bytes per token + 1 GiB for computing</caption>"
        '<thead><tr><th scope="col">model</th><th scope="col">parallel</th><th scope="col">context</th>'
        f'<th scope="col" class="wide">weights</th><th scope="col">needs</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<details open><summary>Why this plan</summary><ul class="why">{reasons}</ul></details>{suited}</article>'
    )

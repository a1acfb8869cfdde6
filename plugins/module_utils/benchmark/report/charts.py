"""Charts as SVG, drawn for a width at which their text can be read on a phone; colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .text import duration, esc, number

Point = tuple[float, float]

WIDTH = 420
HEIGHT = 260
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 20, 42
TICKS = 5
LABEL_GAP = 34
CHARACTER_WIDTH = 6.6
# A range wider than this is drawn on a logarithmic axis.
LOG_FROM_RATIO = 8


@dataclass(frozen=True)
class Series:
    """A line and its name; `style` is a class of the page."""

    name: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Mark:
    """A line across the chart with a few words, at a value of one axis."""

    at: float
    text: str
    style: str


class Axis:
    """Maps values to pixels."""

    def __init__(self, low: float, high: float, first: float, last: float, log: bool = False) -> None:
        self.low, self.high, self.log = low, high if high > low else low + 1, log
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self._first + share * (self._last - self._first), 1)

    def ticks(self) -> list[float]:
        """Return round values within the range."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if self.high / self.low < 200 else (1,)
            values = [step * 10.0**decade for decade in decades for step in steps]
            return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        step = nice((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def nice(value: float) -> float:
    """Return the next round number: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def against_load(
    title: str,
    series: Sequence[Series],
    load_name: str,
    label: Callable[[float], str],
    *,
    knee: Mark | None = None,
    limit: Mark | None = None,
) -> str:
    """Draw lines over the load; a line at the knee, another at a limit."""
    loads = sorted({x for line in series for x, y in line.points})
    values = [y for line in series for x, y in line.points] + ([limit.at] if limit else [])
    wide = loads[-1] / loads[0] >= LOG_FROM_RATIO
    margin = 0 if len(loads) > 1 else 1
    x = Axis(max(loads[0] - margin, 0), loads[-1] + margin, LEFT + 8, WIDTH - RIGHT - 8, log=wide)
    y = _value_axis(max(values))
    return _figure(
        title,
        [
            _grid_y(y, label),
            _grid_x([(load, number(load)) for load in loads], x, load_name, lines=False),
            _at_height(limit, y, right=knee is not None and x.at(knee.at) < WIDTH / 2),
            _upright(knee, x),
            *(_line(line, x, y, label, dots=True) for line in series),
        ],
        legend=series,
    )


def cumulative(title: str, series: Sequence[Series], limit: Mark | None = None) -> str:
    """Draw which share of the values is at most so large; points are (seconds, share)."""
    seconds = [x for line in series for x, y in line.points if x > 0] + ([limit.at] if limit else [])
    low, high = min(seconds), max(seconds)
    x = Axis(low * 0.9, high * 1.1, LEFT, WIDTH - RIGHT, log=high / low >= LOG_FROM_RATIO)
    y = Axis(0, 1, HEIGHT - BOTTOM, TOP)
    return _figure(
        title,
        [
            _grid_y(y, lambda share: f"{100 * share:.0f} %"),
            _grid_x([(tick, duration(tick)) for tick in x.ticks()], x, "at most this long", lines=True),
            _upright(limit, x),
            *(_line(line, x, y, duration, dots=False) for line in series),
        ],
        legend=series,
    )


@dataclass(frozen=True)
class Band:
    """A stage's part of a timeline."""

    begin: float
    end: float
    text: str


def timeline(
    title: str, width: int, bands: Sequence[Band], good: Sequence[Point], failed: Sequence[tuple[float, float, str]]
) -> str:
    """Draw each request at its start and as high as it took long; failures are crosses."""
    end = max(band.end for band in bands)
    heights = [point[1] for point in good] + [point[1] for point in failed]
    x, y = Axis(0, end, LEFT, width - RIGHT), _value_axis(max(heights))
    dots = "".join(f'<circle cx="{x.at(a)}" cy="{y.at(b)}" r="2.2"/>' for a, b in good)
    crosses = "".join(
        f'<path d="M{x.at(a) - 4} {y.at(b) - 4}l8 8m0-8l-8 8"><title>{esc(why)}</title></path>' for a, b, why in failed
    )
    return _figure(
        title,
        [
            _bands(bands, x),
            _grid_y(y, duration),
            _grid_x([(tick, duration(tick) if tick else "0") for tick in x.ticks()], x, "since the beginning", True),
            f'<g class="dots">{dots}</g><g class="crosses">{crosses}</g>',
        ],
        width=width,
    )


def under_way(title: str, width: int, bands: Sequence[Band], steps: Sequence[Point]) -> str:
    """Draw how many requests were under way over time."""
    end = max(band.end for band in bands)
    x, y = Axis(0, end, LEFT, width - RIGHT), _value_axis(max(step[1] for step in steps))
    path = f"M{x.at(steps[0][0])} {y.at(0)}"
    path += "".join(f"H{x.at(at)}V{y.at(count)}" for at, count in steps)
    return _figure(
        title,
        [
            _bands(bands, x),
            _grid_y(y, number),
            _grid_x([(tick, duration(tick) if tick else "0") for tick in x.ticks()], x, "since the beginning", True),
            f'<path class="area" d="{path}V{y.at(0)}Z"/>',
        ],
        width=width,
    )


def _value_axis(most: float) -> Axis:
    most = most or 1.0
    step = nice(most / TICKS)
    return Axis(0, math.ceil(most / step - 1e-9) * step, HEIGHT - BOTTOM, TOP)


def _figure(title: str, parts: Sequence[str], legend: Sequence[Series] = (), width: int = WIDTH) -> str:
    entries = "".join(f'<li><i class="{line.style}"></i>{esc(line.name)}</li>' for line in legend)
    keys = f'<ul class="legend">{entries}</ul>' if entries else ""
    return (
        f'<figure><figcaption>{esc(title)}</figcaption><svg viewBox="0 0 {width} {HEIGHT}" role="img" '
        f'aria-label="{esc(title)}">{"".join(parts)}</svg>{keys}</figure>'
    )


def _grid_y(axis: Axis, label: Callable[[float], str]) -> str:
    return "".join(
        f'<path class="grid" d="M{LEFT} {axis.at(tick)}H9999"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{axis.at(tick) + 4}" text-anchor="end">{esc(label(tick))}</text>'
        for tick in axis.ticks()
    )


def _grid_x(ticks: Sequence[tuple[float, str]], axis: Axis, name: str, lines: bool) -> str:
    parts = []
    free_from = -LABEL_GAP * 1.0
    for value, text in ticks:
        at = axis.at(value)
        if lines:
            parts.append(f'<path class="grid" d="M{at} {TOP}V{HEIGHT - BOTTOM}"/>')
        if at < free_from:
            continue
        free_from = at + LABEL_GAP
        parts.append(f'<text class="tick" x="{at}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{esc(text)}</text>')
    parts.append(f'<text class="name" x="{LEFT}" y="{HEIGHT - 6}">{esc(name)}</text>')
    return "".join(parts)


def _at_height(mark: Mark | None, axis: Axis, right: bool) -> str:
    """Draw a level mark, its words at one end."""
    if mark is None:
        return ""
    at = axis.at(mark.at)
    x, anchor = (WIDTH - RIGHT - 6, "end") if right else (LEFT + 6, "start")
    return (
        f'<path class="{mark.style}" d="M{LEFT} {at}H9999"/>'
        f'<text class="marktext {mark.style}" x="{x}" y="{at - 5}" text-anchor="{anchor}">{esc(mark.text)}</text>'
    )


def _upright(mark: Mark | None, axis: Axis) -> str:
    """Draw an upright mark; its words stand on the side that has room for them."""
    if mark is None:
        return ""
    at = axis.at(mark.at)
    left = at > WIDTH * 0.6
    anchor, shift = ("end", -5) if left else ("start", 5)
    return (
        f'<path class="{mark.style}" d="M{at} {TOP - 12}V{HEIGHT - BOTTOM}"/>'
        f'<text class="marktext {mark.style}" x="{at + shift}" y="{TOP - 7}" text-anchor="{anchor}">'
        f"{esc(mark.text)}</text>"
    )


def _line(line: Series, x: Axis, y: Axis, label: Callable[[float], str], dots: bool) -> str:
    if not line.points:
        return ""
    places = [(x.at(a), y.at(b)) for a, b in line.points]
    path = "M" + "L".join(f"{a} {b}" for a, b in places)
    marks = (
        "".join(
            f'<circle cx="{a}" cy="{b}" r="3.5"><title>{esc(line.name)}: {esc(label(point[1]))}</title></circle>'
            for (a, b), point in zip(places, line.points)
        )
        if dots
        else ""
    )
    return f'<g class="{line.style}"><path class="line" d="{path}"/>{marks}</g>'


def _bands(bands: Sequence[Band], axis: Axis) -> str:
    """Draw every other stage darker, and the names that have room."""
    shades, names = [], []
    free_from = 0.0
    for index, band in enumerate(bands):
        begin, end = axis.at(band.begin), axis.at(band.end)
        if index % 2 == 0:
            width = round(max(end - begin, 1), 1)
            shades.append(
                f'<rect class="band" x="{begin}" y="{TOP - 16}" width="{width}" height="{HEIGHT - BOTTOM - TOP + 16}"/>'
            )
        if begin >= free_from:
            names.append(f'<text class="bandtext" x="{begin + 3}" y="{TOP - 4}">{esc(band.text)}</text>')
            free_from = begin + CHARACTER_WIDTH * len(band.text) + 8
    return "".join(shades + names)

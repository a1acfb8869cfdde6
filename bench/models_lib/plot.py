"""Time for N hosts as a plot, in SVG: in times of what one host takes, which other machines can be held against."""

from __future__ import annotations

from collections.abc import Sequence

from .site import DIRECT, FIRST, MIRROR, Measured

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 56, 40, 150, 44
LOOKS = {DIRECT: ("#b3401f", "6 0"), MIRROR: ("#1f5fb3", "6 0"), FIRST: ("#4d7a1f", "6 5")}


def plot(measured: Sequence[Measured], size_words: str) -> str:
    """Draw one line for each way."""
    unit = next(m.seconds for m in measured if m.way == DIRECT and m.hosts == 1)
    most = max(m.hosts for m in measured)
    top = max(m.seconds / unit for m in measured) * 1.05

    def at(hosts: float, ratio: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (hosts - 1) / (most - 1)
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio / top, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12" role="img">',
        "<title>Time until every host has the model, by the number of hosts</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">Until all have {size_words}, in times of one host straight from the'
        " Hub</text>",
    ]
    step = max(1, round(top / 5))
    for ratio in range(0, int(top) + 1, step):
        x, y = at(1, ratio)
        parts.append(f'<path d="M{x} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{ratio}</text>')
    for hosts in sorted({m.hosts for m in measured}):
        x, y = at(hosts, 0)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{hosts}</text>')
    parts.append(f'<text x="{at((most + 1) / 2, 0)[0]}" y="{HEIGHT - 8}" text-anchor="middle">hosts</text>')
    for way, (colour, dashes) in LOOKS.items():
        line = sorted((m for m in measured if m.way == way), key=lambda m: m.hosts)
        if not line:
            continue
        points = [at(m.hosts, m.seconds / unit) for m in line]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"'
                     f' stroke-dasharray="{dashes}"/>')  # fmt: skip
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in points]
        x, y = points[-1]
        parts.append(f'<text x="{x + 8}" y="{y + 4}" fill="{colour}">{way}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"

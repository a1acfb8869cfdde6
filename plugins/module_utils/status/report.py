"""One readable block per host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MIB = 1024**2
GIB = 1024**3
INDENT = "  "


def render(host: str, status: Mapping[str, Any]) -> str:
    """The block of one host."""
    memory = status["memory"]
    lines = [
        f"== {host} ==",
        f"memory: {_gib(memory['available_bytes'])} available of {_gib(memory['total_bytes'])}",
        *(_card(card) for card in status["gpus"]),
    ]
    if not status["units"]:
        lines.append("no unit ollama.service or vllm@… is known on this host")
    for unit in status["units"]:
        lines += ["", *_unit(unit)]
    return "\n".join(lines)


def _card(card: Mapping[str, Any]) -> str:
    total, free = card.get("memory_total_bytes"), card.get("memory_free_bytes")
    room = f"{_gib(total - free)} used of {_gib(total)}" if total and free is not None else "memory unknown"
    return f"GPU {card['index']}: {card.get('name') or 'unknown'}, {room}"


def _unit(unit: Mapping[str, Any]) -> Sequence[str]:
    state = f"{unit['active']} ({unit['sub']})"
    since = f" since {unit['since']}" if unit["since"] else ""
    lines = [
        f"{unit['name']}: {state}{since}, restarted {unit['restarts']} times"
        + (f", {_gib(unit['memory_bytes'])} in memory" if unit["memory_bytes"] else ""),
    ]
    lines += _section("listens on", unit["listens"], "no port")
    lines += _section("models", unit["models"], "none" if unit["answers"] else "its API does not answer")
    lines += _section("work", unit["work"], "")
    lines += _section("what the log means", unit["notes"], "")
    lines += _section(f"last {len(unit['log'])} lines", unit["log"], "the journal is empty")
    return lines


def _section(title: str, rows: Sequence[str], when_empty: str) -> list[str]:
    if len(rows) == 1:
        return [f"{INDENT}{title}: {rows[0]}"]
    if rows:
        return [f"{INDENT}{title}:", *(f"{INDENT}{INDENT}{row}" for row in rows)]
    return [f"{INDENT}{title}: {when_empty}"] if when_empty else []


def _gib(value_bytes: float) -> str:
    return f"{value_bytes / GIB:.1f} GiB" if value_bytes >= GIB else f"{value_bytes / MIB:.0f} MiB"

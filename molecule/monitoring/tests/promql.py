"""Names of metrics in PromQL, and what dashboards ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACES = re.compile(r"\{[^{}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_LABEL_LISTS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset"}


def metric_names(expression: str) -> set[str]:
    """Return the metrics that an expression reads."""
    text = _STRING.sub('""', expression)
    for pattern in (_BRACES, _RANGE, _LABEL_LISTS):
        text = pattern.sub(" ", text)
    return {match for match in re.findall(r"(?<![\w.])[A-Za-z_:][\w:]*(?![\w:]*\s*\()", text) if match not in _WORDS}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every panel, those inside of rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def dashboards(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}

"""One thing that can be wrong: how it shows, why it happens, what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

CRITICAL, WARNING, NOTE = "critical", "warning", "note"
# A sentence has room for so much of what a log line says; the finding shows the line besides.
MAX_VALUE_CHARS = 120
SEVERITIES = (CRITICAL, WARNING, NOTE)
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"


@dataclass(frozen=True)
class Rule:
    """A failure that is known.

    pattern is what a log line of it looks like, None where a check finds it. In cause and remedy `{1}` stands for
    the pattern's first group. variable names what to set in the inventory, fix what `--tags fix` may do.
    """

    code: str
    pattern: re.Pattern[str] | None
    cause: str
    remedy: str
    variable: str = ""
    confidence: str = CERTAIN
    severity: str = CRITICAL
    fix: str = ""


def sign(
    code: str,
    pattern: str,
    cause: str,
    remedy: str,
    variable: str = "",
    *,
    confidence: str = CERTAIN,
    severity: str = CRITICAL,
    fix: str = "",
) -> Rule:
    """Make a rule that a log line shows."""
    return Rule(code, re.compile(pattern, re.IGNORECASE), cause, remedy, variable, confidence, severity, fix)


def check(
    code: str,
    cause: str,
    remedy: str,
    variable: str = "",
    *,
    confidence: str = CERTAIN,
    severity: str = CRITICAL,
    fix: str = "",
) -> Rule:
    """Make a rule that a look at the host shows."""
    return Rule(code, None, cause, remedy, variable, confidence, severity, fix)


def fill(text: str, match: re.Match[str] | None) -> str:
    """Put what a log line says in the places of a rule's text."""

    def group(found: re.Match[str]) -> str:
        number = int(found[1])
        known = match is not None and number <= (match.re.groups or 0)
        value = (match[number] if match is not None and known else None) or "its own limit"
        return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS].rstrip() + " …"

    return re.sub(r"\{(\d)\}", group, text)

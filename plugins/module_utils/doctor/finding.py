"""What was found to be wrong, in the order in which to deal with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from .failures import Decision
from .rule import CERTAIN, SEVERITIES, Rule, fill
from .rules import rule_of

# Where evidence comes from, the deepest first: what lies deeper explains what lies above it.
GPU, KNOWN_LOG, FILES, NETWORK, GUESSED_LOG, UNKNOWN_LOG, STATE, HOUSEKEEPING = range(8)


@dataclass(frozen=True)
class Finding:
    """Something wrong. fix is empty, or what `--tags fix` does to target."""

    code: str
    severity: str
    subject: str
    evidence: str
    cause: str
    remedy: str
    variable: str = ""
    confidence: str = ""
    fix: str = ""
    target: str = ""
    depth: int = STATE

    def as_dict(self) -> dict[str, object]:
        """Return plain data."""
        return {name: value for name, value in asdict(self).items() if name != "depth"}


def of_rule(
    rule: Rule,
    subject: str,
    evidence: str,
    depth: int,
    *,
    severity: str = "",
    target: str = "",
    places: Mapping[str, str] | None = None,
    decision: Decision | None = None,
) -> Finding:
    """Make a finding of a rule; places replaces texts of it, by field."""
    match = decision.match if decision else None
    texts = {"cause": fill(rule.cause, match), "remedy": fill(rule.remedy, match), **(places or {})}
    return Finding(
        code=texts.get("code", rule.code),
        severity=severity or rule.severity,
        subject=subject,
        evidence=evidence,
        cause=texts["cause"],
        remedy=texts["remedy"],
        variable=rule.variable,
        confidence=rule.confidence,
        fix=rule.fix,
        target=target if rule.fix else "",
        depth=depth,
    )


def of_decision(decision: Decision, subject: str, *, severity: str = "", target: str = "") -> Finding:
    """Make a finding of what a log says."""
    rule = decision.rule or rule_of("cause_not_in_log" if decision.is_pointer else "unknown")
    known = decision.match is not None
    depth = UNKNOWN_LOG if not known else KNOWN_LOG if rule.confidence == CERTAIN else GUESSED_LOG
    return of_rule(rule, subject, decision.line, depth, severity=severity, target=target, decision=decision)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Sort the worst first, causes before their consequences; say nothing twice."""
    unique: dict[tuple[str, str], Finding] = {}
    ranked = sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.depth))
    for finding in ranked:
        unique.setdefault((finding.subject, finding.code), finding)
    return list(unique.values())

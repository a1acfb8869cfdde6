"""The doctor's findings as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .rule import SEVERITIES

HEALTHY = "nothing is wrong"
# What fits a terminal beside Ansible's own indentation; an engine's line may be a whole list of architectures.
WIDTH = 100
MAX_EVIDENCE = 400
HANGING = " " * 12


def render(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One block per host, the host with the worst finding first; of several hosts, how they are all together."""
    ranked = sorted(hosts, key=lambda host: (_rank(hosts[host]), host))
    summary = [_summary(hosts)] if len(hosts) > 1 else []
    return "\n\n".join([*summary, *(_block(host, hosts[host]) for host in ranked)])


def _summary(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    ranks = [_rank(findings) for findings in hosts.values()]
    names = ("critical", "with warnings", "with notes", "with nothing wrong")
    counted = [f"{ranks.count(rank)} {name}" for rank, name in enumerate(names) if ranks.count(rank)]
    return f"{len(hosts)} hosts: {', '.join(counted)}"


def _rank(findings: Sequence[Mapping[str, Any]]) -> int:
    return min((SEVERITIES.index(finding["severity"]) for finding in findings), default=len(SEVERITIES))


def _block(host: str, findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return f"== {host} == {HEALTHY}"
    count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    return "\n".join([f"== {host} == {count}", *(line for finding in findings for line in _finding(finding))])


def _finding(finding: Mapping[str, Any]) -> list[str]:
    name = finding["code"].replace("_", " ")
    evidence = " ".join(str(finding["evidence"]).split())
    if len(evidence) > MAX_EVIDENCE:
        evidence = evidence[:MAX_EVIDENCE].rstrip() + " …"
    lines = [
        f"{finding['severity'].upper()}  {finding['subject']}: {name} ({finding['confidence']})",
        *_wrapped("seen:", evidence),
        *_wrapped("cause:", finding["cause"]),
        *_wrapped("to do:", finding["remedy"]),
    ]
    if finding["variable"]:
        lines += _wrapped("set:", finding["variable"])
    if finding["fix"]:
        lines.append(f"    --tags fix: {finding['fix'].replace('_', ' ')} {finding['target']}".rstrip())
    return lines


def _wrapped(label: str, text: str) -> list[str]:
    """Break a text into lines below each other; a path or a command stays whole."""
    first = f"    {label:<8}"
    return textwrap.wrap(
        str(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=HANGING,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]

"""The doctor's findings as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .rule import SEVERITIES

HEALTHY = "nothing is wrong"


def render(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One block per host, the host with the worst finding first."""
    ranked = sorted(hosts, key=lambda host: (_rank(hosts[host]), host))
    return "\n\n".join(_block(host, hosts[host]) for host in ranked)


def _rank(findings: Sequence[Mapping[str, Any]]) -> int:
    return min((SEVERITIES.index(finding["severity"]) for finding in findings), default=len(SEVERITIES))


def _block(host: str, findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return f"== {host} == {HEALTHY}"
    count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    return "\n".join([f"== {host} == {count}", *(line for finding in findings for line in _finding(finding))])


def _finding(finding: Mapping[str, Any]) -> list[str]:
    name = finding["code"].replace("_", " ")
    lines = [
        f"{finding['severity'].upper()}  {finding['subject']}: {name} ({finding['confidence']})",
        f"    seen:   {' '.join(str(finding['evidence']).split())}",
        f"    cause:  {finding['cause']}",
        f"    to do:  {finding['remedy']}",
    ]
    if finding["variable"]:
        lines.append(f"    set:    {finding['variable']}")
    if finding["fix"]:
        lines.append(f"    --tags fix: {finding['fix'].replace('_', ' ')} {finding['target']}".rstrip())
    return lines

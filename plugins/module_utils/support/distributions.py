"""Which distributions the roles know, by /etc/os-release, and what to do about others: docs/support.md in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEBIAN, UBUNTU, REDHAT = "debian", "ubuntu", "redhat"
_ENTERPRISE_LINUX = ("rhel", "rocky", "almalinux", "centos", "ol")
# The oldest release of each family whose Python and systemd will do.
OLDEST: Mapping[str, tuple[int, ...]] = {DEBIAN: (12,), UBUNTU: (22, 4), REDHAT: (9,)}
NAMES = "Debian 12 or 13, Ubuntu 22.04 or 24.04, or RHEL or Rocky 9 or 10"


@dataclass(frozen=True)
class Distribution:
    """What /etc/os-release says. `version` is 12 or 24.04; `like` names what a derivative is made of."""

    id: str
    version: str
    name: str = ""
    like: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Whose packages it has: debian, ubuntu or redhat; empty for any other."""
        for known in (self.id, *self.like):
            if known in (DEBIAN, UBUNTU):
                return known
            if known in _ENTERPRISE_LINUX:
                return REDHAT
        return ""

    @property
    def is_derivative(self) -> bool:
        """Whether it has the packages of another, and versions of its own."""
        return self.id not in (DEBIAN, UBUNTU, *_ENTERPRISE_LINUX)

    def problem(self) -> str:
        """Say why the roles do not know it, and what to do; empty where they do. Later releases are taken for known."""
        found = self.name or f"{self.id} {self.version}".strip() or "a system without /etc/os-release"
        if not self.family:
            return f"expected {NAMES}, found {found}: install one of them, or take a container host that runs one"
        if self.is_derivative or _numbers(self.version) >= OLDEST[self.family]:
            return ""
        return f"expected {NAMES}, found {found}, which is too old: upgrade it first"


def distribution_facts(root: Path = Path("/")) -> dict[str, str]:
    """What a host is, as facts have it."""
    found = read_distribution(root)
    return {"id": found.id, "version": found.version, "family": found.family, "problem": found.problem()}


def read_distribution(root: Path = Path("/")) -> Distribution:
    """Read /etc/os-release; of a host without one, nothing is known."""
    try:
        text = (root / "etc/os-release").read_text("utf-8")
    except OSError:
        return Distribution("", "")
    pairs = (line.partition("=") for line in text.splitlines())
    values = {name: value.strip("\"'") for name, separator, value in pairs if separator}
    like = tuple(values.get("ID_LIKE", "").split())
    return Distribution(values.get("ID", ""), values.get("VERSION_ID", ""), values.get("PRETTY_NAME", ""), like)


def _numbers(version: str) -> tuple[int, ...]:
    """24.04 → (24, 4). Testing and unstable have no version: they are newer than any release."""
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (9999,)

"""Defaults and argument specs of every role tell the same story."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))
pytestmark = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}


def defaults(role: Path) -> dict[str, Any]:
    return read(role / "defaults" / "main.yml") or {}


def options(role: Path) -> dict[str, Any]:
    return read(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})


def is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def test_every_default_is_specified(role: Path) -> None:
    assert set(defaults(role)) - set(options(role)) == set()


def test_every_optional_variable_has_a_default(role: Path) -> None:
    """A variable without a default is either required or says in its description what leaving it out means."""
    without = {name for name, spec in options(role).items() if "default" in spec} - set(defaults(role))
    assert without == set()


def test_defaults_are_the_specified_ones(role: Path) -> None:
    specified = {name: spec["default"] for name, spec in options(role).items() if "default" in spec}
    actual = {name: value for name, value in defaults(role).items() if not is_template(value)}
    differing = {name for name, value in actual.items() if name in specified and specified[name] != value}
    unstated = {name for name, value in actual.items() if value not in (None, "", [], {}) and name not in specified}
    assert (differing, unstated) == (set(), set())


def test_families_of_distributions_differ_in_the_same_things(role: Path) -> None:
    """A variable that one family's file lacks would be missed on the hosts that nobody tests."""
    families = {path.stem: read(path) for path in role.glob("vars/*.yml") if path.stem != "main"}
    if families:
        assert set(families) == {"Debian", "RedHat"}
        assert shape(families["Debian"]) == shape(families["RedHat"])


def shape(value: Any) -> Any:
    """Return the keys of a dictionary, however deep, and the types of what it holds."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)


def test_names_carry_the_role(role: Path) -> None:
    prefix = f"{role.name.lstrip('_')}_"
    assert [name for name in options(role) if not name.startswith(prefix)] == []


def test_every_option_is_described(role: Path) -> None:
    def undescribed(specs: dict[str, Any], at: str) -> list[str]:
        found = []
        for name, spec in specs.items():
            if not spec.get("description"):
                found.append(f"{at}{name}")
            found += undescribed(spec.get("options", {}), f"{at}{name}.")
        return found

    assert undescribed(options(role), "") == []

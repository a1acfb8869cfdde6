"""The alert rules as the role writes them, without Ansible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "monitoring"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


def render(**variables: Any) -> str:
    """Return the rule file for the defaults, or other values."""
    header, text = (ROLE / "templates" / "alerts.yml.j2").read_text().split("\n", 1)
    assert header.startswith("#jinja2: variable_start_string:'<<', variable_end_string:'>>'")
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        variable_start_string="<<", variable_end_string=">>", trim_blocks=True, lstrip_blocks=True
    )
    values = {**DEFAULTS, "ansible_managed": "", "monitoring_ollama_shares": [], **variables}
    return environment.from_string(text).render(**values)


def alerts(text: str) -> dict[str, dict[str, Any]]:
    """Return the rules by the name of their alert."""
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}

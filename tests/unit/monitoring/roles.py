"""The roles' variables, tasks and templates, as Ansible would template them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLES = Path(__file__).resolve().parents[3] / "roles"
LOADER = DataLoader()


def load(role: str, file: str) -> Any:
    """Return a YAML file of a role."""
    return LOADER.load_from_file(str(ROLES / role / file), trusted_as_template=True)


def derive(role: str, text: Any, **variables: Any) -> Any:
    """Template something by a role's defaults and variables, or by others in their place."""
    known = {key: value for file in ("defaults/main.yml", "vars/main.yml") for key, value in load(role, file).items()}
    return Templar(LOADER, {**known, **variables}).template(text)


def task(role: str, file: str, name: str) -> Any:
    """Return a task of a role by its name."""
    (found,) = [task for task in load(role, f"tasks/{file}.yml") if task["name"] == name]
    return found

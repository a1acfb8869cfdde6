"""What there is to be named: variables, tags, units, and what playbooks read."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml

from .blocks import ROOT

# Beside those of the roles' own templates: what Debian's packages and drivers bring.
FOREIGN_UNITS = ("haproxy", "nvidia-fabricmanager", "prometheus", "grafana-server", "nvidia-persistenced")
INVENTORY_KEYS = {"hosts", "children", "vars"}


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@functools.cache
def role_options() -> dict[str, dict[str, Any]]:
    """Return the argument specification of every public variable."""
    options: dict[str, dict[str, Any]] = {}
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        for spec in read_yaml(path)["argument_specs"].values():
            options.update(spec.get("options", {}))
    return options


@functools.cache
def documentation(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that a module or filter documents, and its return values."""
    sidecar = ROOT / "plugins" / "filter" / f"{name}.yml"
    if sidecar.exists():
        found = read_yaml(sidecar)
    else:
        text = (ROOT / "plugins" / "modules" / f"{name}.py").read_text("utf-8")
        found = {
            part: yaml.safe_load(match[1])
            for part in ("DOCUMENTATION", "RETURN")
            if (match := re.search(rf'^{part} = r?"""(.*?)"""', text, re.MULTILINE | re.DOTALL))
        }
    return found["DOCUMENTATION"].get("options", {}), found.get("RETURN", {})


def returned_keys(name: str) -> set[str]:
    """Return the keys that the values of a module or a filter have, however deep."""

    def keys(values: dict[str, Any]) -> set[str]:
        inner = [keys(spec.get("contains", {})) for spec in values.values()]
        return set(values).union(*inner)

    return keys(documentation(name)[1])


def playbook_texts(playbook: Path) -> list[str]:
    """Return the text of a playbook, and of the playbooks and task files that it takes in, without comments."""
    text = "\n".join(line for line in playbook.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    texts = [text]
    for name in re.findall(r"(?:import_playbook|include_tasks|import_tasks): (\S+\.yml)", text):
        texts += playbook_texts(playbook.parent / name)
    return texts


def is_read_by(playbook: Path, variable: str) -> bool:
    """Tell whether a playbook, or one of its roles, reads a variable."""
    texts = playbook_texts(playbook)
    roles = {role for text in texts for role in re.findall(r"llm\.serving\.(\w+)", text)}
    if variable in role_options() and variable.startswith(tuple(f"{role}_" for role in [*roles, "models", "common"])):
        return True
    return any(re.search(rf"\b{re.escape(variable)}\b", text) for text in texts)


@functools.cache
def tags(playbook: Path) -> frozenset[str]:
    """Return the tags of a playbook's tasks, and of those of its roles."""
    texts = playbook_texts(playbook)
    for role in sorted({role for text in texts for role in re.findall(r"llm\.serving\.(\w+)", text)}):
        texts += [path.read_text("utf-8") for path in ROOT.glob(f"roles/{role}/tasks/*.yml")]
    found = re.findall(r"tags: *(?:\[([^\]]*)\]|(\w+))", "\n".join(texts))
    return frozenset(tag.strip() for listed, single in found for tag in (listed or single).split(","))


def model_keys() -> set[str]:
    """Return the keys that an entry of vllm_models may have."""
    return set(role_options()["vllm_models"]["options"])


def units() -> set[str]:
    """Return the names of units, without their types and instances."""
    ours = {path.name.split(".")[0].rstrip("@") for path in ROOT.glob("roles/*/templates/*.j2")}
    return ours | set(FOREIGN_UNITS)

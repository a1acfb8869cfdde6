"""Instances of vLLM on a host: their files, what changes, and who must be restarted for it.

An instance has a YAML file that vLLM reads, an environment file that systemd reads, and a stamp: the digest of
everything its process was started with. It is restarted when the digest of what is wanted differs from the stamp, so a
run that was interrupted between writing and restarting is made good by the next one, and no other instance notices.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = re.compile(r"^[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?$")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
# Words that YAML would not read as text, and characters that need no quotes anywhere.
PLAIN = re.compile(r"^(?!(?:true|false|yes|no|on|off|null|y|n)$)[A-Za-z/][\w./-]*$", re.IGNORECASE)
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")  # what YAML wants escaped
PLAIN_VALUE = re.compile(r"^[\w.,:/@%+=-]*$")
HEADER = "# Written by the llm.serving collection: change vllm_models, not this file.\n"
STAMPS = ".started"
HIDDEN = "(secret)"


class InstanceError(ValueError):
    """An instance that cannot be as it is asked for."""


@dataclass(frozen=True)
class Instance:
    """What an instance should be."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Instance:
        """Read a dictionary with the attributes as its keys."""
        environment = {name: str(value) for name, value in entry["environment"].items()}
        secrets = {name: str(value) for name, value in entry["secrets"].items()}
        return cls(entry["name"], entry["config"], environment, secrets)

    def config_text(self) -> str:
        """Return its YAML file."""
        lines = [f"{key}: {_yaml(value)}\n" for key, value in self.config.items()]
        return HEADER + "".join(lines)

    def environment_text(self, *, show_secrets: bool = True) -> str:
        """Return its environment file; for people to read, without the secrets."""
        together = {**self.environment, **self.secrets}
        hidden = set() if show_secrets else set(self.secrets)
        lines = [
            f"{_variable(name)}={HIDDEN if name in hidden else _quote(name, together[name])}\n"
            for name in sorted(together)
        ]
        return HEADER + "".join(lines)

    def digest(self, *shared: str) -> str:
        """Return the digest of everything its process depends on; `shared` is what all instances have in common."""
        parts = [*shared, self.config_text(), self.environment_text()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Files:
    """The files of an instance below the configuration's folder."""

    folder: Path
    name: str

    @property
    def config(self) -> Path:
        """What vLLM reads."""
        return self.folder / f"{self.name}.yaml"

    @property
    def environment(self) -> Path:
        """What systemd reads, secrets included."""
        return self.folder / f"{self.name}.env"

    @property
    def stamp(self) -> Path:
        """The digest that the running process was started with."""
        return self.folder / STAMPS / self.name

    def all(self) -> tuple[Path, ...]:
        """Every one of them."""
        return (self.config, self.environment, self.stamp)


def check_name(name: str) -> None:
    """Raise InstanceError unless a name can be part of a unit's name and of a file's."""
    if not NAME.match(name):
        raise InstanceError(
            f"expected a name of small letters, digits, dots, dashes and underscores, found {name!r}: correct name"
        )


def existing_instances(folder: Path) -> list[str]:
    """Return the names of the instances that were set up here before."""
    names = {path.stem for path in folder.glob("*.yaml") if read(path).startswith(HEADER)}
    return sorted(names)


def read(path: Path) -> str:
    """Return a file's text, or nothing where there is none."""
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def model_of(files: Files) -> str | None:
    """Return the model that an instance's configuration names; None where there is none."""
    for line in read(files.config).splitlines():
        key, _colon, value = line.partition(": ")
        if key == "model":
            return str(json.loads(value)) if value.startswith('"') else value
    return None


def environment_value(environment_text: str, name: str) -> str | None:
    """Return a variable of an environment file of ours; None where it has none by that name."""
    for line in environment_text.splitlines():
        found, equals, value = line.partition("=")
        if equals and found == name:
            return re.sub(r'\\(["\\$`])', r"\1", value[1:-1]) if value.startswith('"') else value
    return None


def hide_secrets(environment_text: str, secrets: Mapping[str, str]) -> str:
    """Return an environment file as found, without the values of what is secret now or looks it."""
    lines = []
    for line in environment_text.splitlines(keepends=True):
        name, equals, value = line.partition("=")
        secret = equals and (name in secrets or re.search(r"KEY|TOKEN|SECRET|PASSWORD", name))
        changed = name in secrets and value.strip() != _quote(name, secrets[name])
        lines.append(f"{name}={HIDDEN}{' (another)' if changed else ''}\n" if secret else line)
    return "".join(lines)


def _yaml(value: Any) -> str:
    """Write a value so that YAML 1.1 reads it back: JSON is YAML, and simple words need no quotes."""
    if isinstance(value, str) and PLAIN.match(value):
        return value
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _variable(name: str) -> str:
    if not VARIABLE.match(name):
        raise InstanceError(f"expected a name of an environment variable, found {name!r}: correct environment")
    return name


def _quote(name: str, value: str) -> str:
    """Quote a value for systemd's EnvironmentFile=."""
    if "\n" in value or "\0" in value:
        raise InstanceError(f"expected {name} to be one line: correct it in environment")
    if PLAIN_VALUE.match(value):
        return value
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'

"""What makes up the state of an engine on a host: a link, files and units. A generation is a copy of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..engines.instances import Files, existing_instances, model_of
from ..engines.keeper import GUARD, UNIT_NAME, unit

SYSTEMD = Path("/etc/systemd/system")
GUARDS = GUARD.parent


@dataclass(frozen=True)
class Unit:
    """A systemd unit; the stamp tells what its process was started with, None where nothing does."""

    name: str
    stamp: Path | None = None


@dataclass(frozen=True)
class Service:
    """An engine's places on a host; guard: the program that its units are started by."""

    name: str
    link: Path
    unit_file: Path
    config_dir: Path
    guard: Path

    def files(self) -> list[Path]:
        """Return its files that are there."""
        return [path for path in (self.unit_file, self.guard, *self._configuration()) if path.is_file()]

    def units(self) -> list[Unit]:
        """Return its units that are set up."""
        if self.name != "vllm":
            return [Unit("ollama.service")] if self.unit_file.is_file() else []
        names = existing_instances(self.config_dir)
        return [Unit(unit(name), Files(self.config_dir, name).stamp) for name in names]

    def target(self) -> str | None:
        """Return what its link points to."""
        return str(self.link.readlink()) if self.link.is_symlink() else None

    def engine(self) -> Path | None:
        """Return the folder of the engine in service."""
        target = self.target()
        return self.link.parent / target if target else None

    def models(self) -> list[Path]:
        """Return the directories of the models that its files name."""
        if self.name != "vllm":
            return []
        found = [model_of(Files(self.config_dir, name)) for name in existing_instances(self.config_dir)]
        return [Path(path) for path in found if path and path.startswith("/")]

    def _configuration(self) -> list[Path]:
        if self.name != "vllm":
            return [self.config_dir / "ollama.env"]
        found = [Files(self.config_dir, name) for name in existing_instances(self.config_dir)]
        return [path for files in found for path in (files.config, files.environment)]


def service(name: str, root: Path = Path("/")) -> Service:
    """Return the places of `vllm` or `ollama`, below another root for tests."""
    place = {"vllm": UNIT_NAME, "ollama": "ollama.service"}[name]
    base = root / SYSTEMD.relative_to("/")
    guard = root / GUARDS.relative_to("/") / f"{name}_guard.py"
    return Service(name, root / "opt" / name / "current", base / place, root / "etc" / name, guard)

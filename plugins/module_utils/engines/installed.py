"""Which engines are installed on this machine: versioned folders, and a link to the one in service."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MARKER = ".complete"  # written last into an engine's folder; holds what it was built from
LINK = "current"


@dataclass(frozen=True)
class Installed:
    """An engine's folder; build is None while (or because) its build has not been completed."""

    name: str
    build: str | None

    def as_dict(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def installed_engines(root: Path) -> list[Installed]:
    """Return the engines below a folder, the one used last first."""
    try:
        folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except OSError:
        return []
    engines = [(_age(folder), Installed(folder.name, _build(folder))) for folder in folders]
    return [pair[1] for pair in sorted(engines, key=lambda pair: pair[0], reverse=True)]


def current_engine(root: Path) -> str | None:
    """Return the name of the engine that the link points to, or None where it points to nothing."""
    try:
        target = (root / LINK).readlink()
    except OSError:
        return None
    return target.name if (root / target).is_dir() else None


def superfluous(engines: Sequence[Installed], in_service: str, keep: int) -> list[str]:
    """Return the names of the folders to remove: all but the one in service and the newest complete ones."""
    others = [engine for engine in engines if engine.name != in_service]
    kept = [engine.name for engine in others if engine.build is not None][: max(keep - 1, 0)]
    return [engine.name for engine in others if engine.name not in kept]


def free_bytes(path: Path) -> int:
    """Return the free space where a path lies or will lie."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _build(folder: Path) -> str | None:
    try:
        return (folder / MARKER).read_text("utf-8").strip()
    except OSError:
        return None


def _age(folder: Path) -> float:
    marker = folder / MARKER
    return (marker if marker.exists() else folder).stat().st_mtime

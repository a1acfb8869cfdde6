"""Generations: what served well on a host, kept so that it can be brought back without asking anybody.

A generation is a folder with a number: copies of the configuration, the target of the engine's link, and the names of
the folders that it needs. Engines and models themselves are kept where they are, and not pruned while a generation
needs them. The one in service, or the last that was, is what the link `current` points to.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..engines.keeper import point, write_stamp
from ..engines.systemd import Run
from .services import Service, Unit

HOME = Path("/var/lib/llm-serving/generations")
CURRENT = "current"
DESCRIPTION = "generation.json"


class GenerationError(Exception):
    """A generation that is not there, or cannot be brought back."""


@dataclass(frozen=True)
class SavedFile:
    """A file of a generation, with its copy's name."""

    path: str
    mode: int
    owner: str
    group: str
    copy: str


@dataclass(frozen=True)
class Generation:
    """What served well. needs: folders without which it cannot serve again; probes: how it was seen to serve."""

    number: int
    recorded: str
    engine: str
    target: str
    digest: str
    needs: tuple[str, ...]
    files: tuple[SavedFile, ...]
    units: Mapping[str, str]
    probes: tuple[Mapping[str, Any], ...]

    def missing(self, root: Path = Path("/")) -> list[str]:
        """Return what it needs and is not there."""
        return [path for path in self.needs if not (root / path.lstrip("/")).is_dir()]

    def summary(self) -> dict[str, Any]:
        """Return what people and playbooks want to know of it."""
        keys = ("number", "recorded", "engine", "needs", "probes")
        return {**{key: getattr(self, key) for key in keys}, "units": sorted(self.units)}


class Store:
    """The generations of one service on this host."""

    def __init__(self, service: Service, home: Path = HOME, run: Run | None = None) -> None:
        self.service = service
        self.folder = home / service.name
        self._run = run

    def all(self) -> list[Generation]:
        """Return them, the newest first."""
        found = [_read(path) for path in self.folder.glob(f"[0-9]*/{DESCRIPTION}")]
        return sorted((item for item in found if item), key=lambda item: item.number, reverse=True)

    def current(self) -> Generation | None:
        """Return the one that is in service, or was until somebody began to change it."""
        return _read(self.folder / CURRENT / DESCRIPTION)

    def is_recorded(self) -> bool:
        """Tell whether the host is as its current generation."""
        now = self.current()
        return now is not None and now.digest == digest(self.service)

    def record(self, keep: int, probes: Sequence[Mapping[str, Any]] = ()) -> Generation:
        """Keep what the host has now as a generation, unless it is there already; forget the oldest beyond `keep`."""
        now = self.current()
        if now is None or now.digest != digest(self.service) or list(now.probes) != list(probes):
            now = self._save(probes)
        for old in [item for item in self.all() if item.number != now.number][max(keep - 1, 0) :]:
            shutil.rmtree(self.folder / str(old.number))
        return now

    def choose(self, number: int | None) -> Generation:
        """Return the generation of this number; without one, that before the current. Raises GenerationError."""
        known, now = self.all(), self.current()
        listed = ", ".join(str(item.number) for item in known) or "none"
        if number is None:
            if now is None:
                raise GenerationError(f"nothing was recorded yet that {self.service.name} could go back to")
            candidates = [item for item in known if item.number < now.number]
            if not candidates:
                raise GenerationError(f"no generation is older than the current one, {now.number}; kept are: {listed}")
            return candidates[0]
        for item in known:
            if item.number == number:
                return item
        raise GenerationError(f"generation: expected one of those kept ({listed}), found {number}")

    def restore(self, wanted: Generation, *, dry: bool = False, root: Path = Path("/")) -> dict[str, str]:
        """Put the host back to a generation; return what was done to each unit.

        Raises GenerationError before anything is touched when what it needs is gone, OSError when systemd refuses.
        Interrupted anywhere, it is finished by another call.
        """
        missing = wanted.missing(root)
        if missing:
            raise GenerationError(f"generation {wanted.number} needs {', '.join(missing)}, which is not there any more")
        service, present = self.service, self.service.units()
        gone = [item for item in present if item.name not in wanted.units]
        stale = {item.name: item for item in present}
        actions = {name: self._action(stale.get(name), stamp) for name, stamp in wanted.units.items()}
        actions.update({item.name: "removed" for item in gone})
        if dry:
            return actions
        if gone:
            self._systemctl("disable", "--quiet", "--now", *(item.name for item in gone))
        kept = {saved.path for saved in wanted.files}
        for path in [*service.files(), *(item.stamp for item in gone if item.stamp)]:
            if str(path) not in kept and path.exists():
                path.unlink()
        for saved in wanted.files:
            _restore_file(self.folder / str(wanted.number) / saved.copy, saved)
        if service.target() != wanted.target:
            point(service.link, wanted.target)
        self._systemctl("daemon-reload")
        self._start(wanted, actions)
        point(self.folder / CURRENT, str(wanted.number))
        return actions

    def _start(self, wanted: Generation, actions: Mapping[str, str]) -> None:
        if wanted.units:
            self._systemctl("enable", "--quiet", *wanted.units)
        restarted = [name for name, action in actions.items() if action in ("started", "restarted")]
        if not restarted:
            return
        # A unit that failed too often refuses to start until it is told that things are different now.
        self._systemctl("reset-failed", *restarted, may_fail=True)
        self._systemctl("restart", *restarted)
        stamps = {item.name: item.stamp for item in self.service.units()}
        for name in restarted:
            stamp = stamps.get(name)
            if stamp is not None:
                write_stamp(stamp, wanted.units[name])

    def _action(self, present: Unit | None, stamp: str) -> str:
        """Return what a unit needs: one whose process was started with the same runs on."""
        if present is None:
            return "started"
        active = self._run is not None and self._run(["systemctl", "is-active", "--quiet", present.name])[0] == 0
        if active and present.stamp is not None and present.stamp.is_file() and present.stamp.read_text() == stamp:
            return "unchanged"
        return "restarted"

    def _save(self, probes: Sequence[Mapping[str, Any]]) -> Generation:
        service, target = self.service, self.service.target() or ""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        number = max((item.number for item in self.all()), default=0) + 1
        staging = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            files = tuple(_save_file(path, staging / str(n)) for n, path in enumerate(service.files()))
            engine = service.engine()
            needs = [str(path) for path in ([engine] if engine else []) + service.models()]
            generation = Generation(
                number=number,
                recorded=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                engine=Path(target).name,
                target=target,
                digest=digest(service),
                needs=tuple(dict.fromkeys(needs)),
                files=files,
                units={item.name: _text(item.stamp) for item in service.units()},
                probes=tuple(probes),
            )
            _write(staging / DESCRIPTION, json.dumps(asdict(generation), indent=1).encode())
            final = self.folder / str(number)
            if final.exists():  # without a description: somebody damaged it
                shutil.rmtree(final)
            staging.rename(final)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        point(self.folder / CURRENT, str(number))
        for left in self.folder.glob(".new-*"):
            shutil.rmtree(left)
        return generation

    def _systemctl(self, *arguments: str, may_fail: bool = False) -> None:
        if self._run is None:
            raise OSError("systemctl cannot be asked here")
        code, out, err = self._run(["systemctl", *arguments])
        if code and not may_fail:
            raise OSError(f"systemctl {' '.join(arguments)} ended with {code}: {err.strip() or out.strip()}")


def digest(service: Service) -> str:
    """Return the digest of everything that a generation of it would hold."""
    sums = [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in service.files()]
    stamps = [f"{item.name} {_text(item.stamp)}" for item in service.units()]
    return hashlib.sha256("\n".join([service.target() or "", *sums, *stamps]).encode()).hexdigest()


def _read(path: Path) -> Generation | None:
    """Return a generation; None where there is none that is whole."""
    try:
        values = json.loads(path.read_text("utf-8"))
        files = tuple(SavedFile(**item) for item in values.pop("files"))
        needs, probes = tuple(values.pop("needs")), tuple(values.pop("probes"))
        return Generation(files=files, needs=needs, probes=probes, **values)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _text(path: Path | None) -> str:
    try:
        return path.read_text("utf-8") if path else ""
    except OSError:
        return ""


def _save_file(path: Path, copy: Path) -> SavedFile:
    status = path.stat()
    _write(copy, path.read_bytes())
    owner = _name(lambda: pwd.getpwuid(status.st_uid).pw_name, status.st_uid)
    group = _name(lambda: grp.getgrgid(status.st_gid).gr_name, status.st_gid)
    return SavedFile(str(path), status.st_mode & 0o7777, owner, group, copy.name)


def _name(find: Callable[[], str], number: int) -> str:
    try:
        return find()
    except KeyError:
        return str(number)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is root's alone: environment files hold secrets."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _restore_file(copy: Path, saved: SavedFile) -> None:
    """Put a copy in its place in one step, unless the place holds the same already."""
    path, content = Path(saved.path), copy.read_bytes()
    if path.is_file() and path.read_bytes() == content and (path.stat().st_mode & 0o7777) == saved.mode:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.restored")
    _write(temporary, content)
    shutil.chown(temporary, _identity(saved.owner), _identity(saved.group))
    temporary.chmod(saved.mode)
    temporary.replace(path)


def _identity(name: str) -> str | int:
    return int(name) if name.isdigit() else name

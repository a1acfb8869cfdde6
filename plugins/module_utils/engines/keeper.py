"""Closes the gap between the vLLM instances of a host and those that are wanted, or tells how wide it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .instances import Files, Instance, InstanceError, check_name, existing_instances, hide_secrets, read
from .options import unknown_options
from .systemd import UnitState, unit_states

UNIT_NAME = "vllm@.service"
GUARD = Path("/usr/local/lib/llm-serving/vllm_guard.py")  # what the unit starts the engine by
# Options of the modules that keep instances, or tell what keeping them would do.
OPTIONS: dict[str, dict[str, Any]] = {
    "unit": {"type": "str", "default": ""},
    "guard": {"type": "str", "default": ""},
    "guard_file": {"type": "path", "default": str(GUARD)},
    "engine": {"type": "str", "default": ""},
    "link": {"type": "path"},
    "link_target": {"type": "str"},
    "options_file": {"type": "path"},
    "config_dir": {"type": "path", "default": "/etc/vllm"},
    "unit_dir": {"type": "path", "default": "/etc/systemd/system"},
    "group": {"type": "str", "default": "vllm"},
}


class System(Protocol):
    """What of an AnsibleModule is needed here."""

    tmpdir: str

    def run_command(self, args: Sequence[str], cwd: str | None = None) -> tuple[int, str, str]:
        """Run a program; return its exit status, output and errors."""

    def atomic_move(self, src: str, dest: str) -> None:
        """Put a file in its place, whole or not at all."""

    def set_owner_if_different(self, path: str, owner: str, changed: bool) -> bool:
        """Give a file to a user."""

    def set_group_if_different(self, path: str, group: str, changed: bool) -> bool:
        """Give a file to a group."""


@dataclass(frozen=True)
class Wanted:
    """What a host's instances should be, all of them together."""

    instances: tuple[Instance, ...]
    unit_text: str = ""
    guard_text: str = ""
    guard_file: Path = GUARD
    engine: str = ""
    group: str = "vllm"
    config_dir: Path = Path("/etc/vllm")
    unit_dir: Path = Path("/etc/systemd/system")
    options_file: Path = Path(os.devnull)
    link: Path | None = None
    link_target: str = ""
    remove_others: bool = True

    @classmethod
    def read(
        cls, entries: Sequence[Mapping[str, Any]], options: Mapping[str, Any], *, remove_others: bool = True
    ) -> Wanted:
        """Read the values of OPTIONS, and instances as `vllm_instances` is given them."""
        return cls(
            instances=tuple(Instance.parse(entry) for entry in entries),
            unit_text=options["unit"],
            guard_text=options["guard"],
            guard_file=Path(options["guard_file"]),
            engine=options["engine"],
            group=options["group"],
            config_dir=Path(options["config_dir"]),
            unit_dir=Path(options["unit_dir"]),
            options_file=Path(options["options_file"] or os.devnull),
            link=Path(options["link"]) if options["link"] else None,
            link_target=options["link_target"] or "",
            remove_others=remove_others,
        )

    def digest(self, instance: Instance) -> str:
        """Return the digest of everything that an instance's process depends on."""
        return instance.digest(self.unit_text, self.guard_text, self.engine)


@dataclass
class Keeper:
    """Compares what is there with what should be; closes the gap unless it is dry."""

    system: System
    wanted: Wanted
    dry: bool
    changed: bool = False
    diffs: list[dict[str, str]] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what is wrong with what is wanted, as sentences; everything is checked before anything is written."""
        instances = self.wanted.instances
        found = duplicates(instances) + wrong_options(instances, self.wanted.options_file)
        return found + [problem for instance in instances for problem in self._unreadable(instance)]

    def keep(self) -> dict[str, str]:
        """Bring the host to the wanted state; return what was done to each instance. Raises OSError."""
        wanted = self.wanted
        names = [instance.name for instance in wanted.instances]
        present = existing_instances(wanted.config_dir)
        gone = [name for name in present if name not in names] if wanted.remove_others else []
        states = self._states([*names, *gone])
        self._remove(gone)
        if wanted.guard_text:
            self._write(wanted.guard_file, wanted.guard_text, 0o644)
        unit_file = wanted.unit_dir / UNIT_NAME
        wrote = bool(wanted.unit_text) and self._write(unit_file, wanted.unit_text, 0o644)
        if wrote or any(state.needs_reload for state in states.values()):
            self._systemctl("daemon-reload")
        self._switch()
        actions = {instance.name: self._configure(instance, states) for instance in wanted.instances}
        self._run(actions, states)
        return {**actions, **dict.fromkeys(gone, "removed")}

    def _states(self, names: list[str]) -> dict[str, UnitState]:
        units = unit_states(self.system.run_command, [unit(name) for name in names])
        return {name: units[unit(name)] for name in names}

    def _switch(self) -> None:
        """Point the link at the engine, in one step."""
        link, target = self.wanted.link, self.wanted.link_target
        before = str(link.readlink()) if link and link.is_symlink() else ""
        if link is None or before == target:
            return
        self._show(link, before, target)
        if not self.dry:
            point(link, target)

    def _configure(self, instance: Instance, states: dict[str, UnitState]) -> str:
        """Write an instance's files; return what its unit needs."""
        files = Files(self.wanted.config_dir, instance.name)
        before = hide_secrets(read(files.environment), instance.secrets)
        after = instance.environment_text(show_secrets=False)
        self._write(files.config, instance.config_text(), 0o640, self.wanted.group)
        self._write(files.environment, instance.environment_text(), 0o600, shown=(before, after))
        if not states[instance.name].is_active:
            return "started"
        return "unchanged" if read(files.stamp) == self.wanted.digest(instance) else "restarted"

    def _run(self, actions: dict[str, str], states: dict[str, UnitState]) -> None:
        """Let systemd do it, all units in one go, so that engines load side by side."""
        disabled = [unit(name) for name in actions if states[name].enabled != "enabled"]
        if disabled:
            self._systemctl("enable", "--quiet", *disabled)
        concerned = [instance for instance in self.wanted.instances if actions[instance.name] != "unchanged"]
        if not concerned:
            return
        units = [unit(instance.name) for instance in concerned]
        # A unit that failed too often refuses to start until it is told that things are different now.
        self._systemctl("reset-failed", *units, may_fail=True)
        self._systemctl("restart", *units)
        for instance in concerned:
            if not self.dry:
                write_stamp(Files(self.wanted.config_dir, instance.name).stamp, self.wanted.digest(instance))

    def _remove(self, names: list[str]) -> None:
        if not names:
            return
        self._systemctl("disable", "--quiet", "--now", *(unit(name) for name in names))
        self._systemctl("reset-failed", *(unit(name) for name in names), may_fail=True)
        for name in names:
            files = Files(self.wanted.config_dir, name)
            self._show(files.config, read(files.config), "")
            for path in files.all():
                if not self.dry and path.exists():
                    path.unlink()

    def _write(
        self, path: Path, text: str, mode: int, group: str = "root", shown: tuple[str, str] | None = None
    ) -> bool:
        """Write a file that is not so yet, whole or not at all; return whether it changed."""
        before = read(path)
        if before == text and (path.stat().st_mode & 0o7777) == mode:
            return False
        self._show(path, *(shown or (before, text)))
        if not self.dry:
            self._make_folder(path.parent)
            temporary = Path(self.system.tmpdir) / path.name
            temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
            temporary.chmod(mode)
            self.system.atomic_move(str(temporary), str(path))
            self.system.set_owner_if_different(str(path), "root", False)
            self.system.set_group_if_different(str(path), group, False)
            path.chmod(mode)
        return True

    def _make_folder(self, folder: Path) -> None:
        if folder == self.wanted.guard_file.parent:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder == self.wanted.config_dir and not folder.exists():
            folder.mkdir(mode=0o750)
            folder.chmod(0o750)
            self.system.set_group_if_different(str(folder), self.wanted.group, False)

    def _show(self, path: Path, before: str, after: str) -> None:
        self.changed = True
        self.diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})

    def _systemctl(self, *arguments: str, may_fail: bool = False) -> None:
        self.changed = True
        if self.dry:
            return
        code, out, err = self.system.run_command(["systemctl", *arguments])
        if code and not may_fail:
            raise OSError(f"systemctl {' '.join(arguments)} ended with {code}: {err.strip() or out.strip()}")

    def _unreadable(self, instance: Instance) -> list[str]:
        """Return a sentence when the service's user may not read a model; the engine would only say it is missing."""
        path = Path(str(instance.config.get("model", "")))
        user = self.wanted.group
        if not path.is_absolute() or not shutil.which("runuser"):
            return []
        find = ["find", "-L", str(path), "-maxdepth", "1", "-not", "-readable"]
        out, err = self.system.run_command(["runuser", "-u", user, "--", *find], cwd="/")[1:]
        found = out.split() or ([str(path)] if "Permission denied" in err else [])
        if not found:  # or there is no such user yet: check mode on a bare host
            return []
        return [
            f"{instance.name}: expected files that the user {user} can read, found {', '.join(found)}: correct modes"
        ]


def unit(name: str) -> str:
    """Return the name of an instance's unit."""
    return f"vllm@{name}.service"


def point(link: Path, target: str) -> None:
    """Make a symbolic link point to a target, replacing what it was in one step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def write_stamp(stamp: Path, digest: str) -> None:
    """Note what an instance's process was started with."""
    stamp.parent.mkdir(mode=0o700, exist_ok=True)
    stamp.write_text(digest, "utf-8")
    stamp.chmod(0o600)


def duplicates(instances: Sequence[Instance]) -> list[str]:
    """Return a sentence for each name that two instances have."""
    names = [instance.name for instance in instances]
    return [f"two instances are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]


def wrong_options(instances: Sequence[Instance], options_file: Path) -> list[str]:
    """Return a sentence for each name, variable and option that cannot be; without the file options are not checked."""
    known = read(options_file).split()
    problems: list[str] = []
    for instance in instances:
        try:
            check_name(instance.name)
            instance.environment_text()
        except InstanceError as error:
            problems.append(f"{instance.name}: {error}")
        if known:
            problems += [f"{instance.name}: {problem}" for problem in unknown_options(instance.config, known)]
    return problems

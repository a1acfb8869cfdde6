"""What of a host an adoption asks for: users, processes, systemd, versions. A test gives another root."""

from __future__ import annotations

import pwd
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..engines.systemd import Run, UnitState, unit_states
from .steps import start_time

UNIT_OF_CGROUP = re.compile(r"/([^/]+\.service)(?:/|$)")
USER_MANAGER = re.compile(r"user@\d+\.service")
ASK_SECONDS = 15.0


@dataclass(frozen=True)
class Process:
    """A process and its unit; empty where it is of none, such as in somebody's session."""

    pid: int
    parent: int
    started: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    user: str
    unit: str


@dataclass(frozen=True)
class Host:
    """The host itself."""

    run: Run
    root: Path = Path("/")

    def home(self, user: str) -> Path:
        """A user's home; that of root where the user is unknown."""
        try:
            return Path(pwd.getpwnam(user).pw_dir if user else "/root")
        except KeyError:
            return Path("/root")

    def owner(self, user: str) -> tuple[int, int] | None:
        """A user's number and that of its group; None where there is no such user."""
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return None
        return entry.pw_uid, entry.pw_gid

    def states(self, units: list[str]) -> dict[str, UnitState]:
        """What systemd says of units."""
        return unit_states(self.run, units)

    def processes(self) -> list[Process]:
        """Every process of this host that is not in a container. Environments of others need root."""
        folders = [path for path in (self.root / "proc").iterdir() if path.name.isdigit()]
        found = (self._process(path) for path in folders)
        return sorted((process for process in found if process), key=lambda process: process.pid)

    def _process(self, path: Path) -> Process | None:
        try:
            words = _strings(path / "cmdline")
            if not words or (path / "ns/pid").readlink() != (self.root / "proc/self/ns/pid").readlink():
                return None
            pairs = (text.partition("=") for text in _strings(path / "environ"))
            cgroups = (path / "cgroup").read_text("utf-8")
            uid = path.stat().st_uid
            parent = int((path / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[1])
            directory = str((path / "cwd").readlink())
        except (OSError, ValueError):
            return None
        units = [unit for unit in UNIT_OF_CGROUP.findall(cgroups) if not USER_MANAGER.fullmatch(unit)]
        try:
            user = pwd.getpwuid(uid).pw_name
        except KeyError:
            user = str(uid)
        of_system = "user.slice" not in cgroups and units
        environment = {name: value for name, separator, value in pairs if separator}
        unit = units[-1] if of_system else ""
        return Process(int(path.name), parent, start_time(path), tuple(words), environment, directory, user, unit)

    def ollama_version(self, program: str) -> str:
        """What `ollama --version` says; empty where it says nothing."""
        try:
            done = subprocess.run(
                [program, "--version"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        # With no server running it says «client version is», with one «ollama version is».
        match = re.search(r"version is ([0-9][0-9A-Za-z.+-]*)", done.stdout + done.stderr)
        return match[1] if match else ""

    def vllm_version(self, program: str) -> str:
        """The version in a program's virtual or conda environment; empty where none is found."""
        base = self.root / str(Path(program).parent.parent).lstrip("/")
        for path in sorted(base.glob("lib/python3*/site-packages/vllm-*.dist-info")):
            return path.name[len("vllm-") : -len(".dist-info")]
        return ""


def _strings(path: Path) -> list[str]:
    return [text for text in path.read_bytes().decode("utf-8", "replace").split("\0") if text]

"""The steps of an adoption, done in order and undone in reverse, each as often as one likes.

All steps are on record before the first is done, so a run that is ended in any way is continued, or taken back, from
the record. Models get a second name; the old one stays until the adoption is settled.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines.systemd import Run
from ..hub.digests import Digest, find_corrupt
from ..hub.manifest import write_json
from .errors import AdoptError

FORMAT = 1
RECORD = "record.json"
FILES = "files"
DOING, DONE, UNDOING = "doing", "done", "undoing"
END_SECONDS = 120.0
Step = Mapping[str, Any]


@dataclass(frozen=True)
class Owner:
    """Whose a file is to be. None leaves it as it is."""

    uid: int
    gid: int
    mode: int


def make_folder(path: Path, owner: Owner) -> Step:
    """A folder, unless it is there."""
    return {"kind": "folder", "path": str(path), **_owner(owner)}


def place(source: Path, target: Path, digest: Digest | None, owner: Owner) -> Step:
    """A second name for a file, and an owner of its content."""
    status = source.stat()
    stated = {"algorithm": digest.algorithm, "hex": digest.hex} if digest else None
    was = [status.st_uid, status.st_gid, status.st_mode & 0o7777]
    ends = {"source": str(source), "target": str(target)}
    return {"kind": "place", **ends, "digest": stated, "was": was, **_owner(owner)}


def own(path: Path, owner: Owner) -> Step:
    """Another owner for what stays where it is."""
    status = path.stat()
    was = [status.st_uid, status.st_gid, status.st_mode & 0o7777]
    return {"kind": "own", "path": str(path), "was": was, **_owner(owner)}


def write(path: Path, content: Mapping[str, Any]) -> Step:
    """A JSON file."""
    return {"kind": "write", "path": str(path), "content": dict(content)}


def stop_unit(unit: str, *, active: bool, enabled: bool) -> Step:
    """A unit that serves no more."""
    return {"kind": "unit", "unit": unit, "active": active, "enabled": enabled}


def stop_process(pid: int, started: str, command: str) -> Step:
    """A process that serves no more; `started` tells it from a later one of the same number."""
    return {"kind": "process", "pid": pid, "started": started, "command": command}


def put_away(path: Path) -> Step:
    """A file that is in the way of the role's own; it is kept."""
    return {"kind": "away", "path": str(path)}


def _owner(owner: Owner) -> dict[str, int]:
    return {"uid": owner.uid, "gid": owner.gid, "mode": owner.mode}


class Book:
    """Adoptions on record below a folder, and the doing and undoing of them."""

    def __init__(self, folder: Path, run: Run, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._run = run
        self._proc = proc

    def numbers(self) -> list[int]:
        """The adoptions that are on record, the oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(int(path.parent.name) for path in self._folder.glob(f"*/{RECORD}") if path.parent.name.isdigit())

    def read(self, number: int) -> dict[str, Any]:
        """One of them. Raises AdoptError when it cannot be read."""
        path = self._place(number) / RECORD
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']}")
        except (OSError, ValueError, KeyError) as error:
            raise AdoptError(f"{path} cannot be read ({error}): what it says of has to be put back by hand") from error
        return record

    def is_done(self, number: int) -> bool:
        """Whether an adoption came to its end."""
        return bool(self.read(number)["state"] == DONE)

    def unfinished(self) -> int | None:
        """The adoption that a run left in the middle. Raises AdoptError when it was being undone."""
        for number in self.numbers():
            state = self.read(number)["state"]
            if state == UNDOING:
                raise AdoptError("an adoption is half undone: run again with the state undone before anything else")
            if state == DOING:
                return number
        return None

    def begin(self, steps: Sequence[Step], units: Sequence[str]) -> int:
        """Put steps on record. `units` are those that will serve instead, and end when this is undone."""
        number = max(self.numbers(), default=0) + 1
        place_of_record = self._place(number)
        place_of_record.mkdir(parents=True, mode=0o700, exist_ok=True)
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write(
            number,
            {"format": FORMAT, "state": DOING, "started": started, "units": list(units), "steps": list(steps)},
        )
        return number

    def carry_out(self, number: int) -> None:
        """Do every step that is not done. Raises AdoptError and OSError; a later run goes on."""
        record = self.read(number)
        for step in record["steps"]:
            self._do(step, number)
        self._reload(record["steps"])
        self._write(number, {**record, "state": DONE})

    def undo(self, number: int) -> list[str]:
        """Take every step back, the last one first, and forget the adoption. Returns what has to be done by hand."""
        record = self.read(number)
        self._write(number, {**record, "state": UNDOING})
        stopped = {step["unit"] for step in record["steps"] if step["kind"] == "unit"}
        for unit in dict.fromkeys([*record["units"], *stopped]):
            self._stop(unit)
        last = [step for step in record["steps"] if step["kind"] in ("unit", "process")]
        for step in reversed([step for step in record["steps"] if step not in last]):
            self._undo(step, number)
        self._reload(record["steps"])
        remarks = [remark for step in last for remark in self._start_again(step)]
        self._forget(number)
        return remarks

    def settle(self, number: int) -> int:
        """Remove the old names of what has a new one, and what was put away. Returns the bytes that copies held."""
        record = self.read(number)
        freed_bytes = 0
        for step in record["steps"]:
            if step["kind"] != "place":
                continue
            source, target = Path(step["source"]), Path(step["target"])
            if not (source.is_file() and target.is_file()):
                continue
            is_copy = not source.samefile(target)
            if is_copy and source.stat().st_size != target.stat().st_size:
                continue  # the new one was changed since: both stay
            freed_bytes += source.stat().st_size if is_copy else 0
            source.unlink()
            _remove_empty(source.parent, 3)
        self._forget(number)
        return freed_bytes

    # One step

    def _do(self, step: Step, number: int) -> None:
        kind = step["kind"]
        if kind == "folder":
            path = Path(step["path"])
            if not path.is_dir():
                path.mkdir()
                os.chown(path, step["uid"], step["gid"])
                path.chmod(step["mode"])
        elif kind == "place":
            self._place_file(step)
        elif kind == "own":
            _give(Path(step["path"]), step["uid"], step["gid"], step["mode"])
        elif kind == "write":
            write_json(Path(step["path"]), _with_times(step["content"], Path(step["path"]).parent))
        elif kind == "unit":
            self._stop(step["unit"])
        elif kind == "process":
            self._end(step)
        else:
            self._put_away(Path(step["path"]), self._place(number) / FILES)

    def _undo(self, step: Step, number: int) -> None:
        kind = step["kind"]
        if kind == "folder":
            with contextlib.suppress(OSError):  # something else is in it now
                Path(step["path"]).rmdir()
        elif kind == "place":
            source, target = Path(step["source"]), Path(step["target"])
            if source.exists() and target.exists():
                # Of the same content: what this made, or as good as it. Another file is somebody else's.
                if source.samefile(target) or filecmp.cmp(source, target, shallow=False):
                    target.unlink()
            elif target.exists():
                source.parent.mkdir(parents=True, exist_ok=True)
                _second_name(target, source)
                target.unlink()
            if source.exists():
                _give(source, *step["was"])
        elif kind == "own":
            if Path(step["path"]).exists():
                _give(Path(step["path"]), *step["was"])
        elif kind == "write":
            Path(step["path"]).unlink(missing_ok=True)
        elif kind == "away":
            path = Path(step["path"])
            kept = _kept(path, self._place(number) / FILES)
            if os.path.lexists(kept):
                _copy(kept, path)

    def _place_file(self, step: Step) -> None:
        source, target = Path(step["source"]), Path(step["target"])
        if not target.exists():
            _second_name(source, target)
        elif not target.samefile(source) and target.stat().st_size != source.stat().st_size:
            raise AdoptError(
                f"{target}: expected nothing, or what {source} is; found another file: move one of them away"
            )
        _give(target, step["uid"], step["gid"], step["mode"])

    def _put_away(self, path: Path, folder: Path) -> None:
        kept = _kept(path, folder)
        if os.path.lexists(path) and not os.path.lexists(kept):
            folder.mkdir(mode=0o700, exist_ok=True)
            _copy(path, kept)
        if os.path.lexists(path):
            path.unlink()
            _remove_empty(path.parent, 1, only_suffix=".d")

    def _end(self, step: Step) -> None:
        if not self._is_running(step):
            return
        os.kill(step["pid"], signal.SIGTERM)
        deadline = time.monotonic() + END_SECONDS
        while self._is_running(step):
            if time.monotonic() > deadline:
                raise AdoptError(
                    f"process {step['pid']} ({step['command']}) did not end within {END_SECONDS:.0f} s of SIGTERM: end"
                    " it, and run again"
                )
            time.sleep(0.2)

    def _is_running(self, step: Step) -> bool:
        return start_time(self._proc / str(step["pid"])) == str(step["started"])

    def _start_again(self, step: Step) -> Iterable[str]:
        if step["kind"] == "process":
            return [f"It was started by hand, so start it by hand again: {step['command']}"]
        if step["enabled"]:
            self._systemctl("enable", "--quiet", step["unit"])
        if step["active"]:
            code, out, err = self._run(["systemctl", "start", step["unit"]])
            if code:  # it may have failed before, too
                return [f"{step['unit']} is back and did not start: {err.strip() or out.strip()}"]
        return []

    # The record, and systemd

    def _place(self, number: int) -> Path:
        return self._folder / f"{number:03}"

    def _write(self, number: int, record: Mapping[str, Any]) -> None:
        write_json(self._place(number) / RECORD, record)

    def _forget(self, number: int) -> None:
        (self._place(number) / RECORD).unlink()
        shutil.rmtree(self._place(number), ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _reload(self, steps: Sequence[Step]) -> None:
        if any(step["kind"] in ("unit", "away") for step in steps):
            self._systemctl("daemon-reload")

    def _stop(self, unit: str) -> None:
        """Stop a unit for good. One whose file is gone already cannot be disabled any more."""
        code, out, err = self._run(["systemctl", "disable", "--now", "--quiet", unit])
        if code and self._run(["systemctl", "is-active", "--quiet", unit])[0] == 0:
            raise AdoptError(f"{unit} cannot be stopped: {err.strip() or out.strip()}")

    def _systemctl(self, *words: str) -> None:
        code, out, err = self._run(["systemctl", *words])
        if code:
            raise AdoptError(f"systemctl {' '.join(words)} ended with {code}: {err.strip() or out.strip()}")


def corrupt(steps: Iterable[Step]) -> list[Path]:
    """Hash what is to get a second name; return what is not what it should be. Raises OSError."""
    stated = [step for step in steps if step["kind"] == "place" and step["digest"]]
    return find_corrupt([(Path(s["source"]), Digest(s["digest"]["algorithm"], s["digest"]["hex"])) for s in stated])


def start_time(process: Path) -> str:
    """When a process started, in ticks since the machine did; empty where there is none, or it is dead already."""
    try:
        after_name = (process / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] in "ZX" else after_name[19]


def _second_name(source: Path, target: Path, copy: Callable[[Path, Path], object] = shutil.copyfile) -> None:
    """Link, or copy where the file system is another."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(f"{target.name}.adopt-part")
        copy(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)


def _with_times(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A manifest notes how its files look now that they are proved."""
    files = [{**entry, "mtime_ns": (folder / entry["path"]).stat().st_mtime_ns} for entry in content.get("files", ())]
    return {**content, "files": files}


def _kept(path: Path, folder: Path) -> Path:
    return folder / str(path).strip("/").replace("%", "%25").replace("/", "%2F")


def _copy(source: Path, target: Path) -> None:
    """Copy a file with owner and mode, or a link as one: wholly or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.adopt-part")
    part.unlink(missing_ok=True)
    shutil.copy2(source, part, follow_symlinks=False)
    status = source.lstat()
    os.chown(part, status.st_uid, status.st_gid, follow_symlinks=False)
    part.replace(target)


def _give(path: Path, uid: int, gid: int, mode: int) -> None:
    status = path.stat()
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
    if status.st_mode & 0o7777 != mode:
        path.chmod(mode)


def _remove_empty(folder: Path, levels: int, only_suffix: str = "") -> None:
    """Remove a folder that has become empty, and so many above it."""
    for _level in range(levels):
        if only_suffix and not folder.name.endswith(only_suffix):
            return
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent

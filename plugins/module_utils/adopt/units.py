"""systemd's unit files as people write them: drop-ins, inline environments, command lines.

The syntax is that of systemd.syntax(7), systemd.unit(5) and systemd.exec(5), as far as services of engines use it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Where an administrator's units lie, before those of packages: the first that has a name wins.
UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
EXEC_PREFIXES = "@-:+!|"
NAME = r"[A-Za-z_][A-Za-z0-9_]*|[1-9]"  # of a variable, or a script's argument
DROP_IN_SUFFIX = ".d"


@dataclass(frozen=True)
class UnitFile:
    """A service as its unit file and drop-ins have it. `settings` are those of [Service], in their order."""

    name: str
    path: Path
    drop_ins: tuple[Path, ...]
    settings: tuple[tuple[str, str], ...]
    text: str

    def last(self, key: str) -> str:
        """The value that wins; empty where there is none."""
        values = self.all(key)
        return values[-1] if values else ""

    def all(self, key: str) -> list[str]:
        """Every value since the last empty one, which resets a list."""
        values: list[str] = []
        for name, value in self.settings:
            if name == key:
                values = [*values, value] if value else []
        return values

    def command(self) -> list[str]:
        """The words of ExecStart, without its prefixes."""
        words = split_words(self.last("ExecStart"))
        return [words[0].lstrip(EXEC_PREFIXES), *words[1:]] if words else []

    def environment(self, root: Path = Path("/")) -> dict[str, str]:
        """Environment= and what the files of EnvironmentFile= hold; a file's value wins, as in systemd."""
        result: dict[str, str] = {}
        for value in self.all("Environment"):
            for word in split_words(value):
                name, separator, content = word.partition("=")
                if separator:
                    result[name] = content
        for value in self.all("EnvironmentFile"):
            path = root / value.lstrip("-").strip("\"'").lstrip("/")
            if path.is_file():
                result.update(read_environment_file(path.read_text("utf-8", errors="replace")))
        return result


@dataclass
class _Reader:
    settings: list[tuple[str, str]] = field(default_factory=list)

    def read(self, text: str) -> None:
        section = ""
        for line in _logical_lines(text):
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
                continue
            key, separator, value = line.partition("=")
            if separator and section == "Service":
                self.settings.append((key.strip(), value.strip()))


def read_unit(name: str, path: Path, drop_ins: Sequence[Path]) -> UnitFile:
    """Read a unit file and its drop-ins. Raises OSError."""
    reader, texts = _Reader(), []
    for file in (path, *drop_ins):
        texts.append(file.read_text("utf-8", errors="replace"))
        reader.read(texts[-1])
    return UnitFile(name, path, tuple(drop_ins), tuple(reader.settings), "\n".join(texts))


def find_units(root: Path = Path("/")) -> list[UnitFile]:
    """Read every service of the host, by name. Files that cannot be read, and links to nothing, are left out."""
    found: dict[str, UnitFile] = {}
    for folder in UNIT_FOLDERS:
        for path in sorted((root / folder).glob("*.service")):
            # A link is another unit's name, or a masked one.
            if path.name in found or path.is_symlink() or not path.is_file():
                continue
            try:
                found[path.name] = read_unit(path.name, path, drop_ins_of(path.name, root))
            except OSError:
                continue
    return [found[name] for name in sorted(found)]


def drop_ins_of(name: str, root: Path = Path("/")) -> list[Path]:
    """Name a unit's drop-ins in the order in which they apply: by file name, an administrator's before a package's."""
    by_name: dict[str, Path] = {}
    for folder in UNIT_FOLDERS:
        for path in (root / folder / f"{name}{DROP_IN_SUFFIX}").glob("*.conf"):
            by_name.setdefault(path.name, path)
    return [by_name[key] for key in sorted(by_name)]


def split_words(text: str) -> list[str]:
    """Split as systemd does, near enough: quotes group, a backslash escapes, nothing else is special."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # an odd quote: systemd refuses the line, and so nothing of it is in force
        return []


def read_environment_file(text: str) -> dict[str, str]:
    """Read NAME=VALUE lines."""
    result = {}
    for line in _logical_lines(text):
        name, separator, value = line.partition("=")
        if separator and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            words = split_words(value.strip())
            result[name.strip()] = " ".join(words)
    return result


def expand(text: str, environment: Mapping[str, str], home: str) -> str:
    """Put in what $NAME, ${NAME}, %h and ~ stand for; names that are not known stay as they are."""
    text = re.sub(r"^~(?=/|$)", lambda _match: home, text.replace("%h", home))
    return re.sub(
        rf"\$(?:\{{({NAME})(?::?-([^}}]*))?\}}|({NAME}))",
        lambda match: environment.get(match[1] or match[3], match[2] if match[2] is not None else match[0]),
        text,
    )


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    pending = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not pending and (not line or line[0] in "#;"):
            continue
        if pending and line[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        lines.append(pending + line)
        pending = ""
    return [*lines, pending.strip()] if pending.strip() else lines

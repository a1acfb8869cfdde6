"""Command lines and shell scripts that start an engine: which engine, with which words and environment.

Scripts are read, never run. What a shell would work out by running something is not known then, and is told.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import basename

from .units import expand

OLLAMA, VLLM = "ollama", "vllm"
VLLM_MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
SHELLS = ("sh", "bash", "dash", "zsh")
CONTAINER_TOOLS = ("docker", "podman", "nerdctl")
ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", re.DOTALL)
# What only starts the rest, and those of its options that take a word.
WRAPPERS: Mapping[str, tuple[str, ...]] = {
    "command": (),
    "env": ("-u", "-C"),
    "exec": ("-a",),
    "nohup": (),
    "setsid": (),
    "time": (),
    "sudo": ("-u", "-g"),
    "nice": ("-n",),
    "ionice": ("-c", "-n"),
    "numactl": ("-N", "-m", "-C"),
    "stdbuf": ("-i", "-o", "-e"),
}
CONDA = ("conda", "mamba", "micromamba")
CONDA_OPTIONS = ("-n", "--name", "-p", "--prefix")
SECRET_OPTIONS = ("--api-key", "--hf-token")
HIDDEN = "…"
SCRIPT_LIMIT_BYTES = 256 * 1024
DEPTH = 4  # scripts that call scripts


@dataclass(frozen=True)
class Command:
    """How an engine is started. `arguments` are its own; `program` is what runs it, such as a venv's python."""

    engine: str
    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    script: str = ""
    in_container: bool = False


@dataclass(frozen=True)
class Shell:
    """What words are read with: whose home ~ is, where the host's files are, and how deep scripts may call scripts."""

    home: str
    root: Path = Path("/")
    depth: int = DEPTH

    def deeper(self) -> Shell:
        """For what a script calls."""
        return replace(self, depth=self.depth - 1)


def shown(words: Sequence[str]) -> str:
    """Put words into one line for people, without secrets."""
    result: list[str] = []
    hide = False
    for word in words:
        name, separator, _value = word.partition("=")
        is_secret = name.lower().replace("_", "-") in SECRET_OPTIONS
        result.append(HIDDEN if hide else f"{name}={HIDDEN}" if is_secret and separator else word)
        hide = is_secret and not separator
    return " ".join(result)


def recognise(words: Sequence[str], environment: Mapping[str, str], shell: Shell) -> Command | None:
    """Tell which engine a command line starts, looking into shell scripts; None where it starts none."""
    known = dict(environment)
    rest = [expand(word, known, shell.home) for word in words]
    rest = _without_wrappers(rest, known)
    if not rest:
        return None
    name = basename(rest[0])
    if name in CONTAINER_TOOLS:
        return _container(rest, known)
    if name in SHELLS:
        return _shell(rest, known, shell)
    if name == OLLAMA:
        return Command(OLLAMA, rest[0], (), known) if rest[1:2] in (["serve"], ["start"]) else None
    found = _vllm(rest, known)
    if found or shell.depth == 0 or not rest[0].startswith("/"):
        return found
    # A program that is no engine: a script of its own, perhaps.
    return _script(rest[0], rest[1:], known, shell)


def _without_wrappers(words: list[str], environment: dict[str, str]) -> list[str]:
    """Drop what only starts the rest: assignments, env, exec, nohup, nice, conda run and their likes."""
    while words:
        match = ASSIGNMENT.match(words[0])
        name = basename(words[0])
        if match:
            environment[match[1]] = match[2]
            words = words[1:]
        elif name in WRAPPERS:
            words = _without_options(words[1:], WRAPPERS[name])
        elif name == "taskset":
            words = _without_options(words[1:], ())[1:]
        elif name in CONDA and words[1:2] == ["run"]:
            words = _without_options(words[2:], CONDA_OPTIONS)
        else:
            return words
    return words


def _without_options(words: list[str], with_value: Sequence[str]) -> list[str]:
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in with_value else words[1:]
    return words


def _vllm(words: Sequence[str], environment: Mapping[str, str]) -> Command | None:
    """`vllm serve …`, `python -m vllm.entrypoints…`, or python with a venv's vllm script."""
    name = basename(words[0])
    if name == VLLM:
        return _served(words[0], words[1:], environment)
    if not name.startswith(("python", "pypy")):
        return None
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[1:]
    if rest[:1] == ["-m"] and rest[1:2] and (rest[1] in VLLM_MODULES):
        return Command(VLLM, words[0], tuple(rest[2:]), environment)
    if rest and basename(rest[0]) == VLLM:
        return _served(words[0], rest[1:], environment)
    if rest and basename(rest[0]) == "api_server.py":
        return Command(VLLM, words[0], tuple(rest[1:]), environment)
    return None


def _served(program: str, words: Sequence[str], environment: Mapping[str, str]) -> Command | None:
    return Command(VLLM, program, tuple(words[1:]), environment) if words[:1] == ["serve"] else None


def _container(words: Sequence[str], environment: Mapping[str, str]) -> Command | None:
    for index, word in enumerate(words):
        image = basename(word).partition(":")[0]
        if image.startswith("vllm"):
            return Command(VLLM, words[0], tuple(words[index + 1 :]), environment, in_container=True)
        if image == OLLAMA:
            return Command(OLLAMA, words[0], tuple(words[index + 1 :]), environment, in_container=True)
    return None


def _shell(words: Sequence[str], environment: Mapping[str, str], shell: Shell) -> Command | None:
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):
        flag, rest = rest[0], rest[1:]
        if "c" in flag.lstrip("-") and not flag.startswith("--"):
            return _lines(rest[0], environment, shell) if rest else None
    return _script(rest[0], rest[1:], environment, shell) if rest else None


def _script(name: str, arguments: Sequence[str], environment: Mapping[str, str], shell: Shell) -> Command | None:
    path = shell.root / name.lstrip("/")
    try:
        if path.stat().st_size > SCRIPT_LIMIT_BYTES:
            return None
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if not (text.startswith("#!") and "sh" in text.partition("\n")[0]) and not name.endswith(".sh"):
        return None
    positional = {str(number): value for number, value in enumerate(arguments, 1)}
    found = _lines(text, environment, shell.deeper(), positional)
    return replace(found, script=found.script or name) if found else None


def _lines(
    text: str, environment: Mapping[str, str], shell: Shell, positional: Mapping[str, str] | None = None
) -> Command | None:
    """Follow assignments and exports line by line, until a line starts an engine."""
    known = {**environment}
    exported = set(environment)
    for statement in _statements(text):
        words = [expand(word, {"HOME": shell.home, **known, **(positional or {})}, shell.home) for word in statement]
        is_export = words[:1] in (["export"], ["declare"], ["readonly"], ["local"])
        assignments = words[1:] if is_export else words
        if all(ASSIGNMENT.match(word) for word in assignments):
            for word in assignments:
                name, _separator, value = word.partition("=")
                known[name] = value
                if is_export:
                    exported.add(name)
            continue
        if is_export:
            exported.update(word for word in assignments if not word.startswith("-"))
            continue
        if words[:1] == ["cd"] and len(words) > 1:
            known["PWD"] = words[1]
            exported.add("PWD")
        elif words[:1] in (["source"], ["."]) and words[1:] and words[1].endswith("/bin/activate"):
            known["VIRTUAL_ENV"] = words[1][: -len("/bin/activate")]
            exported.add("VIRTUAL_ENV")
        if shell.depth <= 0:
            continue
        before = {name: value for name, value in known.items() if name in exported}
        found = recognise(words, before, shell)
        if found:
            return found
    return None


def _statements(text: str) -> list[list[str]]:
    """Split a script into commands of words; comments go, and so does where output goes."""
    joined = re.sub(r"\\[ \t]*(?:#[^\n]*)?\n", " ", text)
    statements: list[list[str]] = []
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError:
            continue
        current: list[str] = []
        skip = False
        for word in words:
            if word and set(word) <= set(";&|()"):
                statements.append(current)
                current = []
            elif word and set(word) <= set("<>&"):
                skip = True
                if current and current[-1] in ("1", "2"):
                    current.pop()
            elif skip:
                skip = False
            else:
                current.append(word)
        statements.append(current)
    return [[word for word in words if word not in ("then", "do", "else", "if")] for words in statements if words]

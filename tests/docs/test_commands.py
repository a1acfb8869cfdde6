"""Every command of every page is run, or checked against what there is, or named in exceptions.yml with a reason."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from . import known
from .blocks import ROOT, Code, everything, fenced, pages, spans
from .conftest import Sandbox

LANGUAGES = {"sh", "console", "yaml", "json", "python", "text"}
PROGRAMS = ("ansible-playbook ", "ansible ", "ansible-doc ", "ansible-inventory ", "make ", "molecule test", "python3 ")
EXCEPTIONS = known.read_yaml(ROOT / "tests" / "docs" / "exceptions.yml")
FOLDERS = ("playbooks/", "roles/", "tools/", "bench/", "examples/", "inventories/", "molecule/", "tests/", "plugins/")
# Names that a reader replaces.
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|<\w+>|…|\$|^inventories/mine\b")
ON_A_HOST = ("systemctl ", "journalctl ", "systemd-analyze ")
# What a reader runs on the control node.
RUN_BY_READERS = re.compile(r"(ansible[\w-]*|make|molecule|pytest|python3?|uv|hf|gh|ssh|curl|openssl) \S")


def test_every_block_has_a_language_that_is_checked() -> None:
    other = {str(code): code.language for page in pages() for code in fenced(page) if code.language not in LANGUAGES}
    assert other == {}


def is_left_out(code: Code, line: str) -> bool:
    """Tell whether exceptions.yml names a line of a block, or a command in a sentence."""
    return any(entry["page"] == code.page and line.startswith(entry["command"]) for entry in EXCEPTIONS["not_run"])


def without_exceptions(code: Code) -> str:
    """Return a block without the lines that are not run."""
    return "".join(":\n" if is_left_out(code, line) else line for line in code.text.splitlines(keepends=True))


@pytest.mark.parametrize("code", everything("sh", "console"), ids=str)
def test_block(code: Code, sandbox: Sandbox) -> None:
    done = sandbox.bash(without_exceptions(code))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exception_is_needed_and_has_a_reason() -> None:
    lines = {page: [line for code in fenced(page) for line in code.text.splitlines()] for page in pages()}
    for page, found in lines.items():
        found += [code.text for code in spans(page)]
    for entry in EXCEPTIONS["not_run"]:
        assert any(line.startswith(entry["command"]) for line in lines[entry["page"]]), entry
        assert len(entry["reason"]) > 20, entry
    shown = "\n".join((ROOT / page).read_text("utf-8") for page in pages())
    assert [name for name in EXCEPTIONS["stand_ins"] if name not in shown] == []


COMMANDS = [
    code
    for page in pages()
    for code in spans(page)
    if code.text.startswith(PROGRAMS) and not is_left_out(code, code.text)
]


@pytest.mark.parametrize("code", COMMANDS, ids=str)
def test_command_in_a_sentence(code: Code, sandbox: Sandbox) -> None:
    done = sandbox.bash(code.text.replace(" …", " inventories/prod").replace("-s NAME", "-s vllm"))
    assert done.returncode == 0, done.stdout + done.stderr


PARTS = [
    code
    for page in pages()
    for code in spans(page)
    if re.match(r"(playbooks/)?\w+\.yml -|-e |--tags |--limit ", code.text)
]


@pytest.mark.parametrize("code", PARTS, ids=str)
def test_part_of_a_command(code: Code) -> None:
    """Options in a sentence belong to a playbook that the sentence or else its page names."""
    first, *rest = shlex.split(code.text)
    if first.endswith(".yml"):
        named, options = [first.removeprefix("playbooks/")], rest
    else:
        named, options = re.findall(r"\b(\w+\.yml)\b", (ROOT / code.page).read_text("utf-8")), [first, *rest]
    playbooks = [ROOT / "playbooks" / name for name in sorted(set(named)) if (ROOT / "playbooks" / name).exists()]
    variables, tags = options_said(options)
    assert any(
        all(known.is_read_by(path, name) for name in variables) and tags <= known.tags(path) for path in playbooks
    ), f"none of {', '.join(path.name for path in playbooks)} has these variables {variables} and tags {tags}"


def options_said(words: list[str]) -> tuple[set[str], set[str]]:
    """Return the variables and tags that options name."""
    variables, tags = set(), set()
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if flag == "-e":
            variables |= set(json.loads(value)) if value.startswith("{") else {value.split("=")[0]}
        elif flag == "--tags":
            tags |= set(value.split(","))
    return variables, tags


PATHS = [code for page in pages() for code in spans(page) if code.text.startswith(FOLDERS)]


def test_paths_exist() -> None:
    missing = []
    for code in PATHS:
        name = code.text.split()[0].split("::")[0].rstrip("/")
        if PLACEHOLDER.search(name) or name in EXCEPTIONS["written_later"]:
            continue
        # {a,b} and * as a shell has them.
        choices = re.match(r"(.*)\{(.*)\}(.*)", name)
        names = [choices[1] + part + choices[3] for part in choices[2].split(",")] if choices else [name]
        missing += [f"{code}: {part}" for part in names if not list(ROOT.glob(part))]
    assert missing == []


def test_options_of_our_own_tools_exist() -> None:
    unknown = []
    for code in PATHS:
        program, *options = code.text.split()
        if program.startswith(("tools/", "bench/", "examples/")) and (ROOT / program).is_file():
            text = (ROOT / program).read_text("utf-8", errors="replace")
            unknown += [
                f"{code}: {option}" for option in options if option.startswith("--") and option not in (text + "--help")
            ]
    assert unknown == []


HOST_COMMANDS = [code for page in pages() for code in spans(page) if code.text.startswith(ON_A_HOST)]


def test_units_exist() -> None:
    unknown = []
    for code in HOST_COMMANDS:
        words = [word for word in shlex.split(code.text.split(" | ")[0])[1:] if not word.startswith("-")]
        verbs = {"status", "restart", "start", "stop", "edit", "show", "cat", "disable", "enable", "security"}
        verbs |= {"daemon-reload", "reset-failed", "verify", "cat"}
        names = {re.split(r"[@.]", word)[0] for word in words if word not in verbs and not PLACEHOLDER.match(word)}
        tag = re.search(r"-t ansible-llm\.serving\.(\w+)", code.text)
        if tag:
            names = {} if (ROOT / "plugins" / "modules" / f"{tag[1]}.py").exists() else {tag[1]}
        unknown += [f"{code}: {name}" for name in names if name not in known.units()]
    assert unknown == []


def test_no_command_is_passed_over() -> None:
    """What runs on the control node is dealt with by one of the tests above, or named as an exception."""
    handled = {*COMMANDS, *PARTS, *PATHS, *HOST_COMMANDS}
    over = [
        f"{code}: {code.text}"
        for page in pages()
        for code in spans(page)
        if code not in handled and RUN_BY_READERS.match(code.text) and not is_left_out(code, code.text)
    ]
    assert over == [], "\n".join(over)


@pytest.mark.parametrize("code", everything("python"), ids=str)
def test_python(code: Code) -> None:
    compile(code.text, str(code), "exec")

"""What the pages show as code: fenced blocks, and commands in the middle of a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Below it stand the remedies of rules, which the doctor's own tests hold against what there is.
WRITTEN_BY_A_TOOL = "<!-- From here on written by "
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Code:
    """A piece of code on a page; `language` is empty where a sentence contains it."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return every page for users and contributors, below the root of the repository."""
    named = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()]
    return [
        str(path.relative_to(ROOT))
        for path in [*named, *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("roles/*/README.md"))]
    ]


def fenced(page: str) -> list[Code]:
    """Return the fenced blocks of a page."""
    text = (ROOT / page).read_text("utf-8")
    return [Code(page, text[: match.start()].count("\n") + 1, match[1], match[2]) for match in FENCE.finditer(text)]


def spans(page: str) -> list[Code]:
    """Return the code in sentences and tables of a page."""
    text = (ROOT / page).read_text("utf-8").split(WRITTEN_BY_A_TOOL)[0]
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    return [
        Code(page, number, "", match[1])
        for number, line in enumerate(text.splitlines(), start=1)
        for match in SPAN.finditer(line)
    ]


def everything(*languages: str) -> list[Code]:
    """Return the fenced blocks of all pages in these languages."""
    return [code for page in pages() for code in fenced(page) if code.language in languages]

"""The page lists every variable that the server reads, and the test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ansible_collections.llm.serving.plugins.module_utils.ollama.environment import READ_AS, RETIRED

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "ollama.md").read_text("utf-8")
ROW = re.compile(r"^\| `([A-Z_]+)(?:=[^`]*)?`[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, str]]:
    return {match[1]: (match[2].strip(), match[4].strip()) for match in ROW.finditer(PAGE)}


def in_force() -> set[str]:
    """The variables that the scenario finds in the server's own line."""
    tree = ast.parse((ROOT / "molecule" / "ollama" / "tests" / "test_server.py").read_text("utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "IN_FORCE"
    )
    assert isinstance(table, ast.Dict)
    return {key.value for key in table.keys if isinstance(key, ast.Constant)}


def test_every_variable_is_on_the_page() -> None:
    assert (set(READ_AS) | set(RETIRED)) - set(rows()) == set()


def test_every_test_that_the_page_names_is_there() -> None:
    named = {match[1] for _, shown in rows().values() if (match := re.fullmatch(r"`\[(\w+)\]`", shown))}
    assert named == in_force()


def test_every_variable_of_the_role_on_the_page_exists() -> None:
    defaults = (ROOT / "roles" / "ollama" / "defaults" / "main.yml").read_text("utf-8")
    named = {name for where, _ in rows().values() for name in re.findall(r"`(ollama_\w+)`", where)}
    assert [name for name in sorted(named) if f"\n{name}:" not in defaults] == []

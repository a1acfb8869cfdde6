"""The page about failures says what the rules say."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from ansible_collections.llm.serving.plugins.module_utils.doctor.rules import ALL_RULES

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "doctor.md"


def test_the_tables_are_of_today() -> None:
    loader = SourceFileLoader("doctor_tables", str(ROOT / "tools" / "doctor_tables"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    tool = module_from_spec(spec)
    loader.exec_module(tool)
    outdated = [path.name for path, text in tool.pages().items() if path.read_text("utf-8") != text]
    assert outdated == [], "run tools/doctor_tables"


def test_every_rule_has_a_row_and_every_name_a_rule() -> None:
    text = PAGE.read_text("utf-8")
    codes = {rule.code for rule in ALL_RULES}
    assert all(f"| `{code}` |" in text for code in codes)
    complaints = text[text.index("## The six complaints") : text.index("<!--")]
    named = {
        name
        for row in complaints.splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[2] if row.count("|") > 3 else "")
    }
    assert named <= codes

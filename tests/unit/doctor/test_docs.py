"""The page about failures says what the rules say."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import yaml
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


def test_every_variable_that_a_rule_names_can_be_set() -> None:
    specs = [yaml.safe_load(path.read_text("utf-8")) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    options = {name: option for spec in specs for name, option in spec["argument_specs"]["main"]["options"].items()}
    known = {*options, *options["vllm_models"]["options"]}
    # What stands in brackets is a key of the variable before them, or the same for the other engine.
    named = {name for rule in ALL_RULES for name in re.findall(r"\w+", re.sub(r"\(.*?\)|\w+…", "", rule.variable))}
    assert named - known == set()

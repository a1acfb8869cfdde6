"""Filters and their documentation say the same."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "plugins" / "filter"


def filters() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        module = importlib.import_module(f"ansible_collections.llm.serving.plugins.filter.{path.stem}")
        for name, function in module.FilterModule().filters().items():
            assert name not in found, f"two files have the filter {name}"
            found[name] = function
    return found


FILTERS = filters()


def pages() -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.yml"))}


PAGES = pages()


def test_every_filter_is_documented_and_every_documented_filter_exists() -> None:
    assert len(FILTERS) > 50
    assert sorted(PAGES) == sorted(FILTERS)
    assert {name: page["DOCUMENTATION"]["name"] for name, page in PAGES.items()} == {name: name for name in PAGES}


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_options_are_the_parameters(name: str) -> None:
    stated = PAGES[name]["DOCUMENTATION"]
    parameters = list(inspect.signature(FILTERS[name]).parameters.values())
    named = ["_input", *(parameter.name for parameter in parameters[1:])]
    by_place = [
        word for word, parameter in zip(named, parameters, strict=True) if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    assert list(stated["options"]) == named
    assert stated["positional"].split(", ") == by_place
    for word, parameter in zip(named, parameters, strict=True):
        option = stated["options"][word]
        assert option.get("required", False) is (parameter.default is parameter.empty), word
        if "default" in option:
            kept = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            assert option["default"] == kept, word
        # What is not stated is nothing, or what the description says in words.
        elif not option.get("required") and parameter.default not in (None, ""):
            assert "default" in " ".join(option["description"]), word


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_the_example_uses_the_filter(name: str) -> None:
    example = PAGES[name]["EXAMPLES"]
    assert isinstance(yaml.safe_load(example), list)
    assert f"| llm.serving.{name}" in example

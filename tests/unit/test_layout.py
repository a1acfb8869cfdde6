"""The repository as an installable collection."""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_checkout_is_importable_as_the_collection() -> None:
    package = importlib.import_module("ansible_collections.llm.serving.plugins.modules")
    assert Path(next(iter(package.__path__))).resolve() == ROOT / "plugins" / "modules"


def test_every_module_is_in_the_action_group() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))["action_groups"]
    assert groups["serving"] == sorted(path.stem for path in ROOT.glob("plugins/modules/*.py"))


def test_the_execution_environment_names_what_the_collection_needs() -> None:
    needed = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["dependencies"]
    named = yaml.safe_load((ROOT / "requirements.yml").read_text("utf-8"))["collections"]
    assert needed.items() <= {entry["name"]: entry.get("version", "*") for entry in named}.items()
    wanted = yaml.safe_load((ROOT / "execution-environment.yml").read_text("utf-8"))["dependencies"]
    assert {Path(wanted[kind]).name for kind in ("galaxy", "system")} == {"requirements.yml", "bindep.txt"}
    assert all((ROOT / wanted[kind]).exists() for kind in ("galaxy", "system"))

"""The repository as an installable collection."""

from __future__ import annotations

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_checkout_is_importable_as_the_collection() -> None:
    package = importlib.import_module("ansible_collections.llm.serving.plugins.modules")
    assert Path(next(iter(package.__path__))).resolve() == ROOT / "plugins" / "modules"

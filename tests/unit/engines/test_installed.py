"""Engines' folders, and which of them may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.installed import (
    current_engine,
    free_bytes,
    installed_engines,
    superfluous,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for age, (name, build) in enumerate(
        [("0.33.0-cuda", "c"), ("0.32.0-cuda", "b"), ("0.31.0-cuda", "a"), ("0.30.0-cuda", "")]
    ):
        (tmp_path / name).mkdir()
        if build:
            (tmp_path / name / ".complete").write_text(build)
            os.utime(tmp_path / name / ".complete", (1000 - age, 1000 - age))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "current").symlink_to("0.33.0-cuda")
    return tmp_path


def test_engines_are_listed_newest_first_and_the_link_is_none_of_them(root: Path) -> None:
    assert [(engine.name, engine.build) for engine in installed_engines(root)] == [
        ("0.33.0-cuda", "c"),
        ("0.32.0-cuda", "b"),
        ("0.31.0-cuda", "a"),
        ("0.30.0-cuda", None),
    ]
    assert current_engine(root) == "0.33.0-cuda"


def test_a_link_to_nowhere_is_no_engine(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to("gone")
    assert current_engine(root) is None


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (1, ["0.32.0-cuda", "0.31.0-cuda", "0.30.0-cuda"]),
        (2, ["0.31.0-cuda", "0.30.0-cuda"]),
        (9, ["0.30.0-cuda"]),
    ],
)
def test_the_engine_in_service_and_the_newest_complete_ones_stay(root: Path, keep: int, gone: list[str]) -> None:
    assert superfluous(installed_engines(root), "0.33.0-cuda", keep) == gone


def test_a_bare_host_has_no_engine(tmp_path: Path) -> None:
    assert installed_engines(tmp_path / "none") == []
    assert current_engine(tmp_path / "none") is None
    assert free_bytes(tmp_path / "none" / "deeper") > 0

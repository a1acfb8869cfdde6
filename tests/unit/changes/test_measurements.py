"""The first start counts, and what is damaged counts as nothing."""

from __future__ import annotations

import stat
from pathlib import Path

from ansible_collections.llm.serving.plugins.module_utils.changes.measurements import NAME, add, load


def test_what_was_measured_first_stays(tmp_path: Path) -> None:
    assert load(tmp_path) == {}
    assert add(tmp_path, {"a": {"overhead_bytes": 1}}, dry=True) == ["a"]
    assert load(tmp_path) == {}
    assert add(tmp_path, {"a": {"overhead_bytes": 1}}) == ["a"]
    assert add(tmp_path, {"a": {"overhead_bytes": 2}, "b": {"overhead_bytes": 3}}) == ["b"]
    assert load(tmp_path) == {"a": {"overhead_bytes": 1}, "b": {"overhead_bytes": 3}}
    assert add(tmp_path, {"a": {"overhead_bytes": 2}}) == []
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_what_is_damaged_counts_as_nothing(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    assert load(tmp_path) == {}
    assert add(tmp_path, {"a": {"overhead_bytes": 1}}) == ["a"]

"""Dashboards are what tools/dashboards says, in Grafana's shape, and lead nowhere wrong."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .rules import ROLE, ROOT

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROLE / "files" / "dashboards").glob("*.json"))}
COLUMNS = 24


def test_files_are_what_the_generator_says() -> None:
    done = subprocess.run([ROOT / "tools" / "dashboards", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_three() -> None:
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "fleet": "llm-fleet", "hosts": "llm-hosts", "model": "llm-model",
    }  # fmt: skip


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
def test_panels(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not cells & taken, f"{panel['title']} lies upon another"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "llm-prometheus"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            used = {name for name in ("host", "model") if f"${name}" in target["expr"]}
            assert used <= variables, panel["title"]


def test_the_role_brings_each_and_names_the_source() -> None:
    tasks = (ROLE / "tasks" / "grafana.yml").read_text()
    assert all(f"dashboards/{name}.json" in tasks for name in BOARDS)
    assert "uid: llm-prometheus" in (ROLE / "templates" / "grafana-datasource.yml.j2").read_text()

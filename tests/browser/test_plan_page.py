"""The plan's page as people see it: on a desk and on a phone, light and dark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.report.page import render

from .chromium import examine
from .test_benchmark_report import luminance

PHONE, TABLET, DESK = 360, 768, 1280
FLEETS = Path(__file__).resolve().parents[1] / "unit" / "report" / "fleets.py"

FIND = """(document, window) => {
  const root = document.documentElement;
  const shown = e => e.getClientRects().length > 0;
  const bars = [...document.querySelectorAll("svg.bar")].map(bar => {
    const parts = [...bar.querySelectorAll("rect[data-bytes]")], whole = bar.getBoundingClientRect();
    return {
      total: Number(bar.dataset.total),
      bytes: parts.reduce((sum, part) => sum + Number(part.dataset.bytes), 0),
      width: whole.width,
      widths: parts.reduce((sum, part) => sum + part.width.baseVal.value, 0),
      wrong: parts.filter(part => Math.abs(part.width.baseVal.value / whole.width
        - Number(part.dataset.bytes) / Number(bar.dataset.total)) > 0.002).length,
      words: [...bar.querySelectorAll("text")].filter(word => {
        const own = word.getBoundingClientRect(), part = word.previousElementSibling.getBoundingClientRect();
        return own.left < part.left || own.right > part.right;
      }).map(word => word.textContent),
    };
  });
  const texts = [...document.querySelectorAll("svg text")].filter(shown);
  const colour = (e, name) => window.getComputedStyle(e)[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
  const ground = e => {
    while (e &&
      /rgba\\(0, 0, 0, 0\\)|transparent/.test(window.getComputedStyle(e).backgroundColor)) e = e.parentElement;
    return e || document.body;
  };
  const read = e => [colour(e, "color"), colour(ground(e), "backgroundColor")];
  const pick = ["header .soft", ".tiles span", "td.formula", ".badge.good", ".badge.bad", ".box li", ".box.bad dt",
    "thead th", "article a, table a"];
  return {
    width: root.scrollWidth,
    room: root.clientWidth,
    bars,
    charts: document.querySelectorAll("svg.chart").length,
    smallest: Math.min(...texts.map(text => text.getBoundingClientRect().height)),
    beyond: texts.filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < 0 || own.right > root.clientWidth;
    }).map(text => text.textContent),
    fetched: window.performance.getEntriesByType("resource").map(entry => entry.name),
    colours: Object.fromEntries(pick.map(name => [name, read(document.querySelector(name))])),
    ground: colour(document.body, "backgroundColor"),
    ink: colour(document.body, "color"),
  };
}"""


@pytest.fixture(scope="module")
def page() -> str:
    """A page with everything on it."""
    spec = importlib.util.spec_from_file_location("plan_fleets", FLEETS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return render(module.fleet(), ["lost"], "now")


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(request: pytest.FixtureRequest, page: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("chromium")
    return examine(page, FIND, [PHONE, TABLET, DESK], folder, dark=request.param)


WIDTHS = pytest.mark.parametrize("width", [PHONE, TABLET, DESK])


@WIDTHS
def test_page_is_as_wide_as_its_window(seen: Any, width: int) -> None:
    assert seen[width]["width"] <= seen[width]["room"] <= width


@WIDTHS
def test_bars_are_to_scale(seen: Any, width: int) -> None:
    assert len(seen[width]["bars"]) == 9
    for one in seen[width]["bars"]:
        assert one["bytes"] == one["total"]
        assert one["widths"] == pytest.approx(one["width"], rel=0.002)
        assert one["wrong"] == 0


@WIDTHS
def test_words_are_whole_and_large_enough(seen: Any, width: int) -> None:
    assert [one["words"] for one in seen[width]["bars"] if one["words"]] == []
    assert seen[width]["beyond"] == []
    assert seen[width]["smallest"] >= 9


def test_every_plan_has_its_chart(seen: Any) -> None:
    assert seen[DESK]["charts"] == 5


def test_nothing_is_fetched(seen: Any) -> None:
    assert [seen[width]["fetched"] for width in (PHONE, TABLET, DESK)] == [[], [], []]


def test_text_stands_out(seen: Any) -> None:
    for name, pair in seen[DESK]["colours"].items():
        dark, light = sorted(luminance(colour) for colour in pair)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_dark_is_dark(seen: Any, request: pytest.FixtureRequest) -> None:
    is_dark = request.node.callspec.params["seen"]
    assert (luminance(seen[DESK]["ground"]) < luminance(seen[DESK]["ink"])) is is_dark

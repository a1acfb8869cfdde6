"""The benchmark's report as people see it: on a desk and on a phone, light and dark."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.benchmark.ceiling import Ceiling
from ansible_collections.llm.serving.plugins.module_utils.benchmark.lengths import Lengths
from ansible_collections.llm.serving.plugins.module_utils.benchmark.load import StageRun, arrivals
from ansible_collections.llm.serving.plugins.module_utils.benchmark.prompts import Scale
from ansible_collections.llm.serving.plugins.module_utils.benchmark.records import Record
from ansible_collections.llm.serving.plugins.module_utils.benchmark.report import page
from ansible_collections.llm.serving.plugins.module_utils.benchmark.run import summarize
from ansible_collections.llm.serving.plugins.module_utils.benchmark.settings import Settings, Stage, stages
from ansible_collections.llm.serving.plugins.module_utils.benchmark.slo import Slo
from ansible_collections.llm.serving.plugins.module_utils.benchmark.summary import ClientWork

from .chromium import examine

PHONE, TABLET, DESK = 360, 768, 1280
SLOTS = 8
TOKENS = 20

FIND = """(document, window) => {
  const root = document.documentElement;
  const shown = e => e.getClientRects().length > 0;
  const outside = [], texts = [];
  for (const text of document.querySelectorAll("svg text")) {
    if (!shown(text)) continue;
    const own = text.getBoundingClientRect(), frame = text.ownerSVGElement.getBoundingClientRect();
    texts.push(own.height);
    const beside = own.left < frame.left - 1 || own.right > frame.right + 1;
    if (beside || own.top < frame.top - 1 || own.bottom > frame.bottom + 1) outside.push(text.textContent);
  }
  const colour = (e, name) => window.getComputedStyle(e)[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
  const ground = e => e.closest(".banner, .tiles li, figure, body");
  const read = e => [colour(e, "color"), colour(ground(e), "backgroundColor")];
  return {
    width: root.scrollWidth,
    smallest: Math.min(...texts),
    outside,
    figures: [...document.querySelectorAll("figure")].filter(shown).length,
    fetched: window.performance.getEntriesByType("resource").map(e => e.name),
    colours: {
      body: read(document.querySelector("main > p")),
      soft: read(document.querySelector(".soft")),
      verdict: read(document.querySelector(".banner b")),
      tile: read(document.querySelector(".tiles span")),
      legend: read(document.querySelector(".legend li")),
    },
  };
}"""


def answers(stage: Stage, begin_seconds: float) -> list[Record]:
    """What a queue of eight servers would answer, with some failures among it."""
    rng = random.Random(stage.number)
    alone = 0.4
    wait = max(1.0, stage.load / SLOTS) if stage.mode == "closed" else 1.0 + stage.load / 20
    records = []
    times = arrivals(Stage(stage.number, "open", stage.load / alone / wait, stage.requests), 0)
    for number, at_seconds in enumerate(times):
        ttft = 0.05 * wait * rng.uniform(0.8, 2.0)
        gaps = tuple(0.015 * rng.uniform(0.7, 1.6) for dummy in range(TOKENS - 1))
        found = Record(
            stage=stage.number,
            number=number,
            start_seconds=begin_seconds + at_seconds,
            latency_seconds=ttft + sum(gaps),
            status=200,
            ttft_seconds=ttft,
            itl_seconds=gaps,
            last_text_seconds=ttft + sum(gaps),
            input_tokens=256,
            output_tokens=TOKENS,
        )
        if number % 40 == 39:
            found = replace(found, failure="http_429", message="too many requests: " + "x" * 120, status=429)
        records.append(found)
    return records


@pytest.fixture(scope="module")
def report() -> str:
    """A full report: both kinds of load, a broken promise, failures, warnings, long names."""
    length = Lengths("fixed", 256, 0, 256, 256)
    settings = Settings(
        "https://a-rather-long-host-name.inference.example.org:8443",
        "meta-llama/Llama-3.3-70B-Instruct-quantized-w4a16",
        stages([1, 2, 4, 8, 16, 32], [2.0, 8.0, 20.0], 80),
        length,
        length,
        slo=Slo(ttft_seconds=0.15, tpot_seconds=0.05),
    )
    runs, now = [], 0.0
    for stage in settings.stages:
        records = answers(stage, now)
        end = max(record.end_seconds for record in records)
        runs.append(StageRun(stage, records, end - now, ClientWork(0.6, 0.03, 5000)))
        now = end
    client = {
        "host": "a-very-long-host-name.of-a-control-node.example.org",
        "system": "Linux 6.18.44",
        "machine": "x86_64",
        "processor": "AMD EPYC 9654 96-Core Processor",
        "processors": 192,
        "load_average": 0.5,
        "python": "3.12.1",
    }
    server: dict[str, Any] = {"engine": "vllm", "version": "0.33.0", "max_model_len": 8192, "root": "/srv/models/x/y"}
    outcome = summarize(
        settings,
        runs,
        scale=Scale(1.3, 4, True),
        client=client,
        server=server,
        ceiling=Ceiling(50000, 9000),
        seconds=now,
    )
    return page.render(outcome.summary, outcome.records)


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(request: pytest.FixtureRequest, report: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("chromium")
    return examine(report, FIND, [PHONE, TABLET, DESK], folder, dark=request.param)


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_page_is_as_wide_as_its_window(seen: Any, width: int) -> None:
    assert seen[width]["width"] <= width


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_words_in_charts_are_whole_and_large_enough(seen: Any, width: int) -> None:
    assert seen[width]["outside"] == []
    assert seen[width]["smallest"] >= 9


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_every_chart_is_shown_once(seen: Any, width: int) -> None:
    # Five for each kind of load, two timelines, two distributions.
    assert seen[width]["figures"] == 14


def test_what_many_loads_did_not_keep_is_a_list(report: str) -> None:
    assert "found<ul><li>1 at a time: 2.5 % (2 of 80)</li><li>2 at a time:" in report


def test_nothing_is_fetched(seen: Any) -> None:
    assert [seen[width]["fetched"] for width in (PHONE, TABLET, DESK)] == [[], [], []]


def luminance(colour: list[float]) -> float:
    """Relative luminance: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_text_stands_out(seen: Any) -> None:
    for name, pair in seen[DESK]["colours"].items():
        dark, light = sorted(luminance(colour) for colour in pair)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_dark_is_dark(seen: Any, request: pytest.FixtureRequest) -> None:
    (text, background) = seen[DESK]["colours"]["body"]
    is_dark = request.node.callspec.params["seen"]
    assert (luminance(background) < luminance(text)) is is_dark

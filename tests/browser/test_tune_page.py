"""The page of a tuning as people see it: on a desk and on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.tune.page import render

from .chromium import examine
from .test_benchmark_report import luminance

PHONE, DESK = 390, 1280
FIND = """(document, window) => {
  const colour = (e, name) => window.getComputedStyle(e)[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
  const ground = e => e.closest(".banner, .tiles li, body");
  const read = e => [colour(e, "color"), colour(ground(e), "backgroundColor")];
  const widths = [...document.querySelectorAll(".bars i")].map(e => e.getBoundingClientRect().width);
  const table = document.querySelector(".scroll");
  return {
    width: document.documentElement.scrollWidth,
    widths,
    tableFits: table.getBoundingClientRect().right <= document.documentElement.clientWidth,
    fetched: window.performance.getEntriesByType("resource").map(e => e.name),
    colours: ["main > p", ".banner b", ".tiles span", ".bars b"].map(name => read(document.querySelector(name))),
  };
}"""


def trial(settings: dict[str, int], per_second: float | None) -> dict[str, Any]:
    """A trial at three loads."""
    stages = [
        {
            "label": f"{load} at a time",
            "throughput": {"requests_per_second": per_second, "output_tokens_per_second": 6400.0},
            "goodput": {"requests_per_second": (per_second or 0) * load / 16, "share": 0.97, "judged": True},
            **{f"{kind}_seconds": {"p50": 0.2, "p95": 0.4} for kind in ("ttft", "tpot", "e2e")},
        }
        for load in (1, 4, 16)
    ]
    why = "vllm@a-long-name: expected the engine to become healthy, found: torch.OutOfMemoryError: CUDA out of memory"
    return {"settings": settings, "summary": {"stages": stages} if per_second else None, "error": why}


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = [{"max_num_seqs": seqs, "max_num_batched_tokens": 2048} for seqs in (16, 32, 64)]
    trials = [trial(settings[0], 4.0), trial(settings[1], 8.0), trial(settings[2], None)]
    name = "gpu1.a-rather-long-host-name.inference.example.org"
    text = render(trials, "meta-llama/Llama-3.3-70B-Instruct-quantized", name, {"ttft_seconds": 1}, "2026-11-24")
    folder: Path = tmp_path_factory.mktemp("chromium")
    return examine(text, FIND, [PHONE, DESK], folder, dark=request.param)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_page_is_as_wide_as_its_window(seen: Any, width: int) -> None:
    assert seen[width]["width"] <= width
    assert seen[width]["tableFits"]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_bars_are_to_scale(seen: Any, width: int) -> None:
    plan, best, failed = seen[width]["widths"]
    assert plan == pytest.approx(best / 2, abs=2)
    assert failed <= 2


def test_nothing_is_fetched(seen: Any) -> None:
    assert [seen[width]["fetched"] for width in (PHONE, DESK)] == [[], []]


def test_text_stands_out(seen: Any) -> None:
    for pair in seen[DESK]["colours"]:
        dark, light = sorted(luminance(colour) for colour in pair)
        assert (light + 0.05) / (dark + 0.05) >= 4.5

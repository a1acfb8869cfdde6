"""The page of a tuning: what stands at its top, and that names stay text."""

from __future__ import annotations

from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.tune.page import render

PLAN = {"max_num_seqs": 8}


def trial(settings: dict[str, Any], per_second: float | None, error: str = "") -> dict[str, Any]:
    """A trial at one load."""
    stage = {
        "label": "16 at a time",
        "throughput": {"requests_per_second": per_second, "output_tokens_per_second": 64 * (per_second or 0)},
        "goodput": {"requests_per_second": per_second, "share": 0.97, "judged": True},
        "ttft_seconds": {"p50": 0.2, "p95": 0.41},
        "tpot_seconds": {"p50": 0.02, "p95": 0.03},
        "e2e_seconds": {"p50": 1.0, "p95": None},
    }
    return {"settings": settings, "summary": {"stages": [stage]} if per_second is not None else None, "error": error}


def page(*trials: dict[str, Any]) -> str:
    """The page of these trials."""
    return render(trials, "qwen", "gpu1", {"ttft_seconds": 0.5, "share": 0.95}, "2026-11-24 10:00 UTC")


def test_both_sides_stand_at_the_top() -> None:
    text = page(trial(PLAN, 4.0), trial({"max_num_seqs": 16}, 6.0))
    assert "With max_num_seqs 16 the promise is kept for 50 % more requests than with the plan." in text
    assert "<b>4 → 6</b><span>requests a second as promised</span>" in text
    assert "<b>256 → 384</b><span>tokens written a second</span>" in text
    assert "first token within 500 ms for 95 % of requests" in text
    assert text.index("4 → 6") < text.index("For engineers")


def test_a_plan_that_stays_is_shown_alone() -> None:
    text = page(trial(PLAN, 4.0), trial({"max_num_seqs": 16}, 4.05))
    assert "The plan stays" in text
    assert "→" not in text


def test_a_plan_that_kept_nothing_has_no_gain_in_percent() -> None:
    text = page(trial(PLAN, 0.0), trial({"max_num_seqs": 16}, 6.0))
    assert "With max_num_seqs 16 the promise is kept, and with the plan it is not." in text


def test_what_did_not_serve_is_told_with_its_reason() -> None:
    text = page(trial(PLAN, 4.0), trial({"max_num_seqs": 64}, None, "CUDA out of memory <script>"))
    assert "did not serve" in text
    assert "not measured: CUDA out of memory &lt;script&gt;" in text
    assert "<script" not in text


def test_nothing_measured_at_all_is_a_page_too() -> None:
    assert "did not serve" in page(trial(PLAN, None, "refused"))

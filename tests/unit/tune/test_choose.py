"""What is tried, and what is chosen."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.tune.choose import (
    best,
    candidates,
    report,
    score,
)

PLAN = {"max_num_seqs": 8, "max_num_batched_tokens": 2048}


def trial(*per_second: float, **settings: int) -> dict[str, Any]:
    """A trial with one stage for each figure."""
    stages = [
        {
            "label": f"{2**number} at a time",
            "throughput": {"requests_per_second": value, "output_tokens_per_second": 10 * value},
            "goodput": {"requests_per_second": value, "share": 1.0, "judged": True},
        }
        for number, value in enumerate(per_second)
    ]
    return {"settings": settings or PLAN, "summary": {"stages": stages} if stages else None, "error": "refused"}


def test_the_plan_comes_first_and_one_setting_changes_at_a_time() -> None:
    found = candidates(PLAN)
    assert found[0] == PLAN
    assert len(found) == 5
    assert all(sum(entry[name] != PLAN[name] for name in PLAN) == 1 for entry in found[1:])


def test_floors_leave_no_repetition() -> None:
    assert candidates({"ollama_num_parallel": 1}) == [{"ollama_num_parallel": 1}, {"ollama_num_parallel": 2}]
    assert {entry["max_num_batched_tokens"] for entry in candidates(PLAN, {"max_num_batched_tokens": 2048})} == {
        2048,
        4096,
    }


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(5), trial(6), trial(9)], 2),
        ([trial(5), trial(5.1)], 0),
        ([trial(5), trial()], 0),
        ([trial(), trial(1)], 1),
        ([trial(2, 7), trial(6, 3)], 0),
    ],
)
def test_the_best_by_what_was_promised(trials: list[dict[str, Any]], expected: int) -> None:
    assert best(trials) == expected


def test_loads_beyond_the_promise_do_not_count() -> None:
    measured = trial(3, 9)
    measured["summary"]["stages"][1]["goodput"]["judged"] = False
    assert score(measured["summary"]) == 3


def test_the_report_says_before_and_after() -> None:
    lines = report([trial(4), trial(max_num_seqs=16), trial(6, max_num_seqs=4)])
    assert lines[1] == "      1 at a time: 4.00 answers/s, 40 tokens/s, 100% as promised"
    assert lines[2] == "  max_num_seqs 16: not measured (refused)"
    assert lines[3] == "* max_num_seqs 4: 6.00 requests/s as promised"
    assert lines[-1] == "Before: 4.00 requests/s as promised. After: 6.00 (+50%)."
    assert report([trial(4)])[-1].startswith("The plan stays")

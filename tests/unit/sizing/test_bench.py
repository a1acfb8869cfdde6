"""bench/sizing on its own made-up sample, as anyone would run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "bench" / "sizing_sample"


def run(*options: str) -> str:
    command = [sys.executable, ROOT / "bench" / "sizing", SAMPLE / "records.yaml"]
    command += ["--configs", SAMPLE / "configs.yaml", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def result():
    return json.loads(run("--json"))


def test_predictions_are_compared(result):
    records = {record["id"]: record for record in result["records"]}
    assert abs(records["S1"]["error"]) < 0.01
    assert records["S1"]["floor_held"]
    assert abs(records["S1"]["bytes_per_token_error"]) < 0.001
    assert set(records["S1"]["baselines"]) == {
        "weights only",
        "1.2 × weights + 2 GiB",
        "constant activation",
    }
    assert result["summary"]["kv_memory"]["compared"] == 4


def test_verdicts_and_remedies(result):
    records = {record["id"]: record for record in result["records"]}
    assert (records["S2"]["verdict"], records["S2"]["verdict_right"]) == ("fail", True)
    assert records["S2"]["remedies"]
    assert result["summary"]["must_fail"] == {"compared": 1, "refused": 1, "with_remedy": 1}


def test_a_drivers_total_is_taken_for_what_it_is(result):
    # S3 states 80.0 GiB, which nvidia-smi prints for a card of which CUDA has 79.25.
    records = {record["id"]: record for record in result["records"]}
    assert records["S3"]["budget_gib"] == pytest.approx(0.85 * 79.25)


def test_what_is_left_out_says_why(result):
    reasons = result["summary"]["excluded"]
    assert set(reasons) == {"S5", "S6", "S7"}
    assert "unnamed" in reasons["S5"]
    assert "circular" in reasons["S6"]
    assert "no configuration" in reasons["S7"]


def test_the_report_for_people():
    report = run("--weights", "config")
    assert "KV memory, 4 records" in report
    assert "Left out:" in report

"""What a play measures and says, through the filters that the playbook uses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.filter.benchmark import FilterModule
from ansible_collections.llm.serving.plugins.module_utils.benchmark.targets import folder_name

FILTERS = FilterModule().filters()


def route(**changes: Any) -> dict[str, Any]:
    """A route as gateway_routes returns it."""
    return {"engine": "vllm", "model": "qwen", "host": "gpu1", "address": "127.0.0.1", "port": 8010, **changes}


def test_every_route_is_measured() -> None:
    (target,) = FILTERS["benchmark_engine_targets"]([route()], [])
    assert target == {
        "engine": "vllm",
        "model": "qwen",
        "url": "http://127.0.0.1:8010",
        "folder": "qwen",
        "title": "qwen on gpu1",
    }


def test_models_may_be_named_also_as_text() -> None:
    routes = [route(), route(model="qwen2.5:7b", engine="ollama", address="fd00::1", port=11434)]
    (target,) = FILTERS["benchmark_engine_targets"](routes, "[qwen2.5:7b]")
    assert target["url"] == "http://[fd00::1]:11434"
    assert target["folder"] == "qwen2.5_7b"


def test_replicas_of_a_model_have_folders_of_their_own() -> None:
    targets = FILTERS["benchmark_engine_targets"]([route(), route(port=8011)], [])
    assert [target["folder"] for target in targets] == ["qwen-8010", "qwen-8011"]


@pytest.mark.parametrize(
    ("model", "folder"), [("../../etc/passwd", "etc_passwd"), ("org/Model-7B", "org_Model-7B"), ("/", "model")]
)
def test_folder_stays_where_it_is(model: str, folder: str) -> None:
    assert folder_name(model) == folder


def test_url_needs_models() -> None:
    (target,) = FILTERS["benchmark_url_targets"](["m"], "https://gate")
    assert (target["url"], target["engine"]) == ("https://gate", "")
    with pytest.raises(AnsibleFilterError, match="benchmark_models: expected"):
        FILTERS["benchmark_url_targets"]([], "https://gate")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("benchmark_data", "[1,4,16]", [1, 4, 16]),
        ("benchmark_data", [1], [1]),
        ("benchmark_data", {"ttft_seconds": 1}, {"ttft_seconds": 1}),
        ("benchmark_lengths", "512", {"mean": 512}),
        ("benchmark_lengths", 512, {"mean": 512}),
        ("benchmark_lengths", {"mean": 8}, {"mean": 8}),
    ],
)
def test_text_of_the_command_line_becomes_data(name: str, given: Any, expected: Any) -> None:
    assert FILTERS[name](given) == expected


def test_text_that_is_no_data() -> None:
    with pytest.raises(AnsibleFilterError, match="give what contains spaces as JSON"):
        FILTERS["benchmark_data"]("{mean:")


def test_runs_are_told() -> None:
    item = {"model": "m", "url": "http://u", "folder": "m"}
    spread = {"p50": 0.25, "p95": 1.5}
    stage = {
        "label": "4 at a time",
        "requests": {"failed": 1, "sent": 50},
        "throughput": {"requests_per_second": 12.34, "output_tokens_per_second": 1580.2},
        **dict.fromkeys(("ttft_seconds", "tpot_seconds", "e2e_seconds"), spread),
        "goodput": {"share": 0.5},
    }
    slo = {"met": False, "promise": "95 % of requests: first token within 1 s"}
    summary = {"stages": [stage], "knee": {"label": "4 at a time"}, "slo": slo}
    plan = {"stages": [{"requests": 9, "label": "2/s"}], "longest_seconds": 70.0}
    runs = [{"item": item, "summary": summary}, {"item": {**item, "model": "n"}, "plan": plan}]
    runs.append({"item": {**item, "model": "o"}, "msg": "out of luck"})
    measured, planned, failed = FILTERS["benchmark_said"](runs, "/b").values()
    assert measured[0] == (
        "4 at a time: 12.3 answers/s, 1\u202f580 tokens/s, first token 250 ms (p95 1.50 s), per token 250 ms, "
        "whole answer 250 ms (p95 1.50 s), 1 of 50 failed, 50 % as promised"
    )
    assert measured[1:] == [
        "knee: 4 at a time",
        "promise NOT kept: 95 % of requests: first token within 1 s",
        "report: /b/m/report.html",
    ]
    assert planned == ["would send 9 requests 2/s, in at most 70 s"]
    assert failed == ["out of luck"]

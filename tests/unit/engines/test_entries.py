"""Entries of vllm_models: refusals, and what becomes of those that are accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llm.serving.plugins.module_utils.engines import entries
from ansible_collections.llm.serving.plugins.module_utils.engines.entries import (
    entry_problems,
    instances,
    path_problems,
    port_problems,
    start_timeout_seconds,
    unknown_variables,
    url,
    wishes,
)

KEYS = ("name", "model", "port", "state", "max_model_len", "extra_args")
GOOD = {"name": "a", "model": "org/a", "port": 8001}


def plan(**options: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "memory": {"weights_bytes": 32 << 30},
        "engine_args": {"port": 8001, **options},
        "environment": {"CUDA_VISIBLE_DEVICES": "0,1"},
    }


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ([{**GOOD, "max_model_length": 1}], "no key 'max_model_length'; did you mean 'max_model_len'?"),
        ([{"name": "a"}], "expected model, found nothing"),
        ([{"model": "org/a"}], "entry 1: expected name"),
        ([{**GOOD, "name": "A B"}], "found 'A B'"),
        ([{**GOOD, "name": 7}], "expected name to be text, found 7: put it in quotes"),
        ([{**GOOD, "model": ["org/a"]}], "expected model to be text"),
        ([{**GOOD, "port": 0}], "expected a port from 1 to 65535, found 0"),
        ([{**GOOD, "port": 65536}], "found 65536"),
        ([{**GOOD, "port": "http"}], "found 'http'"),
        ([{**GOOD, "host": "nonsense host"}], "expected host to be an address of this host"),
        (["org/a"], "entry 1: expected name, model and so on, found 'org/a'"),
        ([GOOD, {**GOOD, "port": 8002}], "a and a both have the name a"),
        ([GOOD, {**GOOD, "name": "b"}], "a and b both have the port 8001"),
        ([{"name": "a", "model": "m"}, {"name": "b", "model": "m"}], "both have the port 8000"),
    ],
)
def test_refusals_say_what_is_wrong(entries: list[dict[str, Any]], part: str) -> None:
    assert any(part in problem for problem in entry_problems(entries, KEYS))


def test_entries_that_are_absent_do_not_collide() -> None:
    assert entry_problems([GOOD, {**GOOD, "name": "b", "state": "absent"}], KEYS) == []


def test_misspelt_variables_are_named_with_the_nearest() -> None:
    found = unknown_variables(["vllm_modles", "vllm_models", "other"], ["vllm_models", "vllm_host"])
    assert found == ["there is no variable vllm_modles; did you mean 'vllm_models'?"]


@pytest.mark.parametrize(
    ("listener", "refused"),
    [
        ({"port": 8001, "unit": "vllm@a.service", "process": "vllm", "pid": 7}, False),
        ({"port": 8002, "unit": "nginx.service", "process": "nginx", "pid": 7}, False),
        ({"port": 8001, "unit": "nginx.service", "process": "nginx", "pid": 7}, True),
        ({"port": 8001, "unit": "vllm@b.service", "process": "vllm", "pid": 7}, False),  # moves, or goes
        ({"port": 8001, "unit": "vllm@stray.service", "process": "vllm", "pid": 7}, True),
        ({"port": 8001, "unit": "", "process": "", "pid": 0}, True),
    ],
)
def test_a_port_is_busy_when_somebody_else_has_it(listener: dict[str, Any], refused: bool) -> None:
    assert bool(port_problems([GOOD], [listener], ["a", "b"])) is refused


def test_a_directory_that_is_not_there_is_named() -> None:
    (problem,) = path_problems([GOOD, {**GOOD, "name": "b", "model": "/srv/b"}], ["/srv/b"])
    assert problem == "b: expected a model in /srv/b, found no such directory: correct model"


def test_wishes_have_paths_and_no_keys_that_planning_does_not_want() -> None:
    entry = {**GOOD, "revision": "main", "max_model_len": None, "disable_log_requests": True, "extra_args": {"seed": 1}}
    found = wishes([entry], {"a": {"path": "/srv/models/org/a/1"}}, {"gpu_memory_utilization": 0.8}, "127.0.0.1")
    assert found.models == [
        {
            "name": "a",
            "model": "/srv/models/org/a/1",
            "host": "127.0.0.1",
            "port": 8001,
            "gpu_memory_utilization": 0.8,
            "extra_args": {"enable-log-requests": False, "seed": 1},
        }
    ]
    assert "disable_log_requests" in found.warnings["a"][0]


def test_an_instances_own_secrets_join_the_hosts() -> None:
    (instance,) = instances([{**GOOD, "secrets": {"HF_TOKEN": "x"}}], [plan()], {"A": "1"}, {"VLLM_API_KEY": "k"})
    assert instance["secrets"] == {"VLLM_API_KEY": "k", "HF_TOKEN": "x"}
    assert instance["environment"] == {"A": "1", "CUDA_VISIBLE_DEVICES": "0,1"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001"),
        ("0.0.0.0", "http://127.0.0.1:8001"),  # noqa: S104 - a value to translate
        ("10.0.0.5", "http://10.0.0.5:8001"),
        ("::", "http://[::1]:8001"),
    ],
)
def test_the_url_is_one_that_answers_on_the_host_itself(host: str, expected: str) -> None:
    assert url(plan(host=host)) == expected


def test_large_models_may_load_longer() -> None:
    assert start_timeout_seconds(plan(), 0) == 600 + 8 * 64
    assert start_timeout_seconds(plan(), 90) == 90


def test_keys_and_variables_are_those_of_the_roles_specification():
    path = Path(__file__).resolve().parents[3] / "roles" / "vllm" / "meta" / "argument_specs.yml"
    options = yaml.safe_load(path.read_text("utf-8"))["argument_specs"]["main"]["options"]
    assert sorted(entries.KEYS) == sorted(options["vllm_models"]["options"])
    assert sorted(entries.VARIABLES) == sorted(options)


def test_what_was_tuned_stands_in_the_place_of_the_entrys_own() -> None:
    models = [{"name": "a", "port": 1, "max_num_seqs": 1}, {"name": "b"}, "no entry"]
    assert entries.tuned(models, {"a": {"max_num_seqs": 4}, "gone": {"max_num_seqs": 2}}) == [
        {"name": "a", "port": 1, "max_num_seqs": 4},
        {"name": "b"},
        "no entry",
    ]
    assert models[0] == {"name": "a", "port": 1, "max_num_seqs": 1}

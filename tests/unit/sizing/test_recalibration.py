from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.plan import Host
from ansible_collections.llm.serving.plugins.module_utils.sizing.recalibration import (
    difference,
    measured_overhead_bytes,
)

from .samples import GIB, LLAMA_8B, cards, plan_one

HOST = Host(devices=cards("L4"))


def test_the_next_plan_meets_what_was_logged():
    first = plan_one(LLAMA_8B, HOST, max_model_len=8192)
    logged = first.estimate.account.kv_expected_bytes - GIB // 2
    overhead = measured_overhead_bytes(first.as_dict()["memory"], logged)
    second = plan_one(LLAMA_8B, HOST, max_model_len=8192, measured_overhead_bytes=overhead)
    assert second.estimate.account.kv_expected_bytes == logged
    assert second.estimate.expected.tokens < first.estimate.expected.tokens


def test_a_log_of_another_start_is_noticed():
    memory = plan_one(LLAMA_8B, HOST, max_model_len=8192).as_dict()["memory"]
    with pytest.raises(SizingError, match="does not belong to this plan"):
        measured_overhead_bytes(memory, 70 * GIB)


def test_plan_against_truth():
    memory = plan_one(LLAMA_8B, HOST, max_model_len=8192).as_dict()["memory"]
    kv = memory["kv_cache_bytes"]
    assert difference(memory, kv["expected"])["error_of_budget"] == 0
    assert difference(memory, kv["floor"])["floor_held"]
    assert not difference(memory, kv["floor"] - 1)["floor_held"]

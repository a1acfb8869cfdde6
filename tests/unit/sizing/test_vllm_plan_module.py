"""The module's thin layer: options in, plans or a refusal out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.module_utils.sizing.recalibration import measurements
from ansible_collections.llm.serving.plugins.modules import vllm_plan

from .samples import LLAMA_8B, TINY

MIB = 1024**2


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        vllm_plan.main()
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    return str(tmp_path)


@pytest.fixture
def llama(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return str(tmp_path)


def gpu(**changes: Any) -> dict[str, Any]:
    device = {
        "index": 0,
        "name": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": 81559 * MIB,
        "compute_capability": "9.0",
    }
    return {"vendor": "nvidia", "devices": [{**device, **changes}], "problem": None}


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_cpu_host(capsys, tiny, check_mode):
    options = {"models": [{"name": "tiny", "model": tiny}], "memory_total_bytes": 24 << 30}
    result = run(capsys, **options, vllm_version="0.32.0", _ansible_check_mode=check_mode)
    assert result["changed"] is False
    (plan,) = result["plans"]
    assert plan["kv_cache_tokens"] == {"expected": 2796160, "floor": 2796160}
    assert plan["gpu_memory_utilization"] is None


def test_a_gpu_host(capsys, llama):
    (plan,) = run(capsys, models=[{"name": "llama", "model": llama}], gpu=gpu())["plans"]
    assert (plan["device"], plan["gpu_indices"]) == ("cuda", [0])
    assert plan["engine_args"]["model"] == llama


def test_the_documented_keys_are_returned(capsys, llama):
    documented = yaml.safe_load(vllm_plan.RETURN)["plans"]["contains"]
    (plan,) = run(capsys, models=[{"name": "llama", "model": llama}], gpu=gpu())["plans"]
    assert set(plan) == set(documented)


def test_a_refusal_in_parts(capsys, llama):
    small = gpu(name="NVIDIA L4", memory_total_bytes=23034 * MIB)
    result = run(capsys, models=[{"name": "llama", "model": llama, "max_model_len": 131072}], gpu=small)
    assert result["failed"] is True
    assert set(result["refusal"]) == {"message", "expected", "found", "remedy"}
    assert result["refusal"]["remedy"] in result["msg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), ("{", "cannot be read as JSON"), ("[]", "holds no object")],
)
def test_a_wrong_directory(capsys, tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    result = run(capsys, models=[{"name": "m", "model": str(tmp_path)}])
    assert message in result["msg"]


def test_a_card_that_cannot_be_used_is_no_cpu_host(capsys, tiny):
    facts = {
        "vendor": "nvidia",
        "devices": [],
        "problem": {"code": "version_mismatch", "message": "driver and library differ", "remedy": "reboot"},
    }
    options = {"gpu": facts, "memory_total_bytes": 24 << 30}
    result = run(capsys, models=[{"name": "tiny", "model": tiny}], **options)
    assert "driver and library differ" in result["msg"]
    assert "reboot" in result["refusal"]["remedy"]
    result = run(capsys, models=[{"name": "tiny", "model": tiny, "device": "cpu"}], **options)
    assert result["plans"][0]["device"] == "cpu"


def test_a_version_that_is_none(capsys, tiny):
    result = run(capsys, models=[{"name": "tiny", "model": tiny}], vllm_version="newest")
    assert "not a version of vLLM" in result["msg"]


def test_modelopt_describes_its_format_in_a_file_of_its_own(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    description = {"quantization": {"quant_algo": "NVFP4"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(description))
    (plan,) = run(capsys, models=[{"name": "llama", "model": str(tmp_path)}], gpu=gpu())["plans"]
    assert plan["memory"]["weights_bytes"] < 6.5 * 1024**3


def test_a_measurement_changes_the_next_plan_once(capsys, llama):
    """What a start showed is used by the second run; the third neither measures anew nor plans anything else."""
    card = gpu(name="NVIDIA L4", memory_total_bytes=23034 * MIB, compute_capability="8.9")
    options = {"models": [{"name": "llama", "model": llama}], "gpu": card}
    first = run(capsys, **options)
    (plan,) = first["plans"]
    logged = plan["memory"]["kv_cache_bytes"]["expected"] - (300 << 20)
    stored = measurements(first["plans"], first["signatures"], {"llama": {"kv_cache_bytes": logged}})
    known = {text: values["overhead_bytes"] for text, values in stored.items()}
    second = run(capsys, **options, measurements=known)
    assert second["plans"][0]["memory"]["kv_cache_bytes"]["expected"] == pytest.approx(logged, abs=MIB)
    assert any("measured when this configuration was first started" in why for why in second["plans"][0]["reasons"])
    assert not any("max_num_seqs" in why and "set by the operator" in why for why in second["plans"][0]["reasons"])
    assert second["signatures"] == first["signatures"]
    assert run(capsys, **options, measurements=known) == second


def test_a_measurement_of_another_configuration_is_of_no_account(capsys, llama):
    options = {"models": [{"name": "llama", "model": llama}], "gpu": gpu()}
    assert run(capsys, **options, measurements={"another": 1 << 30})["plans"] == run(capsys, **options)["plans"]
    changed = run(capsys, models=[{"name": "llama", "model": llama, "max_num_seqs": 3}], gpu=gpu())
    assert changed["signatures"] != run(capsys, **options)["signatures"]


def test_a_fixed_cache_and_a_log_that_does_not_fit_are_not_measurements(capsys, llama):
    models = [{"name": "llama", "model": llama, "kv_cache_memory_bytes": 4 << 30}]
    fixed = run(capsys, models=models, gpu=gpu())
    assert measurements(fixed["plans"], fixed["signatures"], {"llama": {"kv_cache_bytes": 4 << 30}}) == {}
    free = run(capsys, models=[{"name": "llama", "model": llama}], gpu=gpu())
    for log in ({}, {"kv_cache_bytes": None}, {"kv_cache_bytes": 999 << 30}):
        assert measurements(free["plans"], free["signatures"], {"llama": log}) == {}

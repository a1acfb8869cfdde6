from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.filter.gpu_check import gpu_check
from ansible_collections.llm.serving.plugins.module_utils.gpu import compat


def device(index: int = 0, name: str = "NVIDIA H100 80GB HBM3", capability: str | None = "9.0") -> dict[str, Any]:
    return {"index": index, "name": name, "compute_capability": capability, "unified_memory": False}


def host(*devices: dict[str, Any], **facts: Any) -> dict[str, Any]:
    usual = {"vendor": "nvidia", "driver_version": "580.95.05", "cuda_version": "13.0", "problem": None}
    return {**usual, "devices": list(devices), **facts}


CPU_HOST: dict[str, Any] = {
    "vendor": None,
    "driver_version": None,
    "cuda_version": None,
    "devices": [],
    "problem": None,
}
BROKEN = host(problem={"code": "version_mismatch", "message": "Expected one.", "remedy": "Reboot."})
OLD_CARD = device(1, "Tesla V100-SXM2-16GB", "7.0")


@pytest.mark.parametrize(
    ("version", "cuda"),
    [
        ("0.11.2", "12.8"),
        ("0.19.1", "12.8"),
        ("0.20.0", "13.0"),
        ("0.32.1rc1", "13.0"),
        ("0.33.0", "13.0"),
        ("1.0", "13.0"),
    ],
)
def test_cuda_of_the_wheel(version: str, cuda: str) -> None:
    assert compat.cuda_of_vllm(version) == cuda


@pytest.mark.parametrize(
    ("found", "wanted", "enough"),
    [
        ("580.65.06", "580.65.06", True),
        ("580.65.05", "580.65.06", False),
        ("580.126.09", "580.65.06", True),
        ("590", "580.65.06", True),
        ("525.60", "525.60.13", False),
        ("10.0", "8.9", True),
    ],
)
def test_versions_are_compared_by_number(found: str, wanted: str, enough: bool) -> None:
    assert compat.at_least(found, wanted) is enough


def test_all_is_well() -> None:
    assert gpu_check(host(device(), device(1)), vllm_version="0.33.0") == {
        "summary": "2 × NVIDIA H100 80GB HBM3, driver 580.95.05, CUDA up to 13.0.",
        "failures": [],
        "warnings": [],
        "cuda_version": "13.0",
    }


def test_mixed_cards_and_no_cards_are_summed_up() -> None:
    assert gpu_check(host(device(), OLD_CARD))["summary"].startswith("1 × NVIDIA H100 80GB HBM3, 1 × Tesla V100")
    assert gpu_check(CPU_HOST)["summary"] == "No usable GPU."


class TestPolicy:
    @pytest.mark.parametrize(
        ("facts", "required", "fails"),
        [
            (CPU_HOST, "auto", False),
            (CPU_HOST, False, False),
            (CPU_HOST, True, True),
            (BROKEN, "auto", True),
            (BROKEN, "true", True),
            (BROKEN, "False", False),
        ],
    )
    def test_whether_a_gpu_must_be_there(self, facts: dict[str, Any], required: object, fails: bool) -> None:
        verdict = gpu_check(facts, required=required)
        assert bool(verdict["failures"]) is fails

    def test_the_way_out_is_told(self) -> None:
        (text,) = gpu_check(BROKEN)["failures"]
        assert text.startswith("Expected one. Reboot.")
        assert "gpu_required: false" in text

    def test_a_broken_gpu_that_may_stay_unused_is_a_warning(self) -> None:
        assert "Reboot." in gpu_check(BROKEN, required=False)["warnings"][0]

    def test_an_old_driver_of_a_gpu_that_may_stay_unused_is_a_warning(self) -> None:
        verdict = gpu_check(host(device(), driver_version="535.1"), required=False, vllm_version="0.33.0")
        assert verdict["failures"] == []
        assert "580.65.06" in verdict["warnings"][0]


class TestDriver:
    def test_too_old_for_cuda_13_and_good_for_cuda_12(self) -> None:
        (text,) = gpu_check(host(device(), driver_version="550.54.15"), vllm_version="0.33.0")["failures"]
        assert "vLLM 0.33.0's wheel, built with CUDA 13.0, needs an NVIDIA driver of at least 580.65.06" in text
        assert "found 550.54.15" in text
        assert "0.19.1" in text
        assert 'gpu_cuda_version: "12.9"' in text

    def test_good_for_the_build_that_the_operator_chose(self) -> None:
        verdict = gpu_check(host(device(), driver_version="550.54.15"), vllm_version="0.33.0", cuda_version="12.9")
        assert (verdict["failures"], verdict["cuda_version"]) == ([], "12.9")

    def test_too_old_for_cuda_12(self) -> None:
        (text,) = gpu_check(host(device(), driver_version="470.74"), cuda_version="12.8")["failures"]
        assert "525.60.13" in text
        assert "Or, for this driver" not in text

    def test_unchecked_without_a_version(self) -> None:
        assert gpu_check(host(device(), driver_version="470.74"))["failures"] == []

    @pytest.mark.parametrize(
        ("facts", "cuda"), [(host(device(), driver_version=None), "13.0"), (host(device()), "14.1")]
    )
    def test_what_cannot_be_checked_is_told(self, facts: dict[str, Any], cuda: str) -> None:
        verdict = gpu_check(facts, cuda_version=cuda)
        assert verdict["failures"] == []
        assert "not checked" in verdict["warnings"][0]


class TestCards:
    def test_too_old(self) -> None:
        verdict = gpu_check(host(device(), OLD_CARD), vllm_version="0.33.0")
        low, dropped = verdict["failures"]
        assert "GPU 1 (Tesla V100-SXM2-16GB) has 7.0" in low
        assert "GPU 0" not in low
        assert "Maxwell, Pascal and Volta" in dropped

    def test_the_operator_may_accept_it(self) -> None:
        verdict = gpu_check(host(OLD_CARD), cuda_version="12.8", min_compute_capability="7.0")
        assert verdict["failures"] == []

    @pytest.mark.parametrize(
        ("feature", "capability", "fails"),
        [("bfloat16", "7.5", True), ("bfloat16", "8.0", False), ("fp8", "8.6", True), ("fp8", "8.9", False)],
    )
    def test_features(self, feature: str, capability: str, fails: bool) -> None:
        verdict = gpu_check(host(device(capability=capability)), features=[feature])
        assert any(feature in text for text in verdict["failures"]) is fails

    def test_formats_that_are_missing_are_told(self) -> None:
        texts = gpu_check(host(device(capability="7.5")))["warnings"]
        assert [word for word in ("bfloat16", "FP8") if any(word in text for text in texts)] == ["bfloat16", "FP8"]

    def test_capability_that_is_not_known(self) -> None:
        verdict = gpu_check(host(device(capability=None)))
        assert verdict["failures"] == []
        assert "not known" in verdict["warnings"][0]

    def test_shared_memory(self) -> None:
        assert "share" in gpu_check(host({**device(), "unified_memory": True}))["warnings"][0]

    def test_other_vendors(self) -> None:
        verdict = gpu_check(host(device(capability=None), vendor="amd"), vllm_version="0.33.0")
        assert verdict["failures"] == []
        assert "amd" in verdict["warnings"][0]


def test_everything_is_told_at_once() -> None:
    problem = {"code": "gpu_lost", "message": "Expected two.", "remedy": "Reboot."}
    facts = host(OLD_CARD, driver_version="550.54.15", problem=problem)
    assert len(gpu_check(facts, vllm_version="0.33.0", features=["fp8"])["failures"]) == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"required": "maybe"}, "gpu_required: expected one of auto, true, false"),
        ({"vllm_version": "latest"}, "gpu_vllm_version: expected a version"),
        ({"cuda_version": "cu130"}, "gpu_cuda_version"),
        ({"min_compute_capability": "sm90"}, "gpu_min_compute_capability"),
        ({"features": ["int4"]}, "gpu_required_features: expected any of bfloat16, fp8; found int4"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(AnsibleFilterError, match=told):
        gpu_check(CPU_HOST, **options)


@pytest.mark.parametrize("facts", [None, {}, "text"])
def test_facts_that_were_not_gathered_are_refused(facts: object) -> None:
    with pytest.raises(AnsibleFilterError, match="gpu_facts"):
        gpu_check(facts)

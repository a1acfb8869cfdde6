"""The team's rules, bounded by memory."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.environment import GIB, Gpu
from ansible_collections.llm.serving.plugins.module_utils.ollama.gguf import ModelShape
from ansible_collections.llm.serving.plugins.module_utils.ollama.plan import GB, Host, Model, Plan, plan
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError
from hypothesis import given
from hypothesis import strategies as st

# Qwen2.5-7B, Q4_K_M: 56 KiB of KV cache per token, 32,768 tokens of training.
SEVEN = ModelShape("qwen2", 28, 28672, 32768, 4_683_073_184)
BIG = ModelShape("qwen2", 64, 131072, 32768, 19_851_336_672)

# Gemma 3 27B: 10 layers that keep everything and 52 with a window, of 16 heads of 128 + 128; gpt-oss 20B: 12 and 12.
GEMMA = ModelShape("gemma3", 62, 40960, 131072, 17_396_936_941, window=1024, window_elements=212992)
GPT_OSS = ModelShape("gptoss", 24, 12288, 131072, 13_793_425_048, window=128, window_elements=12288)


def host(gpus: int = 0, gpu_gib: int = 24, ram_gb: int = 128, cores: int = 24) -> Host:
    cards = tuple(Gpu(index, "L4", gpu_gib * GIB, f"GPU-{index}") for index in range(gpus))
    return Host(ram_gb * GB, cores, "nvidia" if gpus else None, cards)


def numbers(result: Plan) -> tuple[str, str, str]:
    env = result.environment
    return env["OLLAMA_MAX_LOADED_MODELS"], env["OLLAMA_NUM_PARALLEL"], env["OLLAMA_MAX_QUEUE"]


@pytest.mark.parametrize(
    ("ram_gb", "cores", "expected"),
    [
        (512, 64, ("8", "16", "1024")),
        (128, 24, ("2", "6", "1024")),
        (63, 3, ("1", "1", "1024")),
        (8, 1, ("1", "1", "1024")),
    ],
)
def test_the_seeds_rules(ram_gb: int, cores: int, expected: tuple[str, str, str]) -> None:
    result = plan(host(ram_gb=ram_gb, cores=cores), [], {})
    assert numbers(result) == expected
    assert any("one per 64 GB" in reason for reason in result.reasons)
    assert any("one per 4 cores" in reason for reason in result.reasons)


def test_what_fits_keeps_the_rules_and_says_so() -> None:
    result = plan(host(gpus=1), [Model("qwen2.5:7b", SEVEN, context=8192)], {})
    assert numbers(result) == ("2", "6", "1024")
    assert result.memory["fits"] is True
    (model,) = result.memory["models"]  # type: ignore[misc]
    assert model["need_bytes"] == 4_683_073_184 + 6 * 8192 * 57344 + GIB
    assert "OLLAMA_CONTEXT_LENGTH" not in result.environment


def test_the_context_is_shortened_first() -> None:
    # 24 GiB are in the class of 32,768 tokens, of which 6 at once would take 10.5 GiB.
    result = plan(host(gpus=1, gpu_gib=24), [Model("a", SEVEN), Model("b", SEVEN)], {})
    assert numbers(result)[:2] == ("2", "6")
    assert result.environment["OLLAMA_CONTEXT_LENGTH"] == "8192"
    assert any("OLLAMA_CONTEXT_LENGTH=8192" in reason for reason in result.reasons)


def test_then_the_parallel_requests_then_the_models() -> None:
    fixed: dict[str, Any] = {"OLLAMA_CONTEXT_LENGTH": 32768}
    one = plan(host(gpus=1, gpu_gib=24), [Model("a", SEVEN)], fixed)
    assert numbers(one)[:2] == ("2", "6")
    two = plan(host(gpus=1, gpu_gib=24), [Model("a", SEVEN), Model("b", SEVEN)], fixed)
    assert numbers(two)[:2] == ("2", "2")
    three = plan(host(gpus=1, gpu_gib=24), [Model("big", BIG), Model("b", SEVEN)], {"OLLAMA_CONTEXT_LENGTH": 8192})
    assert numbers(three)[:2] == ("1", "1")
    assert any("2 by that rule, bounded by memory" in reason for reason in three.reasons)


def test_what_cannot_fit_says_what_would() -> None:
    result = plan(host(gpus=1, gpu_gib=24), [Model("big", BIG, context=32768)], {})
    assert result.memory["fits"] is False
    (warning,) = result.warnings
    assert "does not fit" in warning and "layers would go to the CPU" in warning
    assert "a context of" in warning
    tokens = int(warning.partition("a context of ")[2].split()[0])
    assert plan(host(gpus=1, gpu_gib=24), [Model("big", BIG, context=tokens)], {}).memory["fits"] is True


def test_weights_that_cannot_fit_name_quantization() -> None:
    result = plan(host(gpus=1, gpu_gib=12), [Model("big", BIG)], {})
    assert "a smaller quantization of big" in result.warnings[0]


def test_the_operators_values_win_and_are_warned_about() -> None:
    wanted = {"OLLAMA_NUM_PARALLEL": 32, "OLLAMA_MAX_LOADED_MODELS": 4, "OLLAMA_MAX_QUEUE": 5}
    result = plan(host(gpus=1), [Model("a", SEVEN, context=32768)], wanted)
    assert numbers(result) == ("4", "32", "5")
    assert "does not fit" in result.warnings[0]
    assert "OLLAMA_NUM_PARALLEL=32: set by the operator" in result.reasons


def test_zero_leaves_a_number_to_the_plan() -> None:
    wanted = {"OLLAMA_NUM_PARALLEL": 0, "OLLAMA_MAX_LOADED_MODELS": 0, "OLLAMA_CONTEXT_LENGTH": 0}
    assert plan(host(), [], wanted).environment == plan(host(), [], {}).environment


@pytest.mark.parametrize(("overhead", "expected"), [("10GiB", 262144), ("14GiB", 32768)])
def test_the_context_that_the_server_takes_counts_the_overhead_of_every_card(overhead: str, expected: int) -> None:
    # 4 × (24 − 10) GiB are 56, 4 × (24 − 14) are 40.
    long = ModelShape("qwen2", 1, 1, 10**6, 1)
    result = plan(host(gpus=4), [Model("a", long)], {"OLLAMA_GPU_OVERHEAD": overhead})
    assert result.memory["models"][0]["context"] == expected  # type: ignore[index]


def test_a_vram_limit_leaves_less() -> None:
    free = plan(host(gpus=1), [Model("a", SEVEN, context=8192)], {})
    limited = plan(host(gpus=1), [Model("a", SEVEN, context=8192)], {"OLLAMA_MAX_VRAM": "8GB"})
    assert limited.memory["usable_bytes"] <= 8 * GB < free.memory["usable_bytes"]  # type: ignore[operator]
    assert int(limited.environment["OLLAMA_NUM_PARALLEL"]) < int(free.environment["OLLAMA_NUM_PARALLEL"])


def test_layers_on_the_cpu_take_no_vram() -> None:
    half = plan(host(gpus=1), [Model("big", BIG, context=4096, layers=33)], {})
    everything = BIG.weights_bytes + 6 * 4096 * BIG.cache_elements * 2
    assert half.memory["models"][0]["need_bytes"] == int(everything * 33 / 65) + GIB  # type: ignore[index]
    old = plan(host(gpus=1), [Model("big", BIG, context=4096)], {"OLLAMA_GPU_LAYERS": 33})
    assert (old.memory["models"], old.layers) == (half.memory["models"], 33)


def test_a_quantized_cache_lets_more_requests_in() -> None:
    # The second model may take 80 % of 23 GiB less the first: 10.2 GiB each, of which 5.4 for weights and room.
    # A request takes 1.75 GiB in f16 and 0.93 GiB in q8_0.
    wanted: dict[str, Any] = {"OLLAMA_CONTEXT_LENGTH": 32768}
    models = [Model("a", SEVEN), Model("b", SEVEN)]
    assert numbers(plan(host(gpus=1), models, wanted))[1] == "2"
    assert numbers(plan(host(gpus=1), models, {**wanted, "OLLAMA_KV_CACHE_TYPE": "q8_0"}))[1] == "5"
    off = plan(host(gpus=1), models, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": False})
    assert any("needs OLLAMA_FLASH_ATTENTION" in warning for warning in off.warnings)


@pytest.mark.parametrize(("shape", "gpu_gib", "cores"), [(GEMMA, 45, 24), (GPT_OSS, 24, 32)])
def test_windows_leave_the_servers_own_context(shape: ModelShape, gpu_gib: int, cores: int) -> None:
    result = plan(host(gpus=1, gpu_gib=gpu_gib, cores=cores), [Model("a", shape)], {})
    assert ("OLLAMA_CONTEXT_LENGTH" in result.environment, result.memory["fits"]) == (False, True)
    assert any(f"window of {shape.window} keep at most {shape.window_cells} tokens" in text for text in result.reasons)
    (model,) = result.memory["models"]  # type: ignore[misc]
    cache = cores // 4 * 2 * (32768 * shape.cache_elements + shape.window_cells * shape.window_elements)
    assert model["need_bytes"] == shape.weights_bytes + cache + GIB
    assert model["context"] * model["parallel"] * model["kv_cache_bytes_per_token"] == cache
    full = plan(host(gpus=1, gpu_gib=gpu_gib, cores=cores), [Model("a", shape.without_windows())], {})
    assert int(full.environment["OLLAMA_CONTEXT_LENGTH"]) < 32768


def test_a_further_model_is_expected_without_its_windows() -> None:
    # The first takes 27.5 GiB. The second would take 20.3, and is expected to take 32.7 of at most 80 % of what is
    # free beside the first: 28.4 GiB of a card of 64, 41.2 of one of 80.
    wanted = {"OLLAMA_NUM_PARALLEL": 1, "OLLAMA_CONTEXT_LENGTH": 32768}
    models = [Model("big", BIG), Model("gemma", GEMMA)]
    assert plan(host(gpus=1, gpu_gib=64), models, wanted).environment["OLLAMA_MAX_LOADED_MODELS"] == "1"
    assert plan(host(gpus=1, gpu_gib=80), models, wanted).environment["OLLAMA_MAX_LOADED_MODELS"] == "2"


@pytest.mark.parametrize("shape", [BIG, GEMMA, GPT_OSS])
@pytest.mark.parametrize("others", [[], [Model("b", SEVEN)]])
def test_the_longest_context_is_found_with_windows_as_well(shape: ModelShape, others: list[Model]) -> None:
    wanted = {"OLLAMA_NUM_PARALLEL": 16, "OLLAMA_MAX_LOADED_MODELS": 1 + len(others), "OLLAMA_CONTEXT_LENGTH": 1024}
    card = host(gpus=1, gpu_gib=60)
    warnings = plan(card, [Model("a", shape, context=131072), *others], wanted).warnings
    warning = next(text for text in warnings if "does not fit" in text)
    tokens = int(warning.partition("a context of ")[2].split()[0])
    assert plan(card, [Model("a", shape, context=tokens), *others], wanted).memory["fits"] is True
    assert plan(card, [Model("a", shape, context=tokens + 256), *others], wanted).memory["fits"] is False


def test_a_cpu_host_is_bounded_by_its_ram() -> None:
    result = plan(host(ram_gb=64, cores=32), [Model("big", BIG, context=32768)], {})
    assert result.memory["pool"] == "the host's RAM"
    # 57.6 GB usable, 20.9 for weights and room, 8.6 for each request.
    assert numbers(result)[1] == "4"


def test_models_that_are_not_there_are_not_counted() -> None:
    result = plan(host(gpus=1), [Model("later")], {})
    assert result.memory["fits"] is None
    assert any("later: not on the host yet" in reason for reason in result.reasons)


def test_architectures_served_one_at_a_time() -> None:
    single = ModelShape("qwen3next", 48, 28672, 32768, 10 * GIB)
    result = plan(host(gpus=1), [Model("next", single, context=32768)], {})
    assert result.memory["models"][0]["parallel"] == 1  # type: ignore[index]
    assert any("one request at a time" in reason for reason in result.reasons)


def test_a_context_beyond_the_training_is_risky() -> None:
    result = plan(host(gpus=2), [Model("a", SEVEN, context=131072)], {})
    assert any("more than the 32768 tokens" in warning for warning in result.warnings)
    assert result.memory["models"][0]["context"] == 32768  # type: ignore[index]


def test_an_unknown_cache_type_is_refused() -> None:
    for models in ([Model("a", SEVEN)], []):
        with pytest.raises(OllamaError, match="OLLAMA_KV_CACHE_TYPE"):
            plan(host(), models, {"OLLAMA_KV_CACHE_TYPE": "q3"})


def test_a_model_by_two_names_is_refused() -> None:
    with pytest.raises(OllamaError, match="found a and library/a:latest, which are the same"):
        plan(host(), [Model("a", SEVEN), Model("library/a:latest")], {})


def test_a_context_below_zero_is_refused() -> None:
    with pytest.raises(OllamaError, match="a: expected num_ctx as a number of tokens, found -5"):
        plan(host(), [Model("a", SEVEN, context=-5)], {})


def test_a_quantized_cache_needs_flash_attention() -> None:
    off = {"OLLAMA_KV_CACHE_TYPE": "Q8_0", "OLLAMA_FLASH_ATTENTION": "False"}
    assert any("needs OLLAMA_FLASH_ATTENTION" in warning for warning in plan(host(), [], off).warnings)


@given(
    gpus=st.integers(0, 4),
    gpu_gib=st.integers(4, 192),
    ram_gb=st.integers(1, 2048),
    cores=st.integers(1, 256),
    weights_gib=st.lists(st.integers(1, 100), max_size=4),
)
def test_every_plan_is_at_least_one_and_never_above_the_rules(
    gpus: int, gpu_gib: int, ram_gb: int, cores: int, weights_gib: list[int]
) -> None:
    shapes = [ModelShape("llama", 32, 65536, 131072, size * GIB) for size in weights_gib]
    models = [Model(f"m{number}", shape) for number, shape in enumerate(shapes)]
    result = plan(host(gpus, gpu_gib, ram_gb, cores), models, {})
    loaded, parallel, _ = (int(value) for value in numbers(result))
    assert 1 <= loaded <= max(1, ram_gb // 64)
    assert 1 <= parallel <= max(1, cores // 4)
    assert (result.memory["fits"] is False) == any("does not fit" in warning for warning in result.warnings)


def test_an_overhead_beyond_the_cards_is_planned_as_the_server_counts_it() -> None:
    # Its unsigned number wraps around to the largest context, which cannot fit: the plan sets the least.
    result = plan(host(gpus=2), [Model("a", SEVEN)], {"OLLAMA_GPU_OVERHEAD": "30GiB"})
    assert (result.environment["OLLAMA_CONTEXT_LENGTH"], result.memory["fits"]) == ("4096", False)

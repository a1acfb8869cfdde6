"""Old settings in the roles' variables, and nothing secret among them."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.adopt.ollama_settings import ollama_variables
from ansible_collections.llm.serving.plugins.module_utils.adopt.vllm_settings import (
    instance_name,
    length,
    parse,
    vllm_entry,
)
from ansible_collections.llm.serving.plugins.module_utils.ollama.environment import Gpu

SEED = {
    "OLLAMA_HOST": "0.0.0.0:11434",
    "OLLAMA_MAX_LOADED_MODELS": "2",
    "OLLAMA_NUM_PARALLEL": "6",
    "OLLAMA_MAX_QUEUE": "1024",
    "OLLAMA_MAX_VRAM": "60GB",
    "PATH": "/home/ps/miniconda3/bin:/bin",
}
H100 = Gpu(0, "H100", 80 * 10**9)


def test_the_seeds_unit_with_a_card() -> None:
    adopted = ollama_variables(SEED, "nvidia", [H100])
    assert adopted.variables == {
        "ollama_host": "0.0.0.0:11434",
        "ollama_max_loaded_models": 2,
        "ollama_num_parallel": 6,
        "ollama_max_queue": 1024,
        "ollama_gpu_overhead": str(20 * 10**9),
    }
    assert any("OLLAMA_MAX_VRAM" in warning and "OLLAMA_GPU_OVERHEAD" in warning for warning in adopted.warnings)
    assert any("everybody who reaches the host" in warning for warning in adopted.warnings)


def test_names_of_old_do_nothing_without_a_card_and_say_so() -> None:
    adopted = ollama_variables({"OLLAMA_MAX_VRAM": "60GB", "OLLAMA_NUM_GPU": "1"}, None, [])
    assert adopted.variables == {}
    assert len(adopted.warnings) == 2


def test_layers_number_of_cards_and_switches() -> None:
    environment = {
        "OLLAMA_GPU_LAYERS": "33",
        "OLLAMA_NUM_GPU": "1",
        "OLLAMA_DEBUG": "1",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_NOPRUNE": "0",
        "OLLAMA_ORIGINS": "https://a,https://b",
        "OLLAMA_KEEP_ALIVE": "30m",
        "HTTPS_PROXY": "http://proxy:3128",
        "OLLAMA_MODELS": "/data",
        "OLLAMA_SOMETHING": "x",
    }
    adopted = ollama_variables(environment, "nvidia", [H100])
    assert adopted.variables == {
        "ollama_gpu_layers": 33,
        "ollama_cuda_visible_devices": "0",
        "ollama_debug": True,
        "ollama_flash_attention": True,
        "ollama_noprune": False,
        "ollama_origins": ["https://a", "https://b"],
        "ollama_keep_alive": "30m",
        "ollama_environment": {"HTTPS_PROXY": "http://proxy:3128", "OLLAMA_SOMETHING": "x"},
    }


EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the seed says
SEED_ARGUMENTS = [
    *("--model", "/home/ps/vllm/models/Qwen2.5-32B-Instruct", "--served-model-name", "qwen32b", "--host", EVERYWHERE),
    *("--port", "8010", "--tensor-parallel-size", "2", "--dtype", "bfloat16", "--max-model-len", "8192"),
    *("--max-num-seqs", "8", "--gpu-memory-utilization", "0.80", "--disable-log-requests", "--trust-remote-code"),
]
SEED_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "0,1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:256",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_ENABLE_HF_TRANSFER": "0",
    "HOME": "/home/ps",
}


def test_the_seeds_command_line() -> None:
    instance = vllm_entry(SEED_ARGUMENTS, SEED_ENVIRONMENT, "vllm.service")
    assert instance.entry == {
        "name": "qwen32b",
        "model": "/home/ps/vllm/models/Qwen2.5-32B-Instruct",
        "host": EVERYWHERE,
        "port": 8010,
        "tensor_parallel_size": 2,
        "dtype": "bfloat16",
        "max_model_len": 8192,
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.8,
        "trust_remote_code": True,
        "gpu_indices": [0, 1],
    }
    assert instance.variables == {"models_xet": False}
    assert any("disable_log_requests is outdated" in warning for warning in instance.warnings)
    assert any("HF_HUB_ENABLE_HF_TRANSFER" in warning for warning in instance.warnings)


def test_options_that_the_role_has_no_key_for_are_passed_on() -> None:
    words = ["Qwen/Qwen3-8B", "--enable-prefix-caching", "--swap-space", "16", "--max-logprobs=5"]
    words += ["--hf-overrides", '{"a": 1}', "--no-enable-chunked-prefill", "--host=127.0.0.1", "-tp=4"]
    instance = vllm_entry(words, {"NCCL_DEBUG": "INFO"}, "x.service")
    assert instance.model == "Qwen/Qwen3-8B"
    assert instance.entry == {
        "name": "qwen3-8b",
        "model": "Qwen/Qwen3-8B",
        "tensor_parallel_size": 4,
        "extra_args": {
            "enable-prefix-caching": True,
            "max-logprobs": 5,
            "hf-overrides": {"a": 1},
            "enable-chunked-prefill": False,
        },
        "environment": {"NCCL_DEBUG": "INFO"},
    }
    assert any("swap_space" in warning for warning in instance.warnings)


def test_secrets_are_named_and_not_repeated() -> None:
    environment = {"HF_TOKEN": "hf_secret", "VLLM_API_KEY": "sk-secret", "VLLM_OTHER_TOKEN": "t-secret"}
    instance = vllm_entry(["--model", "m", "--api-key", "sk-secret"], environment, "x.service")
    assert "secret" not in str(instance).replace("looks like a secret", "").replace("entry's secrets", "")
    assert instance.variables == {
        "vllm_api_key": "{{ vault_vllm_api_key }}",
        "models_hub_token": "{{ vault_models_hub_token }}",
    }
    assert any("VLLM_OTHER_TOKEN" in warning for warning in instance.warnings)


def test_an_automatic_length_is_left_to_the_plan() -> None:
    instance = vllm_entry(["m", "--max-model-len", "auto"], {}, "x.service")
    assert "max_model_len" not in instance.entry


@pytest.mark.parametrize(
    ("text", "tokens"), [("8192", 8192), ("8k", 8000), ("8K", 8192), ("1.5k", 1500), ("2M", 2097152)]
)
def test_lengths(text: str, tokens: int) -> None:
    assert length(text) == tokens


def test_several_served_names_stay_together() -> None:
    options, positional = parse(["m", "--served-model-name", "a", "b", "--port", "1"])
    assert (options, positional) == ({"served-model-name": ["a", "b"], "port": "1"}, ["m"])


@pytest.mark.parametrize(
    ("text", "name"), [("Qwen2.5 32B", "qwen2.5-32b"), ("--", "model"), ("a" * 60, "a" * 40), ("x_y.z", "x_y.z")]
)
def test_names_of_units(text: str, name: str) -> None:
    assert instance_name(text) == name

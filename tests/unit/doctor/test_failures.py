"""The decisive line of a log, in real logs of vLLM 0.32 and 0.33 and in lines as others print them."""
# ruff: noqa: E501 - log lines are as long as they are

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.doctor.failures import decisive_failure

LOGS = Path(__file__).parents[1] / "engines" / "logs"

REAL = {
    "address_not_here": ("address_not_here", "Cannot assign requested address"),
    "batch_below_length": ("batched_tokens", "max_num_batched_tokens (128) is smaller than max_model_len (512)"),
    "config_file_missing": ("config_file", "none.yaml"),
    "cpu_memory_too_small": ("cpu_memory_too_small", "less than requested memory for kv (999.0 GiB)"),
    "cpu_two_ranks_one_node": ("too_few_numa_nodes", "Not enough allowed NUMA nodes"),
    "invalid_value": ("invalid_option_value", "argument --dtype: invalid choice: 'bfloat17'"),
    "no_gpu": ("no_gpu", "Failed to infer device type"),
    "shard_is_lfs_pointer": ("shard_corrupt", "header too large"),
    "shard_missing": ("shard_missing", "Cannot find any model weights with `/srv/models/broken/missing`"),
    "shard_truncated": ("shard_corrupt", "incomplete metadata, file not fully covered"),
    "tokenizer_broken": ("tokenizer", "(in transformers/tokenization_utils_base.py)"),
    "unsupported_architecture": ("unsupported_architecture", "model type `qwen9`"),
    "wrong_block_size": ("block_size", "No common block size for 16"),
    "wrong_quantization": ("quantization", "Cannot find the config file for awq"),
}

# As other versions, devices and systemd put it; each within the noise that surrounds it there.
LINES = {
    "(EngineCore_DP0 pid=17374) ERROR 09-28 15:47:24 [core.py:718] ValueError: Free memory on device (3.22/4.0 GiB) on"
    " startup is less than desired GPU memory utilization (0.9, 3.6 GiB). Decrease GPU memory utilization or reduce GPU"
    " memory used by other processes.": "gpu_memory_taken",
    "ERROR 06-30 13:53:19 [core.py:515] ValueError: Free memory on device cuda:1 (31.44/47.38 GiB) on startup is less"
    " than desired GPU memory utilization (0.95, 45.01 GiB).": "gpu_memory_taken",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB": "gpu_out_of_memory",
    "[rank0]: torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB": "gpu_out_of_memory",
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`": "no_kv_cache_memory",
    "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed,"
    " which is larger than the available KV cache memory (7.12 GiB). Based on the available memory, the estimated maximum"
    " model length is 58304.": "kv_cache_too_small",
    "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV"
    " cache (7344). Try increasing `gpu_memory_utilization`": "kv_cache_too_small",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 12080).": "driver_too_old",
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized": "fabric_manager",
    "RuntimeError: Error 803: system has unsupported display driver / cuda driver combination": "driver_mismatch",
    "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device": "gpu_too_old",
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has"
    " compute capability 7.5.": "gpu_too_old",
    "RuntimeError: No CUDA GPUs are available": "no_gpu",
    "ValueError: World size (4) is larger than the number of available GPUs (2) in this node.": "too_few_gpus",
    "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)": "nccl",
    "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use": "port_in_use",
    "PermissionError: [Errno 13] Permission denied: '/srv/models/m/config.json'": "not_readable",
    "ValueError: Loading /srv/m requires you to execute the configuration file in that repo on your local machine. Make"
    " sure you have read the code there, then set the option `trust_remote_code=True`.": "trust_remote_code",
    "/usr/bin/ld: cannot find -lcuda: No such file or directory": "toolchain",
    "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory": "library_missing",
    "vllm@big.service: A process of this unit has been killed by the OOM killer.": "host_out_of_memory",
    "vllm@big.service: Main process exited, code=exited, status=203/EXEC": "exec",
    "OSError: [Errno 28] No space left on device: '/var/lib/vllm/.cache/vllm'": "disk_full",
    "OSError: [Errno 24] Too many open files": "too_many_files",
    "AssertionError: Attempted to load weight (torch.Size([1024])) into parameter (torch.Size([2048]))": "weights_do_not_fit",
    "KeyError: 'model.layers.0.mlp.experts.w13_weight'": "weights_do_not_fit",
    "ValueError: Unrecognized model in /srv/m. Should have a `model_type` key in its config.json": "config_invalid",
    "ValueError: The supplied chat template string (/srv/x.jinja) appears path-like, but doesn't exist!": "chat_template",
    "KeyError: 'invalid tool call parser: qwem (chose from { hermes,qwen3 })'": "unknown_parser",
    "ValueError: LoRA rank 64 is greater than max_lora_rank 16.": "lora",
    "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.": "node_missing",
    "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500,"
    " useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use": "port_in_use",
    "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:5555')": "port_in_use",
    "AssertionError: libcuda.so cannot found!": "toolchain",
}
NOISE_BEFORE = [
    "INFO 11-24 11:02:05 [api_utils.py:286] non-default args: {'port': 8000}",
    "WARNING 11-24 11:02:05 [system_utils.py:255] This can cause errors like `OSError: [Errno 24] Too many open files`.",
    "Traceback (most recent call last):",
    '  File "/opt/vllm/current/lib/python3.11/site-packages/vllm/x.py", line 1, in f',
    "    raise ValueError(",
]
NOISE_AFTER = [
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_0': 1}",
    "resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown",
]


@pytest.mark.parametrize("name", REAL)
def test_real_logs(name: str) -> None:
    failure = decisive_failure((LOGS / f"{name}.log").read_text("utf-8").splitlines())
    assert failure is not None
    code, part = REAL[name]
    assert (failure.code, part in failure.line, bool(failure.remedy)) == (code, True, True), failure


def test_every_real_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} - {"started"} == set(REAL)


@pytest.mark.parametrize("line", LINES)
def test_wordings(line: str) -> None:
    failure = decisive_failure([*NOISE_BEFORE, line, *NOISE_AFTER])
    assert failure is not None
    assert failure.code == LINES[line], failure
    assert failure.remedy


def test_remedies_name_the_numbers() -> None:
    failure = decisive_failure(
        ["ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (3)."]
    )
    assert failure is not None
    assert "divisor of 40" in failure.remedy


def test_exceptions_that_are_not_known_are_shown_as_they_are() -> None:
    failure = decisive_failure([*NOISE_BEFORE, "weird.LibraryError: the flux capacitor is empty", *NOISE_AFTER])
    assert failure is not None
    assert (failure.code, failure.line) == ("unknown", "weird.LibraryError: the flux capacitor is empty")


def test_of_chained_exceptions_the_last_speaks_to_the_user() -> None:
    lines = [
        "json.decoder.JSONDecodeError: Unterminated string starting at: line 11 column 3 (char 194)",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "OSError: It looks like the config file at '/srv/m/config.json' is not a valid JSON file.",
    ]
    failure = decisive_failure(lines)
    assert failure is not None
    assert failure.code == "config_invalid"


def test_what_an_exception_was_raised_from_is_told_with_it() -> None:
    failure = decisive_failure(
        [
            "Traceback (most recent call last):",
            '  File "/usr/lib/python3.11/logging/config.py", line 573, in configure',
            "ValueError: Unknown level: 'LOUD'",
            "",
            "The above exception was the direct cause of the following exception:",
            "",
            "Traceback (most recent call last):",
            '  File "/opt/vllm/current/lib/python3.11/site-packages/vllm/logger.py", line 300, in _configure',
            "ValueError: Unable to configure handler 'vllm'",
        ]
    )
    assert failure
    assert (
        failure.line == "ValueError: Unable to configure handler 'vllm'\nbecause of ValueError: Unknown level: 'LOUD'"
    )


def test_what_another_process_raised_is_no_cause() -> None:
    failure = decisive_failure(
        [
            "(Worker pid=1) ValueError: of the worker",
            "(Worker pid=1) ",
            "(Worker pid=1) The above exception was the direct cause of the following exception:",
            "(APIServer pid=2) ValueError: of the server",
        ]
    )
    assert failure
    assert "because of" not in failure.line


def test_a_log_that_begins_too_late_says_so() -> None:
    failure = decisive_failure(NOISE_AFTER)
    assert failure is not None
    assert failure.code == "cause_not_in_log"


def test_the_latest_life_counts() -> None:
    earlier = [NOISE_BEFORE[0], "OSError: [Errno 98] Address already in use"]
    later = [NOISE_BEFORE[0], "RuntimeError: No CUDA GPUs are available"]
    failure = decisive_failure([*earlier, *later])
    assert failure is not None
    assert failure.code == "no_gpu"


def test_a_life_that_has_said_nothing_yet_leaves_the_word_to_the_one_before() -> None:
    failure = decisive_failure([NOISE_BEFORE[0], "OSError: [Errno 98] Address already in use", NOISE_BEFORE[0]])
    assert failure is not None
    assert failure.code == "port_in_use"


def test_an_engine_that_serves_has_not_failed() -> None:
    lines = (LOGS / "started.log").read_text("utf-8").splitlines()
    serving = lines[: lines.index("INFO:     Application startup complete.") + 1]
    assert decisive_failure(serving) is None

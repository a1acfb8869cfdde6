"""The engine's own figures, as vLLM 0.4 to 0.33 have worded them."""
# ruff: noqa: E501 - log lines are as long as they are

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.report import GIB, EngineReport, read_report

LOGS = Path(__file__).parent / "logs"
CPU = [
    "(EngineCore pid=22286) INFO 11-24 10:57:49 [kv_cache_utils.py:2327] CPU KV cache size: 4,194,304 tokens, Maximum concurrency for 512 tokens per request: 8192.00x"
]
V1 = [
    "INFO 05-27 11:47:05 [core.py:58] Initializing a V1 LLM engine (v0.9.0) with config: model='m', max_seq_len=8192,",
    "(VllmWorker rank=0 pid=12) INFO 05-27 11:47:41 [gpu_model_runner.py:1347] Model loading took 13.1343 GiB and 28.479916 seconds",
    "(VllmWorker rank=1 pid=13) INFO 05-27 11:47:41 [gpu_model_runner.py:1347] Model loading took 13.2000 GiB and 28.479916 seconds",
    "(VllmWorker rank=0 pid=12) INFO 05-27 11:48:20 [gpu_worker.py:227] Available KV cache memory: 51.38 GiB",
    "(VllmWorker rank=1 pid=13) INFO 05-27 11:48:20 [gpu_worker.py:227] Available KV cache memory: 50.02 GiB",
    "INFO 05-27 11:48:21 [kv_cache_utils.py:634] GPU KV cache size: 420,864 tokens",
    "INFO 05-27 11:48:21 [kv_cache_utils.py:637] Maximum concurrency for 8,192 tokens per request: 51.37x",
    "INFO 05-27 11:48:21 [kv_cache_utils.py:634] GPU KV cache size: 409,760 tokens",
    "INFO 05-27 11:48:21 [kv_cache_utils.py:637] Maximum concurrency for 8,192 tokens per request: 50.02x",
    "(VllmWorker rank=0 pid=12) INFO 05-27 11:48:45 [gpu_model_runner.py:1933] Graph capturing finished in 23 secs, took 0.53 GiB",
]
V0 = [
    "INFO 01-11 15:51:02 llm_engine.py:70] Initializing an LLM engine (v0.6.2) with config: model='m', max_seq_len=4096,",
    "INFO 01-12 08:36:24 model_runner.py:1025] Loading model weights took 3.7710 GB",
    "INFO 01-12 08:36:30 worker.py:267] model weights take 3.77GiB; non_torch_memory takes 0.09GiB; PyTorch activation peak memory takes 1.24GiB; the rest of the memory reserved for KV Cache is 4.66GiB.",
    "INFO 01-12 08:36:38 distributed_gpu_executor.py:57] # GPU blocks: 5402, # CPU blocks: 8192",
    "INFO 01-12 08:36:38 distributed_gpu_executor.py:61] Maximum concurrency for 4096 tokens per request: 21.10x",
]


def test_a_cpu_engine() -> None:
    report = read_report(CPU)
    assert (report.device, report.kv_cache_tokens, report.max_concurrency) == ("cpu", 4194304, 8192.0)


def test_a_real_start_on_a_cpu() -> None:
    report = read_report((LOGS / "started.log").read_text("utf-8").splitlines())
    assert report == EngineReport(
        version="0.32.0",
        device="cpu",
        max_model_len=512,
        kv_cache_tokens=4194304,
        max_concurrency=8192.0,
        kv_cache_bytes=GIB,
    )


def test_of_several_ranks_the_tightest_counts() -> None:
    assert read_report(V1) == EngineReport(
        version="0.9.0",
        device="gpu",
        max_model_len=8192,
        kv_cache_tokens=409760,
        max_concurrency=50.02,
        weights_bytes=round(13.2 * GIB),
        kv_cache_bytes=round(50.02 * GIB),
        cuda_graphs_bytes=round(0.53 * GIB),
    )


def test_old_engines_counted_blocks() -> None:
    report = read_report(V0)
    assert (report.version, report.kv_cache_tokens, report.weights_bytes) == ("0.6.2", 86432, round(3.771 * GIB))
    assert (report.activation_bytes, report.non_torch_bytes) == (round(1.24 * GIB), round(0.09 * GIB))
    assert report.kv_cache_bytes == round(4.66 * GIB)


@pytest.mark.parametrize(
    ("line", "field", "gib"),
    [
        (
            "INFO 11-24 10:00:00 [gpu_model_runner.py:5089] Model loading took 14.99 GiB memory and 5.1 seconds",
            "weights_bytes",
            14.99,
        ),
        ("INFO [gpu_worker.py:276] Available KV cache memory: -1.44 GiB", "kv_cache_bytes", -1.44),
        (
            "INFO 11-24 10:00:00 [cpu_worker.py:260] Auto set (8.25/13.46) GiB for KV cache on node 0, with",
            "kv_cache_bytes",
            8.25,
        ),
        (
            "Actual usage is 15.1 GiB for consumed memory (weights + non-torch), 4.76 GiB for peak activation, and 0.2 GiB for CUDAGraph memory.",
            "activation_bytes",
            4.76,
        ),
    ],
)
def test_wordings(line: str, field: str, gib: float) -> None:
    assert getattr(read_report([line]), field) == round(gib * GIB)


def test_only_the_latest_start_is_read() -> None:
    start = "INFO 11-24 10:57:03 [api_utils.py:286] non-default args: {}"
    assert read_report([start, *V1, start, *CPU]).kv_cache_tokens == 4194304


def test_a_log_without_figures_says_nothing() -> None:
    assert set(read_report(["hello"]).as_dict().values()) == {None}

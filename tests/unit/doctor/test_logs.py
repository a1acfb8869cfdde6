"""The right cause first: in real logs, and in lines as many versions of many programs print them."""
# ruff: noqa: E501 - log lines are as long as they are

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.doctor.evaluate import diagnose_log

LOGS = Path(__file__).parent / "logs"
ENGINE_LOGS = Path(__file__).parents[1] / "engines" / "logs"
FAILURES = Path(__file__).parent / "failures.txt"
BEFORE = [
    "INFO 11-24 10:00:00 [api_server.py:1] vLLM API server version 0.32.0",
    "WARNING 11-24 10:00:00 [system_utils.py:255] errors like `OSError: [Errno 24] Too many open files`.",
    "(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:843] EngineCore failed to start.",
    "(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:843] Traceback (most recent call last):",
    '(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:843]   File "/opt/vllm/x.py", line 1, in f',
]
# What a report holds beside the log: the list of packages, the topology.
REPORT = [
    "[pip3] sentencepiece==0.2.0",
    "sentencepiece                 0.2.0                    pypi_0    pypi",
    "nvidia-nccl-cu12              2.27.3                   pypi_0    pypi",
    "bitsandbytes                  0.45.0                   pypi_0    pypi",
    "CUDA runtime version: Could not collect",
    "GPU models and configuration: GPU 0: Tesla T4",
    "  NODE = Connection traversing PCIe as well as the interconnect between PCIe Host Bridges within a NUMA node",
    "VLLM_CACHE_ROOT=/root/.cache/vllm",
    "Vulnerability Retbleed:          Not affected",
]
BETWEEN = ["Process EngineCore_DP0:", "Traceback (most recent call last):", '  File "x", line 3, in f']
AFTER = [
    "(APIServer pid=1) Traceback (most recent call last):",
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
]


def collected() -> list[tuple[str, list[str]]]:
    """Return the findings and lines of FAILURES."""
    blocks = re.split(r"^=== ", FAILURES.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return [(lines[0], [line for line in lines[1:] if line]) for lines in map(str.splitlines, blocks)]


COLLECTED = [pytest.param(code, lines, id=f"{code}-{lines[0][:60]}") for code, lines in collected()]

REAL = {
    "config_badjson": "config_invalid",
    "config_missing": "model_not_found",
    "disable_log_requests": "unknown_option",
    "headless_api_server_count": "options_conflict",
    "hub_id_offline": "model_not_found",
    "maxlen_too_large": "max_model_len_over_model",
    "path_missing": "model_not_found",
    "port_in_use": "port_in_use",
    "tp3_heads": "heads_not_divisible",
}
LINES = {
    "Failed to initialize NVML: Driver/library version mismatch": "driver_mismatch",
    "[Sat Apr 13 23:38:47 2024] NVRM: API mismatch: the client has the version 535.171.04, but": "driver_mismatch",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver": "driver_too_old",
    "CUDA driver version is insufficient for CUDA runtime version": "driver_too_old",
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW": "driver_too_old",
    "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.": "driver_too_old",
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.": "driver_not_loaded",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.": "gpu_lost",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 48, pid=1234, An uncorrectable double bit error (DBE) has been detected": "gpu_memory_fault",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 94, pid=1, Contained: SM (0x1). RST: No, D-RST: No": "gpu_memory_fault",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 119, pid=1, Timeout after 6s of waiting for RPC response from GPU0 GSP!": "gpu_firmware",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 74, pid=1, NVLink: fatal error detected on link 6": "nvlink_fault",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 13, pid=1, Graphics SM Warp Exception on (GPC 0, TPC 0)": "gpu_illegal_access",
    "[ 9.1] NVRM: Xid (PCI:0000:3b:00): 31, pid=1, name=python, Ch 00000008, MMU Fault: ENGINE GRAPHICS": "gpu_illegal_access",
    "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up": "nvlink_fault",
    "fabric manager NVIDIA GPU driver interface version 535.104.05 don't match with driver version 535.129.03.": "fabric_manager_mismatch",
    "nvidia-fabricmanager.service: Main process exited, code=exited, status=1/FAILURE": "fabric_manager",
    "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error, NCCL version 2.21.5": "nccl",
    "gpu1:77:120 [0] misc/socket.cc:484 NCCL WARN socketStartConnect: Connect to 10.0.0.2<41015> failed : Connection refused": "nccl",
    "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect to (10.0.0.1, 29500).": "node_missing",
    "Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:40000000kB": "host_out_of_memory",
    "vllm@m.service: Failed with result 'oom-kill'.": "host_out_of_memory",
    "Memory cgroup out of memory: Killed process 99 (ollama) total-vm:1kB": "host_out_of_memory",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.": "host_out_of_memory",
    "RuntimeError: unable to open shared memory object </torch_1_2> in read-write mode: No space left on device (28)": "shared_memory_small",
    "OSError: [Errno 28] No space left on device": "disk_full",
    "accept4: too many open files; retrying in 1s": "too_many_files",
    "RuntimeError: can't start new thread": "too_many_tasks",
    "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url https://huggingface.co/meta-llama/x": "gated_model",
    "OSError: You are trying to access a gated repo. Make sure to have access to it at https://huggingface.co/x. 401 Client Error.": "gated_model",
    "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/x": "hub_unreachable",
    "OSError: Can't load tokenizer for '/srv/m'. If you were trying to load it from the Hub": "tokenizer",
    "ValueError: Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers` library serialization file": "tokenizer",
    "ValueError: The checkpoint you are trying to load has model type `qwen3_next` but Transformers does not recognize this architecture.": "unsupported_architecture",
    "ValueError: Model architectures ['Foo'] are not supported for now. Supported architectures: []": "unsupported_architecture",
    "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current capability: 75.": "gpu_too_old",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": "gpu_too_old",
    "RuntimeError: FlashAttention only supports Ampere GPUs or newer.": "gpu_too_old",
    "ValueError: 18944 is not divisible by 3": "not_divisible",
    "ValueError: Cannot provide a placement group: the cluster has 1 GPU.": "too_few_gpus",
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests.": "gpu_out_of_memory",
    "Error: listen tcp 127.0.0.1:11434: bind: address already in use": "port_in_use",
    "Error: listen tcp 10.9.9.9:11434: bind: cannot assign requested address": "address_not_here",
    'time=2026 level=ERROR source=server.go:1 msg="error" error="model requires more system memory (12.0 GiB) than is available (7.1 GiB)"': "ollama_model_too_large",
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory": "ollama_out_of_memory",
    "llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'qwen9'": "ollama_unknown_architecture",
    'level=ERROR msg="x" error="model \'llama9\' not found"': "ollama_model_not_found",
    "Error: pull model manifest: file does not exist": "ollama_model_not_found",
    'Error: pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: lookup registry.ollama.ai: no such host': "ollama_registry",
    'level=INFO source=gpu.go:386 msg="no compatible GPUs were discovered"': "silent_cpu_fallback",
    "llm_load_tensors: offloaded 0/33 layers to GPU": "silent_cpu_fallback",
    "gguf_init_from_file: invalid magic characters 'vers'": "ollama_file_broken",
    '[GIN] 2026/11/24 - 11:28:48 | 503 | 519.64µs | 127.0.0.1 | POST "/v1/chat/completions"': "ollama_queue_full",
    'time=2024 level=WARN source=gpu.go:252 msg="CPU does not have minimum vector extensions, GPU inference disabled."': "silent_cpu_fallback",
    "Error: could not connect to ollama app, is it running?": "ollama_unreachable",
    "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA runtime version": "driver_too_old",
    'level=ERROR error="llama runner process has terminated: CUDA error: out of memory"': "ollama_out_of_memory",
    "Error: llama runner process has terminated: exit status 2": "ollama_runner",
    "               NVRM: fallen off the bus and is not responding to commands.": "gpu_lost",
    "(RayWorkerWrapper pid=67451, ip=10.1.0.7) ERROR 06-25 15:28:30 worker_base.py:148] RuntimeError: NCCL Error 2: unhandled system error": "nccl",
    "ray.exceptions.RayActorError: The actor died unexpectedly before finishing this task.": "worker_died",
    "RuntimeError: Failed to load the tokenizer. If you are using a LLaMA-based model, use another.": "tokenizer",
    "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised: RuntimeError: Cannot find a working triton installation.": "toolchain",
    "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 147456, Hardware limit: 101376.": "kernel_too_large",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": "gpu_out_of_memory",
    "RuntimeError: Cannot re-initialize CUDA in forked subprocess.": "forked_cuda",
    "RuntimeError: HIP error: no ROCm-capable device is detected": "no_gpu",
    "Failed to start NVIDIA fabric manager service.": "fabric_manager",
    "Nov 24 10:00:00 gpu1 systemd[1]: vllm@m.service: Start request repeated too quickly.": "crash_loop",
    "[ALERT] (123) : config : parsing [/etc/llm-gateway/haproxy.cfg:12] : unknown keyword 'x'": "gateway_config",
    "[ALERT] (123) : backend 'qwen32b' has no server available!": "backend_down",
    "[WARNING] (9) : Server qwen32b/gpu1 is DOWN, reason: Layer4 connection problem": "backend_down",
    "vllm@m.service: Failed at step EXEC spawning /opt/vllm/current/bin/vllm: No such file or directory": "exec",
    "vllm@m.service: Main process exited, code=dumped, status=4/ILL": "illegal_instruction",
    "vllm@m.service: Main process exited, code=dumped, status=11/SEGV": "crashed",
}


@pytest.mark.parametrize("name", REAL)
def test_real_logs(name: str) -> None:
    findings = diagnose_log((LOGS / f"{name}.log").read_text("utf-8").splitlines())
    assert findings[0].code == REAL[name]


def test_every_real_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)


@pytest.mark.parametrize("line", LINES)
def test_wordings(line: str) -> None:
    assert [finding.code for finding in diagnose_log([line])][:1] == [LINES[line]]


@pytest.mark.parametrize(("code", "lines"), COLLECTED)
def test_collected_failures(code: str, lines: list[str]) -> None:
    assert [finding.code for finding in diagnose_log(lines)][:1] == [code]


@pytest.mark.parametrize(("code", "lines"), COLLECTED)
def test_collected_failures_within_a_crash(code: str, lines: list[str]) -> None:
    """As the engine's process logs it, raises it again, and its parent says no more than that it ended."""
    logged = [f"(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:843] {line}" for line in lines]
    log = [*REPORT, *BEFORE, *logged, *BETWEEN, *lines, *AFTER]
    assert [finding.code for finding in diagnose_log(log)][:1] == [code]


def test_a_cause_comes_before_its_consequences() -> None:
    lines = [
        "(Worker_TP1 pid=9) ERROR 11-24 10:00:00 [multiproc_executor.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "(Worker_TP0 pid=8) ERROR 11-24 10:00:09 [multiproc_executor.py:1] torch.distributed.DistBackendError: NCCL error in: x",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "vllm@m.service: Main process exited, code=exited, status=1/FAILURE",
    ]
    assert diagnose_log(lines)[0].code == "gpu_out_of_memory"


AREAS = {
    'vllm/config/vllm.py", line 9, in __post_init__': "settings",
    'vllm/model_executor/models/qwen2.py", line 9, in load_weights': "loading_weights",
    'safetensors/torch.py", line 9, in load_file': "loading_weights",
    'vllm/model_executor/layers/quantization/awq.py", line 9, in from_config': "quantized_layers",
    'vllm/v1/attention/backends/mla/common.py", line 9, in __init__': "attention",
    'transformers/models/qwen2/tokenization_qwen2.py", line 9, in __init__': "reading_tokenizer",
    'transformers/models/qwen2/configuration_qwen2.py", line 9, in __init__': "reading_config",
    'transformers/processing_utils.py", line 9, in from_pretrained': "pictures_and_sound",
    'flashinfer/jit/core.py", line 9, in build': "building_kernels",
    'vllm/distributed/parallel_state.py", line 9, in init_distributed_environment': "talking_to_ranks",
    'vllm/model_executor/layers/fused_moe/layer.py", line 9, in __init__': "running_layers",
    'huggingface_hub/file_download.py", line 9, in hf_hub_download': "asking_the_hub",
}


@pytest.mark.parametrize("frame", AREAS)
@pytest.mark.parametrize("where", ["/opt/vllm/0.33.0/lib/python3.12/site-packages/", "/usr/local/lib/dist-packages/"])
def test_an_error_that_no_rule_knows_tells_what_was_being_done(frame: str, where: str) -> None:
    """The innermost frame that is known decides, not the helper that raised."""
    prefix = "(EngineCore_DP0 pid=7) ERROR 11-24 10:00:00 [core.py:843]"
    log = [
        *BEFORE,
        f'{prefix}   File "{where}{frame}',
        f"{prefix}     return helper()",
        f"{prefix}            ^^^^^^^^",
        f'{prefix}   File "/usr/lib/python3.12/enum.py", line 9, in __getitem__',
        f"{prefix} KeyError: 'never seen before'",
        *AFTER,
    ]
    finding = diagnose_log(log)[0]
    assert (finding.code, finding.confidence) == (AREAS[frame], "possible")
    assert finding.evidence == "KeyError: 'never seen before'"


def test_a_collector_may_take_the_indentation() -> None:
    prefix = "[vllm] | (EngineCore pid=344) ERROR 08-27 08:52:59 [core.py:1346]"
    frame = 'File "/opt/venv/lib/python3.12/site-packages/vllm/distributed/parallel_state.py", line 8, in init'
    log = [f"{prefix} {line}" for line in ["Traceback (most recent call last):", frame, "RuntimeError: never seen"]]
    assert diagnose_log(log)[0].code == "talking_to_ranks"


def test_a_known_error_is_named_wherever_it_is_raised() -> None:
    log = [
        "Traceback (most recent call last):",
        '  File "/x/site-packages/vllm/config/vllm.py", line 9, in __post_init__',
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    ]
    assert diagnose_log(log)[0].code == "gpu_out_of_memory"


def test_an_earlier_failure_is_over_when_the_engine_serves() -> None:
    failed = ["ValueError: Model architectures ['Foo'] are not supported for now.", *AFTER]
    served = ["(APIServer pid=9) INFO:     Application startup complete."]
    assert diagnose_log([*BEFORE, *failed]) != []
    assert diagnose_log([*BEFORE, *failed, BEFORE[0], *served]) == []
    assert diagnose_log([*served, "torch.OutOfMemoryError: CUDA out of memory."])[0].code == "gpu_out_of_memory"


HUB_ERRORS = [
    f"(APIServer pid=7) ERROR 08-29 11:23:39 [config.py:130] Error retrieving safetensors: {what}"
    for what in (
        "Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/data/m'. Use `repo_type` argument if needed.",
        "'org/m' is not a safetensors repo. Couldn't find 'model.safetensors.index.json' or 'model.safetensors' files.",
    )
]


def test_questions_to_the_hub_that_harm_nobody_explain_nothing() -> None:
    assert diagnose_log([*BEFORE[:2], *HUB_ERRORS]) == []
    log = [*BEFORE[:2], *HUB_ERRORS, *BEFORE[2:], "(EngineCore_DP0 pid=7) RuntimeError: never seen", *AFTER]
    assert diagnose_log(log)[0].evidence == "RuntimeError: never seen"


def test_what_python_ignored_is_no_cause() -> None:
    frame = '  File "/x/site-packages/vllm/distributed/pynccl.py", line 264, in __del__'
    log = [
        "(RayWorkerVllm pid=14289) Exception ignored in: <function NCCLCommunicator.__del__ at 0x7f4d8c3212d0>",
        "(RayWorkerVllm pid=14289) Traceback (most recent call last):",
        f"(RayWorkerVllm pid=14289) {frame}",
        "(RayWorkerVllm pid=14289) AttributeError: 'NCCLCommunicator' object has no attribute 'comm'",
    ]
    assert diagnose_log(log) == []
    assert diagnose_log([*log, "(RayWorkerVllm pid=14289) RuntimeError: never seen"])[0].evidence == (
        "RuntimeError: never seen"
    )


def test_what_a_client_sent_is_no_cause() -> None:
    prefix = "ERROR 11-24 10:00:00 [serving_chat.py:200]"
    log = [
        "INFO:     Application startup complete.",
        f"{prefix} Error in preprocessing prompt inputs",
        f"{prefix} Traceback (most recent call last):",
        f'{prefix}   File "/x/site-packages/vllm/entrypoints/openai/serving_chat.py", line 1, in f',
        f"{prefix} ValueError: This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
    ]
    assert diagnose_log(log) == []
    assert diagnose_log([*log, "RuntimeError: never seen"])[0].evidence == "RuntimeError: never seen"


def test_errors_of_a_link_that_are_not_fatal_are_none() -> None:
    line = "NVRM: Xid (PCI:0018:01:00): 145, RLW_RXPIPE {} XC0 i0 Link 13 (0x0409a0c2 0x00000008)"
    assert [finding.code for finding in diagnose_log([line.format("Fatal")])] == ["nvlink_fault"]
    assert diagnose_log([line.format("Nonfatal")]) == []


def test_a_traceback_that_its_logger_announces_is_read_to_its_end() -> None:
    prefix = "(VllmWorkerProcess pid=2615) ERROR 07-22 22:26:29 multiproc_worker_utils.py:226]"
    log = [
        f"{prefix} Exception in worker VllmWorkerProcess: 'NoneType' is not callable, Traceback (most recent call last):",
        f'{prefix}   File "/x/site-packages/vllm/model_executor/models/gemma2.py", line 9, in forward',
        f"{prefix} TypeError: 'NoneType' object is not callable",
    ]
    finding = diagnose_log(log)[0]
    assert (finding.code, finding.evidence) == ("running_layers", "TypeError: 'NoneType' object is not callable")


@pytest.mark.parametrize(
    "stamp",
    [
        "Nov 24 10:00:00 gpu1 vllm[4711]: ",
        "Nov 24 10:00:00.123456 gpu1 vllm[4711]: ",
        "11月 15 14:15:47 gpu1 vllm[4711]: ",
        "sep 03 13:25:15 gpu1 vllm[4711]: ",
        "Mär 03 13:25:15 gpu1 vllm[4711]: ",
        "06.05 13:15:31 gpu1 vllm[4711]: ",
        "2025-11-24T10:00:00+0000 gpu1 vllm[4711]: ",
        "2025-08-04T08:15:07.612163Z ",
        "13:14:33  ",
        "13:14:33.123 ",
        "vllm-1  | ",
        "",
    ],
)
@pytest.mark.parametrize("end", ["", "        "])
def test_stamps_and_blanks_around_a_line_do_not_hide_it(stamp: str, end: str) -> None:
    frame = (
        '  File "/opt/v/lib/python3.12/site-packages/vllm/model_executor/model_loader/x.py", line 8, in load_weights'
    )
    lines = ["Traceback (most recent call last):", frame, "    assert loaded == expected", "AssertionError"]
    finding = diagnose_log([f"{stamp}{line}{end}" for line in lines])[0]
    assert (finding.code, finding.evidence) == ("loading_weights", "AssertionError (assert loaded == expected)")


@pytest.mark.parametrize("name", ["log", "MESSAGE", "message", "msg"])
def test_lines_may_come_in_json(name: str) -> None:
    lines = [
        "Traceback (most recent call last):\n",
        '  File "x", line 3, in f\n',
        "RuntimeError: No CUDA GPUs are available\n",
    ]
    wrapped = [json.dumps({"time": "2025-11-24", name: line, "stream": "stderr"}) for line in lines]
    finding = diagnose_log(wrapped)[0]
    assert (finding.code, finding.evidence) == ("no_gpu", "RuntimeError: No CUDA GPUs are available")
    assert [finding.code for finding in diagnose_log([json.dumps({name: "".join(lines)})])] == ["no_gpu"]
    assert diagnose_log(["{not json", '{"a": 1}', "[]"]) == []


def test_an_error_from_nowhere_is_unknown() -> None:
    log = ["Traceback (most recent call last):", '  File "/home/u/x.py", line 9, in f', "KeyError: 'never seen'"]
    assert diagnose_log(log)[0].code == "unknown"


@pytest.mark.parametrize("name", ["started"])
def test_a_real_healthy_log_has_no_finding(name: str) -> None:
    lines = (ENGINE_LOGS / f"{name}.log").read_text("utf-8").splitlines()
    assert lines
    assert diagnose_log(lines) == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        REPORT,
        ["INFO:     Application startup complete.", 'INFO:     127.0.0.1:5 - "GET /health HTTP/1.1" 200 OK'],
        ["WARNING 11-24 10:00:00 [system_utils.py:255] errors like `OSError: [Errno 24] Too many open files`."],
        [
            "sep 03 13:25:15 h kernel: NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  610.57.04  Release Build",
            "h:820398:820398 [0] NCCL INFO NET/Plugin : dlerror=libnccl-net.so: cannot open shared object file: No such",
        ],
        ["NVRM version: NVIDIA UNIX x86_64 Kernel Module  520.56.06  Thu Oct  6 21:38:55 UTC 2022"],
        ['time=2026 level=INFO source=types.go:50 msg="inference compute" id=GPU-a library=CUDA compute=9.0'],
        ['time=2026 level=INFO source=types.go:60 msg="inference compute" id=cpu library=cpu compute="" driver=0.0'],
        ["get_mempolicy: Operation not permitted"],
        [
            "ERROR 01-28 06:35:44 [gpt_oss_triton_kernels_moe.py:34] Failed to import Triton kernels. Please make sure your"
            " triton version is compatible. Error: No module named 'triton_kernels.routing'",
            "(APIServer pid=34) INFO 01-28 06:35:46 [api_server.py:1274] vLLM API server version 0.33.0",
            "(APIServer pid=34) INFO:     Application startup complete.",
        ],
        [
            'level=WARN source=amd_linux.go:61 msg="ollama recommends running" error="amdgpu version file missing: no such"',
            'level=INFO source=gpu.go:612 msg="Unable to load cudart library /usr/local/cuda/lib64/libcudart.so: failure: 35"',
            'level=WARN source=amd_linux.go:378 msg="amdgpu is not supported (supported types:[gfx1030])" gpu_type=gfx1036',
            'level=INFO source=types.go:130 msg="inference compute" id=GPU-a library=cuda variant=v12 compute=8.6',
        ],
        [
            "INFO 11-24 10:00:00 [utils.py:628] [shutdown] Process manager: send sigterm to process EngineCore",
            "WARNING 11-24 10:00:00 [utils.py:648] [shutdown] Process manager: force killing remaining processes count=1",
            "resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked semaphore objects to",
        ],
        [
            "INFO 11-24 10:00:00 [cuda.py:1] Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN']",
            "INFO 11-24 10:00:00 [loader.py:1] Speculative decoding requires num_speculative_tokens, default is 3",
            "WARNING 11-24 10:00:00 [topk.py:1] FlashInfer is not available. Falling back to the PyTorch-native top-k",
            "WARNING 11-24 10:00:00 [model.py:1] Casting torch.bfloat16 to torch.float16.",
            "WARNING 11-24 10:00:00 [cuda.py:1] Detected different devices in the system: set CUDA_DEVICE_ORDER",
        ],
        [
            "h1:1:1 [0] NCCL INFO Bootstrap : Using eth0:10.0.0.1<0>",
            "h1:1:1 [0] NCCL INFO NET/IB : No device found.",
            "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1",
        ],
        [
            "llama_model_loader: loaded meta data with 26 key-value pairs and 291 tensors from /x/blobs/sha256-8daa9615",
            "llama_context: CUDA_Host  output buffer size =     0.50 MiB",
            "load_tensors: offloaded 33/33 layers to GPU",
            '[GIN] 2026/11/24 - 11:28:48 | 200 | 1.2s | 127.0.0.1 | POST "/v1/chat/completions"',
        ],
    ],
)
def test_a_healthy_log_has_no_finding(lines: list[str]) -> None:
    assert diagnose_log(lines) == []


def test_a_collectors_line_keeps_the_harmlessness_of_its_level() -> None:
    said = "ImportError: cannot import name 'x' from 'y'"
    assert diagnose_log([json.dumps({"level": "WARNING", "message": said})]) == []
    assert diagnose_log([json.dumps({"level": "ERROR", "message": said})])[0].code == "library_missing"


def test_a_line_with_colours_is_a_list_of_bytes_in_the_journal() -> None:
    said = "\x1b[31mImportError: cannot import name 'x' from 'y'\x1b[0m"
    assert diagnose_log([json.dumps({"MESSAGE": list(said.encode())})])[0].code == "library_missing"


def test_a_peer_that_lost_its_connection_is_not_the_cause() -> None:
    log = [
        "(Worker pid=7) ERROR 11-24 10:00:00 [core.py:1] torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:",
        "gpu1:71:99 [1] misc/socket.cc:50 NCCL WARN socketProgress: Connection closed by remote peer gpu1<41234>",
    ]
    assert diagnose_log(log)[0].code == "compile_failed"


def test_the_fault_comes_before_the_drivers_advice_about_it() -> None:
    log = [
        "NVRM: Xid (PCI:0000:dc:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 11 (0x0)",
        "NVRM: Xid (PCI:0000:dc:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
    ]
    assert diagnose_log(log)[0].code == "nvlink_fault"

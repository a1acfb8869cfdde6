"""Failures of vLLM that are known: what they look like in its log, and what to do about them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A failure that is known: its code, what it looks like, and what to do (`{1}` names a group)."""

    code: str
    pattern: re.Pattern[str]
    remedy: str


def _rule(code: str, pattern: str, remedy: str) -> Rule:
    return Rule(code, re.compile(pattern, re.IGNORECASE), remedy)


# In the order of precedence: what names a cause comes before what names a symptom of it.
RULES = (
    _rule(
        "unknown_option",
        r"error: unrecognized arguments: (.+)",
        "This version of vLLM does not know {1}: correct the name in extra_args or remove it.",
    ),
    _rule(
        "invalid_option_value",
        r"^\S+ ?\S*: error: .+",
        "Correct the value of this option in vllm_models (its own key, or extra_args).",
    ),
    _rule(
        "options_conflict",
        r"(?:ValueError|TypeError): (--[\w-]+)\S* (?:cannot|can't|must|may not|is not|requires).*",
        "These options exclude each other: change or remove {1}.",
    ),
    _rule(
        "config_file",
        r"Unable to read the config file|FileNotFoundError.*\.ya?ml"
        r"|yaml\.(?:scanner|parser)\.\w+Error|Config file must be of a yaml",
        "The instance's YAML file is not readable: run the role again, it writes the file anew.",
    ),
    _rule(
        "port_in_use",
        r"Errno 98|Address already in use|EADDRINUSE|port \d+ is (?:already )?in use",
        "Something else listens on this port: `ss -tlnp` shows what. Stop it or set another port.",
    ),
    _rule(
        "address_not_here",
        r"Errno 99|Cannot assign requested address|Name or service not known|Errno -2",
        "The host to listen on is no address of this machine: set vllm_host (or the model's host) to one it has.",
    ),
    _rule(
        "port_privileged",
        r"PermissionError: \[Errno 13\][^/]*$",
        "The service user may not do this, most often listen on a port below 1024: choose a port above.",
    ),
    _rule(
        "not_readable",
        r"PermissionError|Permission denied",
        "The service user must be able to read this path: check its owner and mode, and those of the folders above.",
    ),
    _rule(
        "max_model_len_over_model",
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \((?:\w+=)?(\d+)?",
        "The model was made for at most {2} tokens: set max_model_len to that or less.",
    ),
    _rule(
        "kv_cache_too_small",
        r"KV cache is needed, which is larger than the available KV cache memory.*?model length is (\d+)",
        "Set max_model_len to {1} or less, raise gpu_memory_utilization (on a CPU: cpu_kv_cache_gib),"
        " or use more GPUs.",
    ),
    _rule(
        "kv_cache_too_small",
        r"KV\s+cache is needed, which is larger than the available KV cache"
        r"|larger than the maximum number of tokens that can be stored in KV cache",
        "Lower max_model_len, raise gpu_memory_utilization (on a CPU: cpu_kv_cache_gib), or use more GPUs.",
    ),
    _rule(
        "no_kv_cache_memory",
        r"No available memory for the cache blocks",
        "The weights leave no room for a KV cache: raise gpu_memory_utilization, use more GPUs (tensor_parallel_size)"
        " or a quantized checkpoint.",
    ),
    _rule(
        "cpu_memory_too_small",
        r"Available memory on node \d+ .*less than requested memory|Not enough (?:CPU )?memory.*CPU"
        r"|cpu kv cache.*(?:exceed|larger)",
        "The host has less free memory than the KV cache asks for: lower cpu_kv_cache_gib or stop other services.",
    ),
    _rule(
        "gpu_memory_taken",
        r"Free memory on device .* (?:is )?less than (?:the )?(?:desired GPU memory|engine's budget)"
        r"|exceed the desired GPU memory utilization",
        "Another process holds this GPU's memory: `nvidia-smi` shows which. Stop it, choose other GPUs, or lower"
        " gpu_memory_utilization.",
    ),
    _rule(
        "gpu_out_of_memory",
        r"(?:CUDA|HIP|XPU) out of memory|OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
        r"|CUDA error: out of memory",
        "The GPU's memory did not suffice: lower gpu_memory_utilization by 0.05, max_num_seqs or"
        " max_num_batched_tokens; or use more GPUs.",
    ),
    _rule(
        "host_out_of_memory",
        r"oom-kill|Out of memory: Killed|A process of this unit has been killed by the OOM killer|MemoryError"
        r"|Cannot allocate memory|can't allocate memory|Failed with result 'oom-kill'|std::bad_alloc",
        "The host ran out of memory: lower cpu_kv_cache_gib, serve fewer models on this host, or add memory.",
    ),
    _rule(
        "shared_memory_full",
        r"Bus error|No space left on device.*shm|/dev/shm.*No space left",
        "Shared memory is full: enlarge /dev/shm (mount -o remount,size=…).",
    ),
    _rule(
        "disk_full",
        r"No space left on device|Errno 28|Disk quota exceeded",
        "A filesystem is full: `df -h` shows which; compile caches live in /var/lib/vllm.",
    ),
    _rule(
        "too_many_files",
        r"OSError: \[Errno 24\]|^Too many open files",
        "Raise LimitNOFILE of the unit by vllm_unit_settings.",
    ),
    _rule(
        "driver_mismatch",
        r"Driver/library version mismatch|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|Error 803"
        r"|unsupported display driver / cuda driver combination",
        "The driver was upgraded while its old kernel module is loaded: reboot the host.",
    ),
    _rule(
        "driver_too_old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient"
        r"|provided PTX was compiled with an unsupported toolchain",
        "This engine's CUDA needs a newer driver: upgrade it, or choose a vllm_version built for the driver's CUDA.",
    ),
    _rule(
        "fabric_manager",
        r"Error 802|system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY",
        "NVSwitch hosts need a running nvidia-fabricmanager of the driver's own version.",
    ),
    _rule(
        "no_gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|Failed to infer device type"
        r"|Can't initialize NVML|libcuda\.so\S* cannot open|invalid device ordinal|No HIP GPUs",
        "The engine sees no usable GPU: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and the unit's PrivateDevices.",
    ),
    _rule(
        "gpu_too_old",
        r"no kernel image is available|Minimum capability: |only supported on GPUs with compute capability"
        r"|compute capability of at least|is not supported for the current GPU|not compatible with the current PyTorch",
        "This GPU is too old for that dtype, quantization or engine: set dtype to half, or choose another checkpoint.",
    ),
    _rule(
        "heads_not_divisible",
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        "Set tensor_parallel_size to a divisor of {1}.",
    ),
    _rule(
        "too_few_gpus",
        r"larger than the (?:number of|total) available GPUs|Tensor parallel size .*exceeds? available GPUs",
        "tensor_parallel_size × pipeline_parallel_size must not exceed the GPUs of this host.",
    ),
    _rule(
        "too_few_numa_nodes",
        r"(?:NUMA nodes?|memory nodes?|numa_nodes?).*(?:less|fewer|not enough|smaller|insufficient|>=|<|must)"
        r"|(?:not enough|insufficient|requires?).*(?:NUMA|memory) nodes?",
        "On a CPU each tensor-parallel rank wants a NUMA node of its own: set tensor_parallel_size to 1.",
    ),
    _rule(
        "nccl",
        r"NCCL (?:error|failure|WARN)|DistBackendError|ncclUnhandled|ncclSystemError",
        "The GPUs could not reach each other: set NCCL_DEBUG=INFO in the model's environment and read on;"
        " NCCL_P2P_DISABLE=1 helps on consumer cards.",
    ),
    _rule(
        "shard_corrupt",
        r"SafetensorError|Error while deserializing header|InvalidHeader|HeaderTooLarge|MetadataIncompleteBuffer"
        r"|PytorchStreamReader failed",
        "A weight file is truncated or no weight file at all: run the role with models_verify=full, it fetches what is"
        " broken again.",
    ),
    _rule(
        "shard_missing",
        r"Cannot find any model weights|No such file or directory.*\.(?:safetensors|bin)"
        r"|Following weights were not initialized",
        "Weight files are missing, or the service user may not read them: run the role with models_verify=full, which"
        " fetches what is missing, or correct the files' modes.",
    ),
    _rule(
        "weights_do_not_fit",
        r"Attempted to load weight|size mismatch for |KeyError: '(?:model|transformer|language_model|lm_head)\.[\w.]+'"
        r"|loaded_weight|There is no module or parameter named",
        "Weights and config.json are not of one model: fetch the model again, and correct hf-overrides in extra_args.",
    ),
    _rule(
        "config_invalid",
        r"is not a valid JSON file|JSONDecodeError.*config|Should have a `?model_type`? key",
        "The model's config.json is damaged or says too little: fetch the model again.",
    ),
    _rule(
        "model_not_found",
        r"Invalid repository ID or local directory specified|HFValidationError|Repo id must be in the form"
        r"|does not appear to have a file named config\.json|LocalEntryNotFoundError|outgoing traffic has been disabled"
        r"|RepositoryNotFoundError|couldn't connect to .*huggingface|FileNotFoundError.*config\.json",
        "The model's path holds no model: check `model`, and that config.json is there.",
    ),
    _rule(
        "gated_model",
        r"GatedRepoError|401 Client Error|access to .* is restricted|awaiting a review",
        "Ask for access on the model's page and set models_token.",
    ),
    _rule(
        "trust_remote_code",
        r"trust_remote_code=True|custom code which must be executed",
        "The model brings its own Python code: read it, then set trust_remote_code: true for this model.",
    ),
    _rule(
        "unsupported_architecture",
        r"Model architectures? \[?.*are not supported|does not recognize this architecture"
        r"|No model architectures are specified|has no vLLM implementation",
        "This vLLM does not know the model's architecture: choose a newer vllm_version or another model.",
    ),
    _rule(
        "quantization",
        r"Cannot find the config file for \w+|Quantization method specified in the model config"
        r"|Unknown quantization method"
        r"|quantization method .* (?:is not supported|does not)",
        "Remove `quantization`: vLLM reads the method from the checkpoint, and this checkpoint has no such one.",
    ),
    _rule(
        "kv_cache_dtype",
        r"kv[-_ ]?cache[-_ ]?(?:dtype|data type).*(?:support|invalid|not)|fp8.*kv cache.*not supported",
        "This device does not take that kv_cache_dtype: set it to auto.",
    ),
    _rule(
        "block_size",
        r"block[-_ ]size.*(?:support|must|multiple|divisible|invalid)",
        "Remove block-size from extra_args: the engine chooses one that its attention supports.",
    ),
    _rule(
        "batched_tokens",
        r"max_num_batched_tokens.*(?:smaller|less|greater or equal|must)",
        "Raise max_num_batched_tokens to max_model_len at least, or leave chunked prefill on.",
    ),
    _rule(
        "tokenizer",
        r"Can't load tokenizer|instantiate the backend tokenizer"
        r"|tokenizer.*(?:not found|does not exist|cannot be loaded)"
        r"|Unable to load vocabulary|Error parsing line|EOF while parsing",
        "The tokenizer's files are missing or damaged: fetch the model again.",
    ),
    _rule(
        "model_file_invalid",
        r"JSONDecodeError",
        "One of the model's JSON files is damaged: fetch the model again.",
    ),
    _rule(
        "chat_template",
        r"chat template .*(?:doesn't exist|does not exist|not found|path-like)",
        "Correct chat-template in extra_args: a file on the host that the service may read, or the template itself.",
    ),
    _rule(
        "unknown_parser",
        r"invalid (?:tool call|reasoning) parser|(?:tool|reasoning) parser .*(?:not found|unknown|not registered)"
        r"|Unknown (?:tool|reasoning) parser",
        "Correct tool-call-parser or reasoning-parser in extra_args: the line above says which there are.",
    ),
    _rule(
        "lora",
        r"LoRA rank (\d+) is greater than max_lora_rank",
        "Set max-lora-rank in extra_args to {1} at least.",
    ),
    _rule(
        "node_missing",
        r"DistStoreError|waiting for clients|Timed out after \d+ seconds waiting",
        "Not every rank of this model came: look at its instances on other hosts, and at the firewall between them.",
    ),
    _rule(
        "toolchain",
        r"cannot find -lcuda|Python\.h: No such file|Failed to find C compiler|nvcc.*not found"
        r"|Ninja is required|libcuda\.so cannot found|ptxas fatal"
        r"|CalledProcessError.*(?:gcc|cc|g\+\+)",
        "The engine compiles kernels on this host: install gcc and python3-dev, or set enforce_eager: true.",
    ),
    _rule(
        "library_missing",
        r"cannot open shared object file|undefined symbol|ImportError|ModuleNotFoundError|version `GLIBC\S*' not found",
        "The engine's environment is incomplete or does not fit this system: remove its folder below /opt/vllm and"
        " run the role again.",
    ),
    _rule(
        "exec",
        r"status=203/EXEC|Failed to locate executable|status=200/CHDIR|status=226/NAMESPACE|status=217/USER",
        "systemd could not even start the engine: the folder, user or path that it names is missing;"
        " run the role again.",
    ),
    _rule(
        "startup_timeout",
        r"Timed out waiting for engine core|Did not receive response from front-end|startup timeout",
        "An engine process took too long to start: look at disk and network speed, raise VLLM_ENGINE_READY_TIMEOUT_S.",
    ),
)

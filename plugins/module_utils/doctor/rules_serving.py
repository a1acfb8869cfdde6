"""Failures of Ollama, llama.cpp and the gateway, by what they look like in their logs."""

from __future__ import annotations

from .rule import LIKELY, WARNING, sign

MEMORY_VARIABLES = "ollama_max_loaded_models, ollama_num_parallel, ollama_context_length"

OLLAMA_RULES = (
    sign(
        "ollama_model_too_large",
        r"model requires more system memory|requires more (?:system )?memory .*than is available"
        r"|model is too large|insufficient memory|not enough (?:GPU )?memory to load|unable to allocate CPU\S* buffer"
        r"|ggml_backend_cpu_buffer_type_alloc_buffer: failed|failed to allocate CPU buffer",
        "The model needs more memory than the host has free.",
        "Take a smaller model or quantization, lower num_ctx, ollama_num_parallel or ollama_max_loaded_models.",
        MEMORY_VARIABLES,
    ),
    sign(
        "ollama_out_of_memory",
        r"cudaMalloc failed|unable to allocate (?!CPU)\S+ buffer|ErrorOutOfDeviceMemory"
        r"|ggml_vulkan: Device memory allocation of size \d+ failed|reported out-of-memory|runtime OOM detected"
        r"|failed to allocate (?!CPU) .*buffer|ggml_\w*(?:alloc|buffer)\w*.*(?:failed|out of memory)"
        r"|hipMalloc failed|error: out of memory|llama runner .*out of memory"
        r"|failed to create context with model|cublasCreate.*alloc|kv[ _]cache.*(?:failed|allocate)"
        r"|level=ERROR.*out of memory|(?<!RuntimeError: )(?<!AcceleratorError: )CUDA error: out of memory",
        "Memory ran out while a model was loaded or used.",
        "Lower ollama_max_loaded_models, ollama_num_parallel or the context (num_ctx), set"
        " ollama_kv_cache_type: q8_0, or"
        " take a smaller quantization.",
        MEMORY_VARIABLES,
    ),
    sign(
        "ollama_file_broken",
        r"invalid (?:file )?magic|digest mismatch|invalid digest|file is not (?:a )?(?:valid )?GGUF|gguf_init_from_file"
        r"|wrong number of tensors|invalid split file|split GGUF .*(?:missing|expected|does not match)"
        r"|offset.size exceeds"
        r"|(?:bad|corrupt) (?:existing )?manifest|unexpectedly reached end of file"
        r"|tensor .*(?:not within|out of) .*file bounds|model is corrupted|data is not within the file bounds"
        r"|blob .*(?:missing|not found)|failed to (?:open|read) GGUF",
        "The model's file is damaged or cut short.",
        "Remove the model (`ollama rm`) and run the role again: it pulls it anew.",
        "ollama_models",
    ),
    sign(
        "ollama_unknown_architecture",
        r"unknown model architecture: '?(\w+)|unsupported architecture|unknown (?:pre-tokenizer|type) ?(?:type)?:? '?"
        r"|this model is not supported by your version of Ollama|newer version of Ollama|no longer compatible with your"
        r"|may be incompatible with your version of Ollama|key not found in model|unsupported model format"
        r"|missing tensor '|cannot find tokenizer merges|unknown tokenizer",
        "This Ollama is older than the model's architecture.",
        "Set ollama_version to a newer one; it is built beside the old and changed over.",
        "ollama_version",
        confidence=LIKELY,
    ),
    sign(
        "ollama_model_not_found",
        r"model ['\"]?(\S+?)['\"]? not found|pull model manifest: file does not exist|manifest unknown"
        r"|model '.*' is not found"
        r"|try pulling it first|repository name not known",
        "The model that clients ask for is not on this server.",
        "Add it to ollama_models under exactly the name that clients use, tag included, and run the role.",
        "ollama_models",
    ),
    sign(
        "ollama_registry",
        r"pull model manifest|max retries exceeded.*(?:registry|blob)|registry\.ollama\.ai.*(?:timeout"
        r"|refused|no such host"
        r"|EOF|unreachable|x509)|dial tcp: lookup .* (?:no such host|server misbehaving|i/o timeout)"
        r"|x509: certificate signed by unknown authority|TLS handshake timeout|unexpected status code 5\d\d"
        r"|proxyconnect tcp|part \d+ attempt \d+ failed|part stalled|max retries exceeded"
        r"|something went wrong, please try again",
        "The registry of models cannot be reached: no name resolution, no way out, or a proxy between.",
        "Set ollama_environment.HTTPS_PROXY, install the proxy's CA on the host, or bring the models as GGUF files.",
        "ollama_environment (HTTPS_PROXY)",
    ),
    sign(
        "silent_cpu_fallback",
        r"vector extensions, GPU inference disabled|no compatible GPUs were discovered|no (?:nvidia|amd"
        r"|compatible) (?:GPU|device)s? (?:found|detected)"
        r"|(?:unable to load|failed to load) (?:cudart|nvidia management|cuda driver|libcuda|libcudart|nvcuda|rocm)"
        r"|ggml_cuda_init: failed to initialize|cuInit.*(?:err|fail)|cudart init failure|nvml.*init.*(?:fail|error)"
        r"|cuda driver library init failure|falling back to CPU|offloaded 0/\d+ layers"
        r"|failure during (?:\S+ )?GPU discovery|GPU discovery (?:watchdog )?timed out|amdgpu driver"
        r"|failed to finish discovery before timeout|cuda driver library failed to get device context"
        r"|(?:unknown error initializing|error looking up) (?:cuda|nvidia|nvml)"
        r"|driver .*not loaded.*cpu|compute capability too old",
        "Ollama found no GPU that it can use and computes on the CPU.",
        "Look at the driver (`nvidia-smi`), /dev/nvidia*, CUDA_VISIBLE_DEVICES, and whether the archive"
        " has libraries for"
        " these cards (ollama_extras); num_gpu 0 forces the CPU.",
        "ollama_num_gpu, ollama_cuda_visible_devices, ollama_extras",
    ),
    sign(
        "ollama_unreachable",
        r"could not connect to (?:ollama app|a running Ollama|ollama server)"
        r"|dial tcp \S+:11434: \S*connect: connection refused",
        "Nothing answers where a client looks for Ollama.",
        "See that the service runs, that ollama_host is the address which clients use (OLLAMA_HOST on"
        " their side), and that"
        " the firewall lets them through.",
        "ollama_host, firewall_rules",
    ),
    sign(
        "ollama_queue_full",
        r"\[GIN\].*\| 503 \||server busy, please try again|maximum pending requests exceeded",
        "More requests waited than OLLAMA_MAX_QUEUE allows.",
        "Raise ollama_max_queue or ollama_max_loaded_models, or add a host.",
        "ollama_max_queue",
        severity=WARNING,
    ),
    sign(
        "ollama_context",
        r"truncating input prompt|context limit hit|exceeds the available context size|input length exceeds",
        "Prompts are longer than the context.",
        "Raise num_ctx of the model, or ollama_context_length.",
        "ollama_context_length",
        severity=WARNING,
    ),
    sign(
        "ollama_evicting",
        r"model predicted to exceed available memory, evicting",
        "Models push each other out of memory.",
        "Lower ollama_max_loaded_models or the context, or serve fewer models on this host.",
        "ollama_max_loaded_models",
        severity=WARNING,
    ),
    sign(
        "ollama_setting",
        r"V cache quantization requires flash_attn|invalid environment variable, using default"
        r"|unsupported quantization type",
        "Ollama does not take a value that it was given.",
        "Correct the variable: a quantized ollama_kv_cache_type wants ollama_flash_attention, numbers want digits.",
        "ollama_kv_cache_type, ollama_flash_attention, ollama_environment",
        severity=WARNING,
    ),
    sign(
        "ollama_capability",
        r"does not support (?:tools|vision|thinking|embeddings?|insert|completion|chat|generate|image generation)\b"
        r"|this model only supports one image|requires MLX support",
        "Clients ask a model for something that it cannot do, such as tools or pictures.",
        "Name a model in ollama_models that can, or tell the clients to leave that out.",
        "ollama_models",
        severity=WARNING,
    ),
    sign(
        "ollama_load_timeout",
        r"timed out waiting for llama(?:-server| runner) to start|context deadline exceeded.*load",
        "A model takes longer to load than it may.",
        "Raise ollama_load_timeout, or put the models on a faster disk.",
        "ollama_load_timeout",
    ),
    sign(
        "ollama_load_failed",
        r"llama_model_load: error loading model|llama_model_load_from_file_impl: failed to load model"
        r"|unable to load model\b",
        "llama.cpp could not load the model's file.",
        "The line says what it stumbled over. Most often the file is for another version: set ollama_version to a newer"
        " one, then pull the model again.",
        "ollama_version, ollama_models",
        confidence=LIKELY,
    ),
    sign(
        "ollama_runner",
        r"llama(?:-server| runner) (?:process )?(?:has terminated|no longer running|exited)"
        r"|llama-server binary not found|fork/exec \S*(?:ollama_llama_server|llama-server|runners)\S*:"
        r"|(?:model )?runner has unexpectedly stopped|runner crashed|model failed to load, this may be due"
        r"|POST predict: Post \S+: EOF|failed to start a llama runner"
        r"|unable to (?:find|start) llama-?(?:server|runner)|error starting (?:the )?(?:llama|runner)",
        "The process that computes for Ollama died or is missing.",
        "The lines before it say why; if there are none, remove the folder below /opt/ollama and run the role again.",
        "ollama_version",
        confidence=LIKELY,
    ),
)

GATEWAY_RULES = (
    sign(
        "gateway_config",
        r"\[ALERT\].*(?:parsing|config :|Fatal errors found|Error\(s\) found)|unable to load (?:SSL )?certificate"
        r"|Cannot open .*(?:haproxy\.cfg|\.map)|Fatal errors found in configuration",
        "HAProxy refuses its configuration.",
        "Run the role gateway again; `haproxy -c -f /etc/llm-gateway/haproxy.cfg` shows the line.",
        "gateway_…",
    ),
    sign(
        "gateway_cannot_bind",
        r"cannot bind socket|Starting (?:frontend|proxy) \S+: .*(?:bind|socket)",
        "HAProxy cannot listen: another process has its port, or the address is not this host's.",
        "`ss -tlnp` shows who listens; set gateway_bind_addresses to addresses of this host.",
        "gateway_bind_addresses",
    ),
    sign(
        "backend_down",
        r"backend '?([\w.-]+)'? has no server available|proxy ([\w.-]+) has no server available"
        r"|Server (\S+) is (?:going )?DOWN|<NOSRV>|no server is available to handle this request",
        "The gateway has no engine left for a model, or has lost one.",
        "Look at the engine of that name: whether it runs, listens on the private address (vllm_host, ollama_host), and"
        " is let through by its firewall.",
        "vllm_host, ollama_host, firewall_addresses",
        confidence=LIKELY,
    ),
)

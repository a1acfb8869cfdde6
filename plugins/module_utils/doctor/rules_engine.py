"""Failures of vLLM and of what it stands on, by what they look like in its log.

In the order of precedence: what names a cause comes before what names a symptom of it.
"""

from __future__ import annotations

from ..gpu import xid
from .rule import LIKELY, POSSIBLE, sign

FETCH = "run the role with models_verify=full, which fetches what is missing or broken"

START_RULES = (
    sign(
        "unknown_option",
        r"error: unrecognized arguments: (.+)|unexpected keyword argument '(\w+)'.*(?:EngineArgs|__init__)"
        r"|(?<!fatal   : )(?:unknown|unrecognized|unsupported) (?:option|flag|argument)s?:? ['\"]?(--?[\w-]+)"
        r"|unknown flag: (\S+)|flag provided but not defined: (\S+)|error: invalid argument: (\S+)",
        "An option was set that this version of the engine does not have, or no longer has.",
        "This version of vLLM does not know {1}: correct the name in extra_args or remove it.",
        "extra_args",
    ),
    sign(
        "invalid_option_value",
        r"^\S+ ?\S*: error: .+",
        "An option has a value that the engine refuses.",
        "Correct the value of this option in vllm_models (its own key, or extra_args).",
        "vllm_models",
    ),
    sign(
        "options_conflict",
        r"(?:ValueError|TypeError): (--[\w-]+)\S* (?:cannot|can't|must|may not|is not|requires).*",
        "Two options exclude each other.",
        "These options exclude each other: change or remove {1}.",
        "extra_args",
    ),
    sign(
        "config_file",
        r"Unable to read the config file|FileNotFoundError.*\.ya?ml"
        r"|yaml\.(?:scanner|parser)\.\w+Error|Config file must be of a yaml",
        "The instance's configuration file cannot be read.",
        "The instance's YAML file is not readable: run the role again, it writes the file anew.",
    ),
    sign(
        "port_in_use",
        r"Errno 98|Address already in use|EADDRINUSE|port \d+ is (?:already )?in use|bind: address already in use"
        r"|Only one usage of each socket address|cannot bind (?:to )?(?:socket|address).*in use",
        "Another process listens on the port already.",
        "Something else listens on this port: `ss -tlnp` shows what. Stop it or set another port.",
        "port (Ollama: ollama_host)",
    ),
    sign(
        "address_not_here",
        r"Errno 99|Cannot assign requested address|(?<!ConnectError: )\[Errno -[23]\]"
        r"|gaierror.*Name or service not known"
        r"|requested address is not valid in its context|EADDRNOTAVAIL|Temporary failure in name resolution.*listen",
        "The address to listen on is none of this machine's.",
        "The host to listen on is no address of this machine: set vllm_host (or the model's host; Ollama:"
        " ollama_host) to one it has.",
        "vllm_host, ollama_host",
    ),
    sign(
        "tls_files",
        r"ssl\.SSLError: \[(?:SSL|X509)(?!: CERTIFICATE_VERIFY)|ssl-(?:key|cert)file.*(?:not|missing)"
        r"|No such file or directory: '\S+\.(?:pem|crt|key)'",
        "The certificate or its key, with which the engine is to serve, is missing or no match.",
        "Correct ssl-certfile and ssl-keyfile in extra_args, or leave TLS to the gateway, which has it anyway.",
        "extra_args",
    ),
    sign(
        "locale",
        r"'ascii' codec can't (?:en|de)code",
        "The service runs in a locale without UTF-8.",
        "Set LANG to C.UTF-8 in the model's environment.",
        "vllm_environment (LANG)",
    ),
    sign(
        "user_without_name",
        r"getpwuid\(\): uid not found|no such user: \d+|I have no name",
        "The service's user id has no name on this system, as in a container that runs under any id.",
        "Run the service as a user that exists; else set USER, HOME and TORCHINDUCTOR_CACHE_DIR in its environment.",
        "vllm_environment (USER, HOME)",
    ),
    sign(
        "port_privileged",
        r"PermissionError: \[Errno 13\][^/]*$|bind: permission denied",
        "The service's user may not open a port below 1024.",
        "The service user may not do this, most often listen on a port below 1024: choose a port above.",
        "port",
        confidence=LIKELY,
    ),
    sign(
        "not_readable",
        r"PermissionError|Permission denied|EACCES|Operation not permitted: '/",
        "The service's user may not read or write a path.",
        "The service user must be able to read this path: check its owner and mode, and those of the folders above.",
        "models_root (Ollama: ollama_models_dir)",
    ),
)

MEMORY_RULES = (
    sign(
        "max_model_len_over_model",
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \((?:\w+=)?(\d+)?",
        "max_model_len is longer than the model was made for.",
        "The model was made for at most {2} tokens: set max_model_len to that or less.",
        "max_model_len",
    ),
    sign(
        "kv_cache_too_small",
        r"KV cache is needed, which is larger than the available KV cache memory.*?model length is (\d+)",
        "The KV cache cannot hold one request of max_model_len tokens.",
        "Set max_model_len to {1} or less, raise gpu_memory_utilization (on a CPU: cpu_kv_cache_gib), or use more"
        " GPUs.",
        "max_model_len, gpu_memory_utilization, cpu_kv_cache_gib",
    ),
    sign(
        "kv_cache_too_small",
        r"KV\s+cache is needed, which is larger than the available KV cache"
        r"|larger than the maximum number of tokens that can be stored in (?:the )?KV\s+cache"
        r"|(?:available|free) KV cache (?:memory|space|blocks).*(?:not enough|insufficient|too small)"
        r"|KV cache (?:size|space|memory) .*(?:too small|insufficient|not (?:enough|sufficient))"
        r"|max(?:_model_len|imum model length|'s max seq len).*(?:KV cache|GPU blocks)"
        r"|num_gpu_blocks.*(?:too small|must be)",
        "The KV cache cannot hold one request of max_model_len tokens.",
        "Lower max_model_len, raise gpu_memory_utilization (on a CPU: cpu_kv_cache_gib), or use more GPUs.",
        "max_model_len, gpu_memory_utilization, cpu_kv_cache_gib",
    ),
    sign(
        "max_num_seqs_over_cache",
        r"max_num_seqs \((\d+)\) exceeds available Mamba cache blocks \((\d+)\)",
        "More requests are allowed at once than the cache has room for; each needs a block of its own.",
        "Set max_num_seqs to {2} or less, or raise gpu_memory_utilization.",
        "max_num_seqs, gpu_memory_utilization",
    ),
    sign(
        "max_model_len_too_short",
        r"(?:prompt|decoder prompt) \(length \d+\) is longer than the maximum model length of \d+"
        r"|max_model_len .*smaller than the number of (?:text|multi-?modal) tokens",
        "max_model_len is shorter than the longest input that the engine must be ready for, such as one picture.",
        "Raise max_model_len, or allow fewer or smaller pictures (limit-mm-per-prompt in extra_args).",
        "max_model_len, extra_args",
    ),
    sign(
        "no_kv_cache_memory",
        r"No available memory for the cache blocks|no (?:GPU )?memory (?:left )?for (?:the )?KV cache"
        r"|Available KV cache memory: -\d",
        "The weights leave no memory for a KV cache.",
        "The weights leave no room for a KV cache: raise gpu_memory_utilization, use more GPUs"
        " (tensor_parallel_size) or a quantized checkpoint.",
        "gpu_memory_utilization, tensor_parallel_size",
    ),
    sign(
        "cpu_memory_too_small",
        r"Available memory on node \d+ .*less than requested memory|Not enough (?:CPU )?memory.*CPU"
        r"|Available memory on node \d+ .*less than desired CPU memory utilization"
        r"|cpu kv cache.*(?:exceed|larger)|Too large swap space",
        "The host has less free memory than the KV cache asks for.",
        "The host has less free memory than the KV cache asks for: lower cpu_kv_cache_gib or stop other services.",
        "cpu_kv_cache_gib",
    ),
    sign(
        "gpu_memory_taken",
        r"Free memory on device .* (?:is )?less than (?:the )?(?:desired GPU memory|engine's budget)"
        r"|exceed the desired GPU memory utilization|Externally held weights on device|Error in memory profiling"
        r"|Initial free memory .*(?:current free memory|less than)",
        "Something else holds the GPU's memory already.",
        "Another process holds this GPU's memory: `nvidia-smi` shows which. Stop it, choose other GPUs, or lower"
        " gpu_memory_utilization.",
        "gpu_memory_utilization",
    ),
    sign(
        "gpu_out_of_memory",
        r"(?:CUDA|HIP|XPU|ROCm) (?:(?:driver )?error: )?out of memory|Triton Error \[\w+\]: out of memory"
        r"|OutOfMemoryError: (?!.*(?:memory on the node|node running low))"
        r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory"
        r"|CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|CUDNN_STATUS_ALLOC_FAILED"
        r"|warming up (?:sampler|pooler) .*dummy requests|NVML_SUCCESS == r INTERNAL ASSERT FAILED"
        r"|Cuda failure.*'out of memory'",
        "The GPU's memory did not suffice.",
        "The GPU's memory did not suffice: lower gpu_memory_utilization by 0.05, max_num_seqs or"
        " max_num_batched_tokens; or use more GPUs.",
        "gpu_memory_utilization, max_num_seqs",
    ),
)

CARD_RULES = (
    sign(
        "gpu_too_new",
        r"CUDA capability sm_1\d\d\w? is not compatible|Value 'sm_1\d\d\w?' is not defined"
        r"|No compiled \w+ .*(?:capability|SM):? 1\d\d\b|ptxas'.*--gpu-name=sm_1\d\d"
        r"|unsupported gpu architecture '(?:compute|sm)_1\d\d\w?'"
        r"|(?:sm_1\d\d\w?|Blackwell).*(?:not (?:yet )?supported by)",
        "The card is newer than what this build of the engine, or the CUDA tools beside it, was compiled for.",
        "Choose a newer vllm_version: its wheels are built for CUDA 13 and know this card. A ptxas or nvcc of the"
        " host that is older than the card must not be found first (CUDA_HOME, TRITON_PTXAS_PATH).",
        "vllm_version, vllm_environment (TRITON_PTXAS_PATH)",
    ),
    sign(
        "gpu_too_old",
        r"no kernel image is available|Minimum capability: |only supported on GPUs with compute capability"
        r"|compute capability of at least|is not supported for the current GPU"
        r"|not compatible with the current PyTorch"
        r"|cudaErrorNoKernelImageForDevice|CUDA_ERROR_NO_BINARY_FOR_GPU|invalid device function"
        r"|(?:not supported|unsupported) (?:on|by|for) (?:this|your|the current) (?:GPU|device|platform|architecture)"
        r"|requires? (?:a )?(?:GPU with )?(?:compute capability|sm_?\d+|CUDA capability|Ampere|Hopper|Ada|Blackwell)"
        r"|fp8e4nv\b.*not supported|hipErrorNoBinaryForGpu"
        r"|FP8 (?!kv).*(?:only supported|not supported|requires)"
        r"|too old.*(?:no longer supports|supported by (?:PyTorch|the triton))"
        r"|Min(?:imum|\.)? capability:? \d"
        r"|only supported (?:on|in) (?:Ampere|Ada|Hopper|Blackwell|FlashAttention [34])"
        r"|requires building with sm version|is for sm\d+\S*, but was built for|is_fa_version_supported"
        r"|No valid attention backend.*compute capability not supported"
        r"|not supported on .*compute capability|FlashAttention only supports Ampere|device kernel image is invalid"
        r"|No compiled \w+ .*(?:capability|SM):? \d\d\b|requires GPUs with sm\d+|only supported on \w+ devices"
        r"|GPU architecture \S+ is too old",
        "The card is too old for this dtype, quantization or build of the engine.",
        "This GPU is too old for that dtype, quantization or engine: set dtype to half, or choose another checkpoint.",
        "dtype, vllm_version",
    ),
    sign(
        "amd_gpu_unsupported",
        r"TensileLibrary\S*: .*(?:No such file|Illegal seek)|amdgpu is not supported|no rocblas support for gfx"
        r"|HSA_STATUS_ERROR_INVALID_ISA|amdgpu too old",
        "This AMD card is none of those that ROCm has kernels for.",
        "Set HSA_OVERRIDE_GFX_VERSION in the engine's environment to the nearest kind that is supported (10.3.0"
        " for RDNA 2,"
        " 11.0.0 for RDNA 3), use Vulkan, or another card.",
        "ollama_environment (HSA_OVERRIDE_GFX_VERSION), vllm_environment",
    ),
    sign(
        "container_toolkit",
        r"could not select device driver .*gpu|nvidia-container-cli: .*unknown device"
        r"|unknown or invalid runtime name: nvidia|nvidia-container-runtime.*(?:not found|no such file)",
        "The container runtime does not know NVIDIA's cards, or not the card that was asked for.",
        "Install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker` and restart Docker; name"
        " cards that `nvidia-smi -L` lists.",
    ),
    sign(
        "gpu_busy",
        r"CUDA-capable device(?:s|\(s\)) (?:is/)?are busy or unavailable|cudaErrorDevicesUnavailable"
        r"|CUDA_ERROR_DEVICE_UNAVAILABLE",
        "The card takes no further process: another one holds it in exclusive mode, or it hangs.",
        "`nvidia-smi -q -d COMPUTE` shows the mode and the processes: stop the other one, or set the mode to Default"
        " (`nvidia-smi -c 0`); if nothing runs there, reset the card.",
        "vllm_environment (CUDA_VISIBLE_DEVICES)",
    ),
    sign(
        "visible_devices",
        r"invalid literal for int\(\) with base 10: '(?:GPU|MIG)-|Non-integer device ID"
        r"|visible device ordinal \d+ is out of range|--device-ids index \d+ is out of range"
        r"|Inconsistent GPU visibility env vars|Invalid device id",
        "CUDA_VISIBLE_DEVICES names a card in a way that this engine does not read, or one that is not there.",
        "Name the cards by their numbers as `nvidia-smi -L` counts them (older vLLM reads no UUIDs, those of MIG"
        " devices included), or leave the choice to the plan.",
        "vllm_environment (CUDA_VISIBLE_DEVICES)",
    ),
    sign(
        "no_gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|Failed to infer device type"
        r"|Can't initialize NVML|libcuda\.so\S* cannot open|libcuda\.so\S*: cannot open|invalid device ordinal"
        r"|No HIP GPUs|no ROCm-capable device|cudaErrorNoDevice|CUDA_ERROR_NO_DEVICE"
        r"|CUDA_ERROR_INVALID_DEVICE|NVML_ERROR_NO_PERMISSION"
        r"|CUDA_VISIBLE_DEVICES is set to empty|CUDA unknown error|Torch not compiled with CUDA enabled"
        r"|Unexpected error from cudaGetDeviceCount|NVMLError_\w+"
        r"|CUDA error: (?:initialization error|operation not permitted)$"
        r"|Device string must not be empty|Current node has no GPU available"
        r"|Failed to initialize NVML",
        "The engine sees no usable GPU.",
        "The engine sees no usable GPU: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and the unit's PrivateDevices.",
        "vllm_environment (CUDA_VISIBLE_DEVICES)",
    ),
    sign(
        "heads_not_divisible",
        r"attention heads \(?(\d+)\)? must be divisible by (?:the )?(?:tensor|tp"
        r"|world)[ _-]?\w* ?(?:parallel )?(?:size)?"
        r" ?\(?(\d+)?",
        "The model's attention heads cannot be shared out evenly over so many GPUs.",
        "Set tensor_parallel_size to a divisor of {1}.",
        "tensor_parallel_size",
    ),
    sign(
        "not_divisible",
        r"(\d+) is not divisible by (\d+)|parallel size \d+ must be divisible"
        r"|must be divisible by (?:the )?(?:tensor.parallel|(?:tp|ep|pp|dp|world)_?size)"
        r"|not divisible by\s+(?:weight quantization block|tensor parallel|tp|min_thread)"
        r"|not aligned with the quantized weight shape",
        "A dimension of the model cannot be shared out evenly over so many GPUs.",
        "Choose another tensor_parallel_size: a smaller power of two, with pipeline_parallel_size for the rest.",
        "tensor_parallel_size",
    ),
    sign(
        "too_few_gpus",
        r"larger than the (?:number of|total) available GPUs|Tensor parallel size .*exceeds? available GPUs"
        r"|World size \(?\d+\)? .*(?:larger|greater|exceeds)|(?:please|Please) ensure.*enough GPUs"
        r"|placement group.*(?:cannot be|could not be|can't be) (?:created|scheduled|fulfilled)"
        r"|Ray does not allocate any GPUs on the driver node|Cannot provide a placement group"
        r"|The number of required GPUs exceeds",
        "More GPUs are asked for than the host or cluster has.",
        "tensor_parallel_size × pipeline_parallel_size must not exceed the GPUs of this host.",
        "tensor_parallel_size",
    ),
    sign(
        "parallelism_unsupported",
        r"(?:Pipeline|Tensor|Expert|Data|Context)[ -]parallel(?:ism)? is not supported"
        r"|does not support (?:pipeline|tensor|expert|data|context)[ -]parallel",
        "This model cannot be shared out in that way.",
        "Set pipeline_parallel_size to 1 and share the model out by tensor_parallel_size alone, or the other way"
        " round.",
        "pipeline_parallel_size, tensor_parallel_size",
    ),
    sign(
        "numa_forbidden",
        r"numa_migrate_pages failed|(?:set_mempolicy|setting membind|mbind): Operation not permitted",
        "The service may not choose the memory that it uses (NUMA), as in a container without CAP_SYS_NICE.",
        "Set VLLM_CPU_OMP_THREADS_BIND to nobind in the model's environment, or give the unit CAP_SYS_NICE.",
        "vllm_environment (VLLM_CPU_OMP_THREADS_BIND), vllm_unit_settings (AmbientCapabilities)",
        confidence=LIKELY,
    ),
    sign(
        "too_few_numa_nodes",
        r"(?:NUMA nodes?|memory nodes?|numa_nodes?).*(?:less|fewer|not enough|smaller|insufficient|>=|<|must)"
        r"|(?:not enough|insufficient|requires?).*(?:NUMA|memory) nodes?",
        "On a CPU each tensor-parallel rank wants a NUMA node of its own.",
        "On a CPU each tensor-parallel rank wants a NUMA node of its own: set tensor_parallel_size to 1.",
        "tensor_parallel_size",
    ),
    sign(
        "node_address",
        r"Every node should have a unique IP address|Unable to resolve hostname to a (?:\(local\) |local )?address"
        r"|no socket interface found|Unable to find (?:interface|address) for:? |makeDeviceFor(?:Hostname|Interface)"
        r"|ifa_addr|Bad NCCL_SOCKET_IFNAME",
        "The ranks of this model do not know which of the host's addresses to use for each other.",
        "Set VLLM_HOST_IP to the host's private address, GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to its interface;"
        " the host's own name must resolve to it (/etc/hosts).",
        "vllm_environment (VLLM_HOST_IP, GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME)",
        confidence=LIKELY,
    ),
    sign(
        "duplicate_gpu",
        r"Duplicate GPU detected",
        "Two ranks of the model were given the same card.",
        "Let every rank see a card of its own: CUDA_VISIBLE_DEVICES, and tensor_parallel_size not above the number of"
        " cards.",
        "vllm_environment (CUDA_VISIBLE_DEVICES), tensor_parallel_size",
    ),
    sign(
        "nvlink_sharp",
        r"\bnvls\.cc:\d+ NCCL WARN|Failed to bind NVLink SHARP|cuMulticast\w+.*(?:fail|error)",
        "The cards cannot use NVLink SHARP (NVLS): Fabric Manager was restarted beneath them, or the fabric is not"
        " whole.",
        "Stop what uses the GPUs, restart nvidia-fabricmanager and reset the cards, or reboot; until then set"
        " NCCL_NVLS_ENABLE=0 in the model's environment.",
        "vllm_environment (NCCL_NVLS_ENABLE)",
        confidence=LIKELY,
    ),
    sign(
        "rdma",
        r"\bibgda\b|Failed to initialize UCX|ucp_init failed|nvshmem\w*.*(?:fail|error|abort)|NIXL_ERR|UCX +ERROR"
        r"|DeepEP.*(?:fail|error|timeout)|Call to ibv_(?:open|query|modify|get)\w* failed",
        "The cards cannot use the RDMA network that they were told to use.",
        "Look at the host's RDMA cards (`ibstat`), nvidia-peermem or DMA-BUF, and LimitMEMLOCK=infinity; or leave"
        " all2all-backend and kv-transfer-config out of extra_args.",
        "extra_args, vllm_unit_settings (LimitMEMLOCK)",
        confidence=LIKELY,
    ),
    sign(
        "ray_daemon",
        r"(?:Failed|Unable) to register worker.*raylet|raylet (?:process )?(?:has )?(?:died|crashed|exited)"
        r"|Failed to start the GCS|The raylet .*(?:died|is dead)",
        "Ray's own process on this host does not run: it died, or is left over from an earlier start.",
        "Run `ray stop --force`, remove /tmp/ray and start again; on one host leave Ray out:"
        " distributed-executor-backend: mp in extra_args.",
        "extra_args (distributed-executor-backend)",
        confidence=LIKELY,
    ),
    sign(
        "node_missing",
        r"DistStoreError|waiting for clients|Timed out after \d+ seconds waiting|client socket has timed out after"
        r"|The client socket has failed to connect|DistNetworkError|RendezvousConnectionError|RendezvousTimeoutError"
        r"|connect\(\) timed out|Connection closed by peer \[|Gloo connectFullMesh failed"
        r"|Unable to connect to GCS|Failed to connect to GCS|Failed to connect to Ray|ConnectionError:.*Ray"
        r"|Ray cluster.*(?:not|timed out)|node timed out|ray\.exceptions\.(?:NodeDied|RaySystem|GetTimeout)\w*"
        r"|The node .* has been marked dead|Waiting for \d+ local, \d+ remote core engine proc"
        r"|Timed out waiting for engine core processes.*(?:remote|node)|did not join|no response from rank",
        "Not every node of a model that spans hosts came to the meeting point.",
        "Not every rank of this model came: look at its instances on other hosts, and at the firewall between them"
        " (firewall_peers); set VLLM_HOST_IP and GLOO_SOCKET_IFNAME to the private network.",
        "firewall_peers, vllm_environment",
    ),
    sign(
        "nccl",
        r"NCCL (?:error|failure|WARN|communicator was aborted)|DistBackendError"
        r"|nccl(?:Unhandled|System|Internal|Remote"
        r"|Invalid)\w*Error|ncclUnhandled|ncclSystemError|ncclInternalError"
        r"|Watchdog caught collective operation timeout"
        r"|ProcessGroupNCCL.*(?:timeout|timed out|error)|NET/IB.*(?:fail|error)|RCCL (?:error|WARN)"
        r"|custom_all_reduce.*(?:error|failed)|Cuda error \S*custom_all_reduce|peer access is not supported",
        "The GPUs could not reach each other (NCCL).",
        "The GPUs could not reach each other: set NCCL_DEBUG=INFO in the model's environment and read on;"
        " NCCL_P2P_DISABLE=1 helps on consumer cards, NCCL_SOCKET_IFNAME names the right network.",
        "vllm_environment (NCCL_…)",
        confidence=LIKELY,
    ),
)

MODEL_RULES = (
    sign(
        "repository_not_found",
        r"RepositoryNotFoundError|Repository Not Found",
        "The Hub has no repository of that name, or it is private and no valid token was given.",
        "Correct the name in `model`; if it is private, set models_hub_token.",
        "model, models_hub_token",
    ),
    sign(
        "gated_model",
        r"GatedRepoError|401 Client Error|403 Client Error|access to .* is restricted|awaiting a review"
        r"|Cannot access gated repo|You need to (?:be authenticated|have access)|must have access to it"
        r"|403 Forbidden: .*gated|LocalTokenNotFoundError"
        r"|Invalid (?:username or password|user token|credentials in Authorization)|make sure to request access"
        r"|token.*(?:expired|invalid).*huggingface|Access to model .* is restricted|is gated\. You must",
        "The repository is gated or private, and no valid token was given.",
        "Ask for access on the model's page and set models_hub_token.",
        "models_hub_token",
    ),
    sign(
        "hub_certificate",
        r"^(?!.*registry).*(?:SSLCertVerificationError|CERTIFICATE_VERIFY_FAILED|SSL certificate problem)",
        "The Hub answers with a certificate that this host does not trust: a proxy between replaces it, or the host's"
        " CA certificates are old.",
        "Install the proxy's CA on the host, and name the bundle in SSL_CERT_FILE and REQUESTS_CA_BUNDLE of the"
        " environment; or let models_hub_endpoint point at a mirror.",
        "common_environment (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), models_hub_endpoint",
    ),
    sign(
        "hub_unreachable",
        r"429 Client Error|Too Many Requests for url|huggingface\.co.*(?:Max retries|timed out|Name or service"
        r"|Connection refused|Temporary failure)|(?:Max retries exceeded|ReadTimeoutError"
        r"|ConnectTimeout).*huggingface"
        r"|couldn't connect to .*huggingface|LocalEntryNotFoundError.*(?:connection|internet)"
        r"|Consistency check failed: file should be|hf\.co.*(?:Max retries|timed out)|hf_xet.*(?:error|fail)"
        r"|CAS service error|^httpx\.\w+Error: "
        r"|(?:50[0234]) (?:Server|Client) Error.*huggingface",
        "The Hub could not be reached, or broke off.",
        "Let the role fetch models beforehand; behind a proxy set common_environment, or models_hub_endpoint to a"
        " mirror.",
        "models_hub_endpoint",
    ),
    sign(
        "shard_corrupt",
        r"SafetensorError|Error while deserializing header|InvalidHeader|HeaderTooLarge|MetadataIncompleteBuffer"
        r"|PytorchStreamReader failed|invalid load key, 'v'|header too (?:large|small)|incomplete metadata"
        r"|UnpicklingError|(?<!failed: )(?<!exceeded: )unexpected EOF|checksum mismatch"
        r"|corrupt(?:ed)? (?:file|shard|weights|model)"
        r"|file not fully covered",
        "A weight file is truncated, damaged, or a git LFS pointer in its place.",
        "A weight file is truncated or no weight file at all: run the role with models_verify=full, it fetches what"
        " is broken again.",
        "models_verify",
    ),
    sign(
        "shard_missing",
        r"Cannot find any model weights|No model weights found"
        r"|No such file or directory.*\.(?:safetensors|bin|pt|gguf)\b"
        r"|Following weights were not initialized|no file named .*(?:safetensors|pytorch_model)"
        r"|(?:safetensors|pytorch_model)\S* (?:does not exist|not found|is missing)|weights? files? (?:is "
        r"|are )?missing"
        r"|does not appear to have files? named .*(?:safetensors|pytorch_model|\.bin)",
        "Weight files are missing.",
        "Weight files are missing, or the service user may not read them: run the role with models_verify=full,"
        " which fetches what is missing, or correct the files' modes.",
        "models_verify",
    ),
    sign(
        "weights_do_not_fit",
        r"Attempted to load weight|size mismatch for |KeyError: '(?:model|transformer|language_model|lm_head|layers"
        r"|visual|vision_\w+)\.[\w.]+'"
        r"|KeyError: '(?:\w+\.)+(?:\w*weight\w*(?:\.\w+)*|bias|qzeros|scales|g_idx)'"
        r"|start \(\d+\) \+ length \(\d+\) exceeds dimension size"
        r"|loaded_weight|There is no module or parameter named|Trying to load .* into a .* parameter"
        r"|(?:The size of tensor|Sizes of tensors|shape) .*must match|no parameter named",
        "Weights and config.json are not of one model.",
        "Weights and config.json are not of one model: fetch the model again, and correct hf-overrides in extra_args.",
        "extra_args",
        confidence=LIKELY,
    ),
    sign(
        "trust_remote_code",
        r"trust_remote_code ?= ?True|custom code which must be executed|contains custom code"
        r"|--trust-remote-code|requires you to execute the (?:configuration|model) file",
        "The model brings Python code of its own, which nobody has allowed yet.",
        "The model brings its own Python code: read it, then set trust_remote_code: true for this model.",
        "trust_remote_code",
    ),
    sign(
        "unsupported_architecture",
        r"Model architectures? \[?.*are not supported|does not recognize this architecture"
        r"|No model architectures are specified|has no vLLM implementation|Transformers does not recognize"
        r"|architectures? .*(?:failed to be inspected|not supported (?:for now|by vLLM))"
        r"|Unknown (?:model )?architecture"
        r"|cannot import name '\w+' from 'transformers|unknown model architecture|unsupported (?:model )?architecture"
        r"|rope_scaling.*(?:must|unknown|should)"
        r"|KeyError: '(?:(?:qwen|gemma|llama|mistral|deepseek|glm|phi|gpt)\w*|\w+Config)'"
        r"|GGUF model with architecture \w+ is not supported|Unknown gguf model_type"
        r"|Tokenizer class \w+ does not exist|Unknown RoPE scaling type|Unrecognized configuration class",
        "This vLLM, or the Transformers beside it, is older than the model's architecture.",
        "This vLLM does not know the model's architecture: choose a newer vllm_version or another model.",
        "vllm_version",
    ),
    sign(
        "config_of_another_version",
        r"'\w*Config' object has no attribute|KeyError: 'rope_\w+'",
        "The engine looks for a value that the model's configuration does not have: this vLLM, or the Transformers"
        " beside it, is of another version than the model was made for.",
        "Choose a newer vllm_version, which brings the Transformers that it was tested with; if this one is known to"
        " serve the model, fetch its files again with models_verify=full.",
        "vllm_version, models_verify",
        confidence=LIKELY,
    ),
    sign(
        "config_invalid",
        r"is not a valid JSON file|JSONDecodeError.*config|Should have a `?model_type`? key|Unrecognized model in "
        r"|config\.json.*(?:invalid|not valid|corrupt)|KeyError: 'model_type'"
        r"|Unable to load weights from|Please check .*config\.json",
        "The model's config.json is damaged or lacks a key.",
        "The model's config.json is damaged or says too little: fetch the model again.",
        "models_verify",
    ),
    sign(
        "vocabulary_unreachable",
        r"HarmonyError: .*vocab|openaipublic\.blob\.core",
        "The model's vocabulary (tiktoken) is no part of its files, and the host cannot fetch it.",
        "Fetch o200k_base.tiktoken and cl100k_base.tiktoken where there is a way out, and name their folder on this"
        " host in TIKTOKEN_ENCODINGS_BASE of the model's environment.",
        "vllm_environment (TIKTOKEN_ENCODINGS_BASE)",
    ),
    sign(
        "tokenizer",
        r"DecodeError: .*\(in \S*tokeniz|Can't load tokenizer|No tokenizer file found"
        r"|Failed to load the tokenizer|instantiate the backend tokenizer"
        r"|Can't instantiate|Couldn't instantiate"
        r"|tokenizer.*(?:not found|does not exist|cannot be loaded|No such file|is missing)"
        r"|Unable to load vocabulary|Error parsing line|No such file.*(?:tokenizer|vocab|tekken|merges|spiece)"
        r"|expected str, bytes or os\.PathLike object, not NoneType|untagged enum ModelWrapper"
        r"|(?:Error|Exception)\b.*sentencepiece|sentencepiece.*(?:not found|required|install|fail)"
        r"|tiktoken.*(?:missing|required|error)"
        r"|Not a string$|Converting from (?:SentencePiece|Tiktoken) failed",
        "The tokenizer's files are missing or damaged.",
        "The tokenizer's files are missing or damaged: fetch the model again.",
        "models_verify",
    ),
    sign(
        "model_not_found",
        r"Invalid repository ID or local directory specified|HFValidationError|Repo id must be in the form"
        r"|does not appear to have a file named config\.json|LocalEntryNotFoundError"
        r"|outgoing traffic has been disabled|offline mode is enabled"
        r"|404 Client Error|FileNotFoundError.*config\.json"
        r"|is not a local folder and is not a valid model|EntryNotFoundError|Can't load the configuration of"
        r"|No supported config format found"
        r"|RevisionNotFoundError|Incorrect path_or_model_id|No such file or directory.*config\.json"
        r"|(?:model|path) .*does not exist|Please provide either the path to a local folder",
        "The model's path holds no model, or the name is none of the Hub's.",
        "The model's path holds no model: check `model`, and that config.json is there.",
        "model",
    ),
    sign(
        "quantization",
        r"Cannot find the config file for \w+|Quantization method specified in the model config"
        r"|Unknown quantization (?:method|type)|quantization method .* (?:is not supported|does not)"
        r"|quantization .*not supported|not supported.*quantization|Unsupported quantization"
        r"|KeyError: 'quant_method'|in the model's quantization config|is not supported for quantization method"
        r"|[Nn]o quantization config|does not support \w+ quantization",
        "The checkpoint and the quantization asked for do not fit each other, or the card does not know the method.",
        "Remove `quantization`: vLLM reads the method from the checkpoint, and this checkpoint has no such one.",
        "quantization",
    ),
    sign(
        "kv_cache_dtype",
        r"kv[-_ ]?cache[-_ ]?(?:dtype|data type).*(?:support|invalid|not)|fp8.*kv[- _]cache.*not supported",
        "The device does not take that type of KV cache.",
        "This device does not take that kv_cache_dtype: set it to auto.",
        "kv_cache_dtype",
    ),
    sign(
        "block_size",
        r"block[-_ ]size.*(?:support|must|multiple|divisible|invalid)|No common block size",
        "The engine's attention does not take that block size.",
        "Remove block-size from extra_args: the engine chooses one that its attention supports.",
        "extra_args",
    ),
    sign(
        "batched_tokens",
        r"max_num_batched_tokens.*(?:smaller|less|greater or equal|must)"
        r"|larger than max_num_batched_tokens|[Ii]ncrease max_num_batched_tokens",
        "A batch may hold fewer tokens than one request.",
        "Raise max_num_batched_tokens to max_model_len at least, or leave chunked prefill on.",
        "max_num_batched_tokens",
    ),
    sign(
        "model_file_invalid",
        r"JSONDecodeError|is not (?:a )?valid JSON|UnicodeDecodeError|EOF while parsing"
        r"|(?:Expecting (?:value|property name|'.' delimiter)|Extra data|Unterminated string|Invalid control character)"
        r"\b.*: line \d+ column \d+ \(char",
        "One of the model's JSON files is damaged.",
        "One of the model's JSON files is damaged: fetch the model again.",
        "models_verify",
        confidence=LIKELY,
    ),
    sign(
        "chat_template",
        r"chat template .*(?:doesn't exist|does not exist|not found|path-like)"
        r"|jinja2\.exceptions\.\w+|(?:no|any) chat template|default chat template is no longer allowed",
        "The chat template is missing, or no template that Jinja can read.",
        "Correct chat-template in extra_args: a file on the host that the service may read, or the template itself.",
        "extra_args",
    ),
    sign(
        "unknown_parser",
        r"invalid (?:tool call|reasoning) parser|(?:tool|reasoning) parser .*(?:not found|unknown|not registered)"
        r"|Unknown (?:tool|reasoning) parser",
        "There is no tool-call or reasoning parser of that name.",
        "Correct tool-call-parser or reasoning-parser in extra_args: the line above says which there are.",
        "extra_args",
    ),
    sign(
        "lora",
        r"LoRA rank (\d+) is greater than max_lora_rank",
        "An adapter's rank is above the limit.",
        "Set max-lora-rank in extra_args to {1} at least.",
        "extra_args",
    ),
    sign(
        "lora_refused",
        r"is unsupported LoRA weight|does not support LoRA|LoRA .*(?:not supported|must be)|adapter_config\.json"
        r"|No adapter found for|While loading .*, expected target modules in|max_cpu_loras \(\d+\) must be"
        r"|Loading lora .* failed",
        "An adapter is not there, or is of a kind that the engine cannot use with this model.",
        "Correct lora-modules in extra_args: a folder with adapter_config.json, made for exactly this model.",
        "extra_args",
        confidence=LIKELY,
    ),
    sign(
        "dtype",
        r"does not support float16|Unknown dtype:|Model dtype .* is not supported",
        "The model cannot be computed in that dtype.",
        "Remove dtype, or set it to bfloat16 or, on cards before Ampere, float32.",
        "dtype",
    ),
    sign(
        "processor",
        r"Failed to apply \w*Processor|Invalid type of HuggingFace processor"
        r"|\w*Processor\.__init__\(\) got|but a \w*Processor\w* was expected"
        r"|Can't load (?:image|feature|video) (?:processor|extractor)|preprocessor_config\.json",
        "What prepares pictures or sound for this model does not fit this engine, or its files are missing.",
        "Run the role with models_verify=full (preprocessor_config.json); then choose a newer vllm_version, or serve"
        " text alone: limit-mm-per-prompt {image: 0, video: 0} in extra_args.",
        "vllm_version, extra_args (limit-mm-per-prompt)",
        confidence=LIKELY,
    ),
    sign(
        "wrong_task",
        r"does not support [`']?--(?:runner|task|convert)|does not support the '\w+' task|Unsupported task: "
        r"|do(?:es)? not support (?:embedding|generation|pooling|any pooling tasks|Embeddings|Transcriptions)"
        r"|is not a? ?multimodal",
        "The model is of another kind than what it is to serve as: text generation, embeddings, ranking.",
        "Correct runner or convert in extra_args, or take a model of the kind that is wanted.",
        "extra_args (runner)",
    ),
    sign(
        "speculative_decoding",
        r"(?:num_speculative_tokens|speculative_\w+|[Ss]peculative (?:decoding|model|method)|draft model|EAGLE|Eagle3?"
        r"|\bMTP\b|Medusa).*(?:not (?:yet )?supported|unsupported|[Uu]nknown|requires?|must|only|incompatible"
        r"|not compatible|should|was not provided|not a valid|cannot)"
        r"|Unsupported speculative|Unknown speculative|[Tt]arget and draft model|support EAGLE3",
        "The speculative decoding that was asked for does not fit this model, its draft model, or the other settings.",
        "Remove speculative-config from extra_args to serve without; then correct it by what the line says.",
        "extra_args (speculative-config)",
        confidence=LIKELY,
    ),
)

BUILD_RULES = (
    sign(
        "compile_cache",
        r"vLLM failed to compile the model|failed to get the hash of the compiled graph"
        r"|corrupted compilation artifact"
        r"|(?:Error|No such file)\b.*(?:torch_compile_cache|inductor_cache/)"
        r"|torchinductor_\w+/.*No such file|Graph hash mismatch|compiled graph from cache|torch_aot_compile"
        r"|Expected tensors only, but got|expected size \d+==\d+, stride \d+==\d+",
        "What an earlier start compiled and kept is damaged, or of another version.",
        "Remove the caches of compiled graphs (/var/lib/vllm/.cache/vllm/torch_compile_cache) and start again; if"
        " the same comes back, VLLM_DISABLE_COMPILE_CACHE=1 or enforce_eager: true.",
        "enforce_eager, vllm_environment (VLLM_DISABLE_COMPILE_CACHE)",
        confidence=LIKELY,
    ),
    sign(
        "toolchain",
        r"cannot find -l(?:cuda|nv)\w*|working triton installation|Python\.h: No such file|Failed to find C compiler"
        r"|nvcc.*not found"
        r"|Ninja is required|libcuda\.so cannot found|ptxas fatal|Could not find nvcc|CUDA_HOME .*not set"
        r"|CalledProcessError.*(?:gcc|cc|g\+\+|nvcc|ninja)|InvalidCxxCompiler|No working C\+\+ compiler"
        r"|Ninja build failed|ninja: build stopped|nvcc fatal|cannot execute 'cc1plus'|Could not find CUDA installation"
        r"|detected CUDA version \(\S+\) mismatches|command '\S*(?:gcc|g\+\+|cc|nvcc)' failed"
        r"|DeepGEMM backend is not available"
        r"|Error building extension|fatal error: \S+\.h: No such file"
        r"|No such file or directory: '(?:\S*/)?(?:ninja|nvcc|gcc|g\+\+|cc|c\+\+|ptxas|cuobjdump)'",
        "The engine compiles kernels on this host, and the tools for that are missing.",
        "The engine compiles kernels on this host: install gcc and python3-dev, or set enforce_eager: true.",
        "vllm_packages, enforce_eager",
    ),
    sign(
        "system_too_old",
        r"version `(?:GLIBC|GLIBCXX|CXXABI)_\S+' not found",
        "This system's C or C++ library is older than the engine's build needs.",
        "Use a newer release of the distribution (wheels of today want glibc 2.31 to 2.35), or a vllm_version that"
        " was built for this one.",
        "vllm_version",
    ),
    sign(
        "package_missing",
        r"(?:ImportError|ModuleNotFoundError): .*(?:pip install|[Pp]lease install|is not installed|not found in your"
        r" environment|Install [\w-]+ (?:to|with)|is required for)"
        r"|requires installation of \w+|RuntimeError: NIXL is not available",
        "A setting, or the model's own code, wants a Python package that the engine's environment does not have.",
        "Add the package to a lock of your own (vllm_requirements, `uv pip compile --generate-hashes`) and run the role"
        " again; or leave the setting out that wants it.",
        "vllm_requirements, extra_args",
    ),
    sign(
        "library_missing",
        r"cannot open shared object file|undefined symbol|ImportError|ModuleNotFoundError"
        r"|version `GLIBC\S*' not found|numpy\.dtype size changed|DistributionNotFound"
        r"|module '(?:torch|transformers|triton|flashinfer|numpy)[\w.]*' has no attribute"
        r"|^TypeError: (?:\w+\.__init__|resolve_chat_template_content_format)\(\) got an unexpected keyword argument"
        r"|operator torchvision::nms does not exist|_OpNamespace|compiled using NumPy 1"
        r"|Tokenizer\w*'? (?:object )?has no attribute"
        r"|PackageNotFoundError|is already used by a Transformers config"
        r"|Failed to import \S+ because|error while loading shared libraries",
        "The engine's environment is incomplete or does not fit this system.",
        "The engine's environment is incomplete or does not fit this system: remove its folder below /opt/vllm and"
        " run the role again.",
        "vllm_version",
        confidence=LIKELY,
    ),
    sign(
        "gpu_illegal_access",
        r"illegal memory access|unspecified launch failure|cudaErrorIllegalAddress|misaligned address"
        r"|CUDA error: device-side assert|device-side assert triggered|CUBLAS_STATUS_\w+|"
        + xid.pattern("application")
        + r"|HSA_STATUS_ERROR_EXCEPTION|Memory access fault by GPU|amdgpu: \[\w+\] page fault"
        r"|CUDA error: invalid argument|CUDA error \([^)]*\): ",
        "A computation on the GPU failed: a defect of the engine's kernels, of the checkpoint, or of the card.",
        "Set enforce_eager: true, or another version; with CUDA_LAUNCH_BLOCKING=1 the log names the place. If other"
        " Xid errors are in the kernel log, suspect the card.",
        "enforce_eager, vllm_version",
        confidence=POSSIBLE,
    ),
    sign(
        "forked_cuda",
        r"Cannot re-initialize CUDA in forked subprocess",
        "A worker was forked from a process that had used CUDA already.",
        "Set VLLM_WORKER_MULTIPROC_METHOD to spawn in the model's environment.",
        "vllm_environment (VLLM_WORKER_MULTIPROC_METHOD)",
    ),
    sign(
        "kernel_too_large",
        r"out of resource: (?:shared memory|threads)|OutOfResources",
        "A compiled kernel wants more of the card than it has.",
        "Choose another attention backend or a smaller block by extra_args, or another vllm_version; small cards"
        " have less shared memory than those that kernels are tuned for.",
        "extra_args, vllm_version",
    ),
    sign(
        "attention_backend",
        r"No valid (?:\w+ )*attention backend|No valid (?:CPU )?MLA prefill backend|Selected backend \S+ is not valid"
        r"|Cannot use \S+ backend|not supported for vit attention"
        r"|attention backend .*(?:is not|not supported|invalid|cannot)"
        r"|[Hh]ead[_ ]size \S+ is not supported",
        "No attention backend takes this model, these settings and this card together.",
        "Remove attention-backend and kv_cache_dtype, and block-size from extra_args, or choose another dtype: the"
        " line says what each backend refused.",
        "extra_args, dtype",
        confidence=LIKELY,
    ),
    sign(
        "cuda_graphs",
        r"CUDAGraphMode\.\w+ is not supported|No valid cudagraph sizes|cudaErrorStreamCapture\w*"
        r"|operation not permitted when stream is capturing|operation failed due to a previous error during capture"
        r"|piecewise CUDA graphs .*unavailable",
        "The model's work could not be recorded as CUDA graphs.",
        "Set enforce_eager: true to serve without graphs, or cudagraph_mode to PIECEWISE in compilation-config; an"
        " error before it, such as memory that ran out, is the cause more often than not.",
        "enforce_eager, extra_args (compilation-config)",
        confidence=LIKELY,
    ),
    sign(
        "compile_failed",
        r"BackendCompilerFailed|PassManager::run failed|PTXASError|CalledProcessError.*ptxas|InductorError"
        r"|torch\._dynamo\.exc\.\w+|vLLM failed to compile|CompilationError",
        "torch.compile, or Triton, could not compile the model's kernels.",
        "Set enforce_eager: true to serve without; another vllm_version mends most of these.",
        "enforce_eager, vllm_version",
        confidence=POSSIBLE,
    ),
    sign(
        "worker_died",
        r"RayActorError|ActorDiedError|WorkerCrashedError|actor died unexpectedly|[Ww]orker (?:process )?died"
        r"|Worker (?:proc )?\S+ (?:pid \d+ )?died|Engine (?:loop has|process \(pid \d+\)) died",
        "A worker process died without a word, killed for memory more often than not.",
        "Look at the kernel log of the worker's host for the OOM killer and for Xid errors.",
        confidence=POSSIBLE,
    ),
    sign(
        "step_timeout",
        r"Engine iteration timed out|RPC call (?:to \S+ )?timed out|Execution of .* timed out|sample_tokens timed out",
        "A step of the engine took longer than it waits for: a rank hangs, most often in the links between the GPUs, or"
        " a kernel is compiled meanwhile.",
        "Look for Xid errors in the kernel's log, and set NCCL_DEBUG=INFO; where steps are slow by right, raise"
        " VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS (older vLLM: VLLM_ENGINE_ITERATION_TIMEOUT_S).",
        "vllm_environment (VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS)",
        confidence=POSSIBLE,
    ),
    sign(
        "startup_timeout",
        r"Timed out waiting for engine core|Did not receive response from front-end|startup timeout"
        r"|Engine (?:core )?(?:process )?(?:did not|failed to) (?:start|become ready) (?:in|within)"
        r"|TimeoutError",
        "A process of the engine did not answer in time.",
        "An engine process took too long to start: look at disk and network speed, raise VLLM_ENGINE_READY_TIMEOUT_S.",
        "vllm_environment (VLLM_ENGINE_READY_TIMEOUT_S)",
        confidence=POSSIBLE,
    ),
)

# What is known of a failure that no rule knows: who refused, or where it happened.
SETTING_RULES = (
    sign(
        "environment_refused",
        r"Unknown vLLM environment variable detected|(VLLM_\w+) .*(?:appears to be a URI|must be)"
        r"|Invalid value '.*' (?:for|in) (VLLM_\w+)|(VLLM_USE_\w+)=\S* is not supported"
        r"|\b(VLLM_USE_V1)\b.*not supported",
        "A variable of the environment has a value that the engine refuses, or none of that name is known.",
        "Correct or remove the variable that the line names; in Kubernetes a service named vllm sets VLLM_PORT.",
        "vllm_environment",
    ),
    sign(
        "setting_refused",
        r"validation errors? for \w*(?:Config|Args)\b|Invalid data.parallel launch options|are mutually exclusive"
        r"|^(?:ValueError|AssertionError|TypeError|NotImplementedError): .*`?--[a-z][\w-]+",
        "The engine refuses a setting, or a combination of settings.",
        "Correct the setting that the line names: a key of its own in vllm_models, or one in extra_args.",
        "vllm_models, extra_args",
        confidence=LIKELY,
    ),
    sign(
        "tool_calls_off",
        r"tool choice requires --enable-auto-tool-choice|--enable-auto-tool-choice requires --tool-call-parser",
        "Clients ask for tool calls, which this instance was not set up for.",
        "Set enable-auto-tool-choice: true and the model's tool-call-parser in extra_args.",
        "extra_args",
    ),
)

"""Failures below the engines: drivers, cards, links, the kernel, memory, disks, systemd."""

from __future__ import annotations

from ..gpu import xid
from .rule import LIKELY, WARNING, sign

RESET = "Stop what uses the GPU and reset it (`nvidia-smi --gpu-reset`) or reboot"

# What a driver reports of its cards comes before what programs say that lost them.
GPU_RULES = (
    sign(
        "driver_mismatch",
        r"Driver/library version mismatch|NVRM: API mismatch|Error 803"
        r"|unsupported display driver / cuda driver combination"
        r"|NVML_ERROR_LIB_RM_VERSION_MISMATCH|NVMLError_LibRmVersionMismatch|NVML/RM version mismatch",
        "The NVIDIA driver's libraries and its loaded kernel module are of different versions, as after an"
        " unattended upgrade.",
        "The driver was upgraded while its old kernel module is loaded: reboot the host. Then hold the driver's"
        " packages (`apt-mark hold`).",
    ),
    sign(
        "driver_too_old",
        r"NVIDIA driver on your system is too old|driver version is insufficient|cudaErrorInsufficientDriver"
        r"|unsupported (?:toolchain|PTX version)|CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
        r"|forward compatibility was attempted on non supported HW"
        r"|(?<!AMD )driver\s+(?:too old|is too old|needs to be updated)"
        r"|requires? (?:a )?(?:newer|more recent) (?:nvidia )?driver|unsatisfied condition: (?:cuda|driver)"
        r"|update your GPU driver|Error 804",
        "The driver is older than the CUDA runtime that this engine was built for.",
        "This engine's CUDA needs a newer driver: upgrade it (CUDA 12 wants 525.60 or later, CUDA 13 wants 580.65),"
        " or choose a vllm_version built for the driver's CUDA.",
        "vllm_version",
    ),
    sign(
        "fabric_manager_mismatch",
        r"fabric manager.*(?:don.t match|mismatch|incompatible).*(?:driver|version)"
        r"|fabric manager version is incompatible with NVSwitch driver",
        "Fabric Manager and the driver are of different versions.",
        "Install nvidia-fabricmanager in exactly the driver's version, restart it, and hold both packages together.",
        fix="restart_fabric_manager",
    ),
    sign(
        "fabric_manager_unneeded",
        r"NV_WARN_NOTHING_TO_DO",
        "Fabric Manager is installed on a host without NVSwitches.",
        "`systemctl disable --now nvidia-fabricmanager`: the GPUs work without it.",
        severity=WARNING,
    ),
    sign(
        "fabric_manager",
        r"Error 802|system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY|cudaErrorSystemNotReady"
        r"|fabric ?manager.*(?:not running|failed|inactive|not (?:been )?(?:started|initialized))"
        r"|Failed to start .*fabric ?manager|nvidia-fabricmanager\.service: (?:Main process exited|Failed)",
        "The NVSwitch fabric is not up: CUDA answers error 802 until Fabric Manager has set it up.",
        "NVSwitch hosts need a running nvidia-fabricmanager of the driver's own version.",
        fix="restart_fabric_manager",
    ),
    sign(
        "mps",
        r"Error 805|MPS client failed to connect|MPS server is not ready|cudaErrorMps\w+|CUDA_ERROR_MPS_\w+",
        "CUDA's Multi-Process Service (MPS) is on, and this process cannot reach it: its pipes are somebody else's, or"
        " in a folder that the service does not see.",
        "Stop MPS (`echo quit | nvidia-cuda-mps-control`), or let the engine see its pipes: the same user, and"
        " CUDA_MPS_PIPE_DIRECTORY in the model's environment.",
        "vllm_environment (CUDA_MPS_PIPE_DIRECTORY)",
    ),
    sign(
        "gpu_lost",
        xid.pattern("lost") + r"|fallen off the bus|GPU is lost|NVRM: GPU .* is lost|NVML_ERROR_GPU_IS_LOST"
        r"|Unable to determine the device handle for GPU"
        r"|nvidia \S+: Unable to change power state from D3\w+ to D0, device inaccessible",
        "A GPU has fallen off the PCI bus (Xid 79): power, heat, seating, or a defect.",
        "Reboot; if it comes back, check power cables, cooling and seating, and have the card replaced.",
    ),
    sign(
        "gpu_memory_fault",
        xid.pattern("memory") + r"|uncorrectable ECC error"
        r"|cudaErrorECCUncorrectable|CUDA_ERROR_ECC_UNCORRECTABLE|row remapp(?:ing|er) fail"
        r"|uncorrectable memory error|DBE \(double bit error\)",
        "The GPU's memory has errors that ECC could not correct (Xid 48, 63, 64, 92, 94, 95 and their like).",
        f"{RESET}, so that spare rows take over; if it stays (`nvidia-smi -q -d ROW_REMAPPER`), replace the card.",
    ),
    sign(
        "gpu_firmware",
        xid.pattern("firmware") + r"|GSP RPC timeout"
        r"|GPU\d+ _issueRpcAndWait: rpcSendMessage failed|GspRmFree failed"
        r"|Timeout (?:after \d+s )?(?:of )?waiting for RPC (?:response )?from GSP|Cannot initialize GSP firmware",
        "The GPU, or its firmware (GSP, microcontrollers), stopped answering.",
        f"{RESET}; newer driver branches mend several causes of this.",
    ),
    sign(
        "nvlink_fault",
        xid.pattern("link") + r"|SXid \([^)]*\)|NVLink.*(?:fatal|error|inactive|down)"
        r"|cudaErrorNvlinkUncorrectable|CUDA_ERROR_NVLINK_UNCORRECTABLE|uncorrectable NVLink error",
        "A link between GPUs (NVLink, NVSwitch) fails.",
        f"{RESET}. Look at `nvidia-smi nvlink --errorcounters`; a link that fails again means hardware.",
    ),
    sign(
        "gpu_bus_fault",
        xid.pattern("bus")
        + r"|NVRM: BAR\d+ is 0M|PCI I/O region assigned to your NVIDIA device is invalid|AER: .*(?:nvidia|Uncorrect)"
        r"|PCIe Bus Error: severity=Uncorrect|insufficient.* power cables"
        r"|does not have the necessary power cables",
        "The GPU or its PCIe connection reports a hardware error.",
        f"{RESET}; if it repeats, check seating, risers, power and firmware of the machine, then replace the card.",
        confidence=LIKELY,
    ),
    sign(
        "gpu_recovery",
        r"recovery action changed from .* to 0x[1-9]",
        "The driver asks for a reset of the GPU, or for a reboot (Xid 154).",
        f"{RESET}, as the line asks; the Xid errors before it say why.",
    ),
    sign(
        "open_module_required",
        r"requires use of (?:the )?NVIDIA open kernel modules",
        "This card needs NVIDIA's open kernel modules, and the proprietary ones are loaded.",
        "Install the open flavour of the same driver version (nvidia-driver-…-open) and reboot.",
    ),
    sign(
        "vgpu",
        r"nvidia-gridd\S*: .*(?:[Ll]icense\b.*(?:not|fail|expired|denied)|(?:[Ff]ail|[Uu]nable|[Ii]nvalid).*[Ll]icense)"
        r"|Xid \([^)]*\): 78\b",
        "The card is a virtual one (vGPU) that has no licence, or that its host could not start.",
        "`nvidia-smi -q` shows the licence, /etc/nvidia/gridd.conf names its server; the drivers of guest and vGPU host"
        " have to be of the same release.",
        confidence=LIKELY,
    ),
    sign(
        "gpu_init_failed",
        r"RmInitAdapter failed|rm_init_adapter failed|nvidia: probe of \S+ failed with error"
        r"|NVRM: The NVIDIA probe routine failed",
        "The driver could not start a GPU.",
        "Switch the machine off and on again; then try another driver branch (Blackwell needs the open kernel"
        " modules), and check the card's power and seating.",
    ),
    sign(
        "module_rejected",
        r"nvidia.*(?:key was rejected|required key not available)|(?:key was rejected"
        r"|required key not available).*nvidia"
        r"|modprobe: ERROR: could not insert 'nvidia\w*': (?:Key was rejected|Required key)",
        "Secure Boot refuses the unsigned nvidia kernel module.",
        "Enrol the key that signed it (`mokutil --import`), install the distribution's signed module, or turn"
        " Secure Boot off.",
    ),
    sign(
        "driver_not_loaded",
        r"couldn't communicate with the NVIDIA driver|nvidia-smi has failed|Module nvidia not found"
        r"|modprobe: (?:FATAL|ERROR):.*nvidia|NVML_ERROR_DRIVER_NOT_LOADED|Driver Not Loaded"
        r"|NVRM: No NVIDIA (?:GPU found|devices probed)|Bad return status for module build on kernel|NVRM:.*nouveau"
        r"|found no NVIDIA driver on your system|nvidia[\w-]*: (?:disagrees about version of symbol|Unknown symbol"
        r"|version magic)|Unable to load the kernel module 'nvidia"
        r"|nvidia-container-cli: \w+ error: (?:driver error|nvml error: unknown)",
        "The NVIDIA driver is not loaded for the kernel that runs.",
        "Install the driver for the running kernel (`dkms status` says whether the module was built), then reboot.",
    ),
    sign(
        "library_missing",
        r"couldn't find libnvidia-ml\.so|NVML Shared Library Not Found|NVML_ERROR_LIBRARY_NOT_FOUND"
        r"|libnvidia-ml\.so\S*: cannot open",
        "The driver's user-space library libnvidia-ml is missing.",
        "Install the driver's libraries in the kernel module's version (libnvidia-ml1, libnvidia-compute-…), run"
        " `ldconfig`.",
    ),
    sign(
        "amd_gpu_hang",
        r"HW Exception by GPU .*GPU Hang|amdgpu\w*\b.*\bring \S+ timeout|amdgpu: GPU reset (?:begin|failed)",
        "An AMD card stopped answering, and its driver reset it.",
        "Reboot if it does not come back; then look for a newer kernel, linux-firmware and ROCm, which mend most"
        " causes. If it hangs under load alone, check power and cooling.",
        confidence=LIKELY,
    ),
    sign(
        "amd_driver",
        r"/dev/kfd.*(?:No such file|Permission denied|not)|ROCk module is NOT loaded|Unable to open /dev/kfd"
        r"|amdgpu.*driver not|AMD driver is too old|hsa_init.*failed"
        r"|HSA_STATUS_ERROR_OUT_OF_RESOURCES",
        "ROCm cannot reach its kernel driver.",
        "Load amdgpu (`modprobe amdgpu`), and let the service's user into the groups render and video.",
    ),
)

# Limits of the machine that an engine ran into.
LIMIT_RULES = (
    sign(
        "shared_memory_small",
        r"unable to (?:allocate|open|write|resize|mmap).*shared memory|shm.*(?:too small|insufficient|No space)"
        r"|No space left on device.*/dev/shm|/dev/shm.*No space left|unable to write to file </torch_"
        r"|DataLoader worker .* killed by signal: Bus error|creating shared memory segment /dev/shm"
        r"|insufficient shared memory|out of (?:shm|shared memory)\b(?!.*Required)"
        r"|/dev/shm/nccl.*(?:fail|error)|posix_fallocate failed|Bus error",
        "Shared memory (/dev/shm) is too small for what the workers exchange.",
        "Enlarge /dev/shm (`mount -o remount,size=16G /dev/shm`; a container wants --shm-size or --ipc=host).",
        confidence=LIKELY,
    ),
    sign(
        "disk_full",
        r"No space left on device|Errno 28\b|ENOSPC|Disk quota exceeded|Errno 122\b|not enough (?:free )?disk space"
        r"|insufficient (?:disk )?space|disk is full",
        "A disk is full.",
        "Free space, or move models_root (Ollama: ollama_models_dir) to a larger disk; models_keep bounds old"
        " revisions.",
        "models_root",
    ),
    sign(
        "read_only_path",
        r"Errno 30\b|Read-only file system",
        "The service may not write there: the path is read-only, or outside of what its unit lets it write.",
        "Let the engine write below /var/lib/vllm (VLLM_CACHE_ROOT, HF_HOME, TRITON_CACHE_DIR in the model's"
        " environment), or add ReadWritePaths to the unit; if the disk itself is read-only, the kernel log says"
        " why.",
        "vllm_environment, vllm_unit_settings (ReadWritePaths)",
        confidence=LIKELY,
    ),
    sign(
        "disk_error",
        r"Errno (?:5|107|121)\b|os error 19\b|Transport endpoint is not connected|Input/output error|Errno 116\b"
        r"|Stale file handle|I/O error, dev |EXT4-fs error"
        r"|XFS .*(?:corruption|shutdown)",
        "A disk, or a file share, fails.",
        "Look at the kernel log and the disk's health (`smartctl -a`), or mount the share again; then fetch the"
        " models again with models_verify=full.",
        "models_root",
    ),
    sign(
        "too_many_files",
        r"OSError: \[Errno 24\]|Too many open files|EMFILE|accept4?: too many open files",
        "The process may not open more files.",
        "Raise LimitNOFILE of the unit.",
        "vllm_unit_settings (LimitNOFILE)",
    ),
    sign(
        "memlock",
        r"RLIMIT_MEMLOCK|failed to mlock|mlock.*(?:fail|cannot)|ulimit -l|ibv_reg_mr.*(?:fail|Cannot)"
        r"|(?:max )?locked memory.*(?:limit|small)|Call to ibv_(?:reg|create)_\w+ failed",
        "The process may not lock enough memory, which RDMA and pinned buffers need.",
        "Set LimitMEMLOCK=infinity for the unit; outside of systemd, `ulimit -l unlimited`.",
        "vllm_unit_settings (LimitMEMLOCK)",
    ),
    sign(
        "too_many_tasks",
        r"can't start new thread|pthread_create failed|Resource temporarily unavailable.*(?:fork|thread|clone)"
        r"|(?:fork|clone|thread).*Resource temporarily unavailable|fork rejected by pids controller|Errno 11\b"
        r"|libgomp: Thread creation failed|failed to create new OS thread",
        "The process may not start more threads.",
        "Raise TasksMax of the unit, or lower OMP_NUM_THREADS in the model's environment.",
        "vllm_unit_settings (TasksMax)",
    ),
    sign(
        "host_out_of_memory",
        r"oom-kill|OOMKilled|systemd-oomd\S* Killed|Out of memory: Killed|Memory cgroup out of memory"
        r"|killed by the OOM killer|MemoryError\b"
        r"|failed to map segment from shared object|Cannot allocate memory|can't allocate memory"
        r"|Failed with result 'oom-kill'|std::bad_alloc"
        r"|Ray.*(?:OutOfMemoryError|memory on the node)|node running low on memory|Errno 12\b|signal: killed"
        r"|exit ?code:? ?-9\b"
        r"|died with signal 9|Main process exited, code=killed, status=9/KILL|^Killed$",
        "The host's memory, or the unit's limit of it (MemoryMax), did not suffice: the kernel killed a process.",
        "The host ran out of memory: lower cpu_kv_cache_gib, serve fewer models on this host (Ollama:"
        " ollama_max_loaded_models), raise or remove MemoryMax, or add memory.",
        "cpu_kv_cache_gib, ollama_max_loaded_models",
        fix="restart",
    ),
)

# What systemd itself says when it cannot start a unit.
SYSTEMD_RULES = (
    sign(
        "exec",
        r"status=203/EXEC|Failed to locate executable|status=200/CHDIR|status=226/NAMESPACE|status=217/USER"
        r"|Failed to (?:set up mount namespacing|determine user credentials)|Failed at step \w+ spawning"
        r"|Changing to the requested working directory failed",
        "systemd could not even start the engine: a folder, user or path that the unit names is missing.",
        "systemd could not even start the engine: the folder, user or path that it names is missing; run the role"
        " again.",
        confidence=LIKELY,
    ),
    sign(
        "unit_file",
        r"AssertPathExists|Assertion failed for|bad unit file setting|Unit file .*(?:masked|not found)"
        r"|Failed to load environment files",
        "The unit's files are incomplete: its configuration or environment file is missing, or a line of it is wrong.",
        "Run the role again: it writes the unit and its files anew. Look into drop-ins with `systemctl cat`.",
    ),
    sign(
        "illegal_instruction",
        r"Illegal instruction|status=4/ILL|signal: illegal|SIGILL",
        "The binary uses instructions that this CPU does not have (AVX2 or AVX-512).",
        "Choose a build for this CPU (vLLM's CPU build wants AVX2 at least), or another host.",
        "vllm_variant",
    ),
    sign(
        "watchdog_or_timeout",
        r"start operation timed out|State 'stop-sigterm' timed out|Failed with result 'timeout'|watchdog timeout",
        "systemd lost patience with the unit.",
        "Raise TimeoutStartSec or TimeoutStopSec, once you know what takes so long (disk, network, a hung driver).",
        "vllm_unit_settings (TimeoutStartSec)",
        fix="restart",
    ),
    sign(
        "ended_from_outside",
        r"KeyboardInterrupt: terminated",
        "Something outside ended the engine before it served: a probe that lost patience, or somebody who stopped it.",
        "Give the start more time: vllm_start_timeout_seconds, TimeoutStartSec of the unit, failureThreshold of a"
        " startupProbe in Kubernetes.",
        "vllm_start_timeout_seconds, vllm_unit_settings (TimeoutStartSec)",
        confidence=LIKELY,
    ),
    sign(
        "crashed",
        r"Segmentation fault|segfault at|status=11/SEGV|status=6/ABRT|code=dumped|core dumped|SIGSEGV|SIGABRT",
        "The engine crashed inside of native code.",
        "Set enforce_eager: true to leave compiled graphs out, or go back to the version that worked; if cards"
        " report Xid errors, look there first.",
        "enforce_eager",
        confidence=LIKELY,
        fix="restart",
    ),
)

"""Failures that a look at the host finds, without any log line."""

from __future__ import annotations

from .rule import LIKELY, NOTE, POSSIBLE, WARNING, check

CHECK_RULES = (
    check(
        "unit_missing",
        "The inventory declares this service, and the host has no such unit.",
        "Run the playbook of the engine (vllm.yml, ollama.yml); vllm_state and ollama_state decide about it.",
        "vllm_models, ollama_state",
    ),
    check(
        "port_taken",
        "The service does not run, and another process listens on its port.",
        "Stop the other process, or set another port.",
        "port (Ollama: ollama_host)",
    ),
    check(
        "model_path_missing",
        "The path of the model that the service is to serve does not exist.",
        "Correct `model`, or run the playbook: it fetches models that come from the Hub.",
        "model",
    ),
    check(
        "model_files_incomplete",
        "Files of the model are missing or damaged.",
        "Run the playbook with models_verify=full: it fetches what is missing or broken. Files of your"
        " own: copy them again.",
        "models_verify",
    ),
    check(
        "model_not_readable",
        "The service's user may not read the model's files.",
        "Give it read access (`chmod -R u=rwX,go=rX`), and search access to every folder above.",
        "models_root",
    ),
    check(
        "crash_loop",
        "systemd has given up: the service failed too often in a row (start-limit-hit).",
        "Mend the cause in the service's log first; then `systemctl reset-failed` and start it, which"
        " `--tags fix` does.",
        fix="restart",
    ),
    check(
        "unit_failed",
        "The service has failed, and its log does not say why.",
        "Read `journalctl -u UNIT`; `--tags fix` starts it again.",
        fix="restart",
        confidence=POSSIBLE,
    ),
    check(
        "unit_stopped",
        "The service is enabled and does not run.",
        "Somebody stopped it: start it, which `--tags fix` does, or disable it if that was meant.",
        fix="restart",
        confidence=LIKELY,
    ),
    check(
        "api_silent",
        "The service runs and listens, and its API does not answer.",
        "Look at its log and at the GPUs; if it hangs, restart it.",
        confidence=POSSIBLE,
    ),
    check(
        "still_starting",
        "The service has started and does not listen yet: it loads its model, or hangs.",
        "Wait; `playbooks/logs.yml -e follow=true` shows what it does.",
        "vllm_start_timeout_seconds",
        severity=NOTE,
    ),
    check(
        "bound_to_loopback",
        "The service listens on this host's loopback address only, and the gateway is on another host.",
        "Set vllm_host, or ollama_host, to the address that the gateway reaches.",
        "vllm_host, ollama_host",
    ),
    check(
        "firewall_blocks",
        "The firewall of this host does not let the gateway reach the service's port.",
        "Run playbooks/gateway.yml: its firewall lets in the group gateway by the addresses that it knows, and"
        " firewall_addresses names others. Rules of other tools: allow the port.",
        "firewall_addresses",
        confidence=LIKELY,
    ),
    check(
        "silent_cpu_fallback",
        "The host has GPUs, and Ollama serves a model from the CPU.",
        "Look at the driver, CUDA_VISIBLE_DEVICES, ollama_extras and num_gpu; restart Ollama once the driver works.",
        "ollama_num_gpu, ollama_cuda_visible_devices, ollama_extras",
    ),
    check(
        "partly_on_the_cpu",
        "A model is only partly in the GPUs' memory.",
        "Lower num_ctx, ollama_num_parallel or ollama_max_loaded_models, set ollama_kv_cache_type: q8_0.",
        "ollama_max_loaded_models, ollama_num_parallel",
        severity=WARNING,
    ),
    check(
        "disk_nearly_full",
        "A disk that models or caches are on is nearly full.",
        "Remove models that nobody serves (models_keep), or move models_root to a larger disk.",
        "models_root, models_keep",
        severity=WARNING,
    ),
    check(
        "needs_daemon_reload",
        "The unit's files on disk are newer than what systemd has loaded.",
        "`systemctl daemon-reload`, which `--tags fix` does; the change is in force after the next restart.",
        severity=WARNING,
        fix="daemon_reload",
    ),
    check(
        "stale_download",
        "A download was left unfinished a week ago or more.",
        "Run the playbook to finish it, or remove it, which `--tags fix` does.",
        severity=NOTE,
        fix="remove_path",
    ),
    check(
        "gpu",
        "A GPU is there and cannot be used.",
        "See what the finding says.",
        "gpu_…",
    ),
    check(
        "unknown",
        "The service failed with an error that no rule knows.",
        "Read the line, and what the log says before it.",
        confidence=POSSIBLE,
    ),
    check(
        "cause_not_in_log",
        "The log holds only the consequences of a failure.",
        "The cause was logged earlier, by the process that failed first: read further back (`playbooks/logs.yml -e"
        " lines=1000`, or `journalctl --unit=UNIT`), or hand the doctor the whole log.",
        confidence=POSSIBLE,
    ),
)

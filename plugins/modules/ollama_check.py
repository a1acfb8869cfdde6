#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_check
version_added: 0.1.0
short_description: Check that an Ollama server runs as it was set up, and uses the GPUs
description:
  - Holds the environment that was planned against the «server config» line that the running server logged.
  - On a host with GPUs, fails when a loaded model is not in their memory. Ollama falls back to the CPU silently; only
    C(/api/ps) tells. The failure names what may be the reason. Load a model first, by M(llm.serving.openai_probe).
options:
  environment:
    description: Variables that must be in force, as M(llm.serving.ollama_plan) returns them.
    type: dict
    default: {}
  gpu:
    description: The dictionary that M(llm.serving.gpu_facts) returns as C(ansible_facts.gpu).
    type: dict
    default: {}
  gpu_percent:
    description:
      - How much of every loaded model must be in the memory of GPUs, in percent, on a host that has some.
      - V(0) accepts everything.
    type: float
    default: 100
  cpu_models:
    description: Models that are meant for the CPU (C(num_gpu) is 0).
    type: list
    elements: str
    default: []
  url:
    description: URL of the server.
    type: str
    default: http://127.0.0.1:11434
  unit:
    description: The server's systemd unit.
    type: str
    default: ollama.service
  root:
    description: Folder of the release in service.
    type: path
    default: /opt/ollama/current
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Check the server
  llm.serving.ollama_check:
    environment: "{{ plan.environment }}"
    gpu: "{{ ansible_facts.gpu }}"
"""

RETURN = r"""
version:
  description: Version of the server.
  returned: when it answers
  type: str
  sample: 0.32.15
loaded:
  description: The models in memory, and how much of each is in that of GPUs.
  returned: when it answers
  type: list
  elements: dict
  sample: [{name: "qwen2.5:7b", size_bytes: 6000000000, vram_bytes: 6000000000, context: 8192, gpu_percent: 100.0}]
libraries:
  description: What the server computes with, by its own log.
  returned: when it answers
  type: list
  elements: str
  sample: [CUDA]
config:
  description: What the server runs with, by its own log.
  returned: when it answers
  type: dict
  sample: {OLLAMA_NUM_PARALLEL: "6"}
problems:
  description: What is not as it should be.
  returned: when it answers
  type: list
  elements: str
"""

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engines.systemd import startup_journal, unit_states
from ..module_utils.ollama import api
from ..module_utils.ollama.checks import GpuHost, gpu_problems, settings_problems
from ..module_utils.ollama.environment import parse_config
from ..module_utils.ollama.log import libraries
from ..module_utils.ollama.store import full_name
from ..module_utils.ollama.values import OllamaError
from ..module_utils.openai.client import ApiError, Server

WAIT_SECONDS = 10


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "dict", "default": {}},
            "gpu": {"type": "dict", "default": {}},
            "gpu_percent": {"type": "float", "default": 100},
            "cpu_models": {"type": "list", "elements": "str", "default": []},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "unit": {"type": "str", "default": "ollama.service"},
            "root": {"type": "path", "default": "/opt/ollama/current"},
        },
        supports_check_mode=True,
    )
    try:
        check(module)
    except (ApiError, OllamaError, OSError) as error:
        module.fail_json(msg=str(error))


def check(module: AnsibleModule) -> None:
    """Look at the server and leave the module with what was found."""
    options = module.params
    server = Server(options["url"].rstrip("/"))
    version = api.wait(server, WAIT_SECONDS)
    unit = unit_states(module.run_command, [options["unit"]])[options["unit"]]
    lines = startup_journal(module.run_command, unit.invocation)
    loaded = api.loaded(server)
    cpu_models = {full_name(name) for name in options["cpu_models"]}
    gpu = options["gpu"] or {}
    names = [device.get("name") or "GPU" for device in gpu.get("devices") or []]
    host = GpuHost(gpu.get("vendor"), names, Path(options["root"]) / "lib" / "ollama")
    environment = {name: str(value) for name, value in options["environment"].items()}
    wanted_on_gpu = [model for model in loaded if model.name not in cpu_models]
    problems = [
        *settings_problems(environment, lines),
        *gpu_problems(host, wanted_on_gpu, options["gpu_percent"], environment, lines),
    ]
    result = {
        "version": version,
        "loaded": [{**asdict(model), "gpu_percent": round(model.gpu_percent, 1)} for model in loaded],
        "libraries": libraries(lines),
        "config": parse_config(lines) or {},
        "problems": problems,
    }
    if problems:
        module.fail_json(msg=f"Ollama at {server.url} is not as it should be:\n- " + "\n- ".join(problems), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_plan
version_added: 0.1.0
short_description: Size an Ollama server from what a host really has
description:
  - Decides how many models stay loaded, how many requests are served at once and how many may wait, and says why.
  - One loaded model per 64 GB of RAM, one parallel request per 4 cores, a queue of 1024, each at least 1, bounded by
    memory; weights + parallel × context × bytes of the KV cache per token of the models declared must fit.
  - Values in O(environment) win over planned ones. Those that are risky are warned about.
  - Translates variables that the server no longer reads (C(OLLAMA_MAX_VRAM), C(OLLAMA_NUM_GPU), C(OLLAMA_GPU_LAYERS))
    and warns with both names.
  - Reads the headers of the models' files. It changes nothing.
options:
  environment:
    description: The operator's own variables of the server. Null values are planned.
    type: dict
    default: {}
  models:
    description: The models that the host is to serve.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the model, as O(models_dir) has it.
        type: str
        required: true
      path:
        description: A GGUF file on the host that the model is made from; read when the store does not have the model.
        type: path
      base:
        description: A model that this one is made from; looked up when the store does not have this one.
        type: str
      parameters:
        description: Its parameters; C(num_ctx) and C(num_gpu) count.
        type: dict
  models_dir:
    description: The server's folder of models, C(OLLAMA_MODELS).
    type: path
    default: /usr/share/ollama/.ollama/models
  gpu:
    description:
      - The dictionary that M(llm.serving.gpu_facts) returns as C(ansible_facts.gpu).
      - Without usable devices the plan is for the CPU.
    type: dict
    default: {}
  memory_total_bytes:
    description: RAM of the host.
    type: int
    required: true
  cpu_count:
    description: Number of logical CPUs.
    type: int
    required: true
  deployment:
    description:
      - How the plan is to be put to work, to learn in the same look at the host what that would change.
    type: dict
    suboptions:
      unit:
        description: Content of the systemd unit.
        type: str
        required: true
      unit_file:
        description: The systemd unit.
        type: path
        required: true
      guard:
        description: Content of the program that the unit starts the server by.
        type: str
        default: ""
      guard_file:
        description: Where that program lies.
        type: path
        default: /usr/local/lib/llm-serving/ollama_guard.py
      environment_file:
        description: File with the server's environment.
        type: path
        required: true
      links:
        description: Targets of links, by their paths.
        type: dict
        required: true
      user:
        description: User of the server.
        type: str
        required: true
      groups:
        description: Groups that the user is in.
        type: list
        elements: str
        default: []
      folders:
        description: Folders that have to be there.
        type: list
        elements: path
        default: []
      runs:
        description: Whether the server runs with what was written, and will after a reboot.
        type: bool
        default: true
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
- name: Plan a server
  llm.serving.ollama_plan:
    environment:
      OLLAMA_HOST: 0.0.0.0:11434
      OLLAMA_MAX_VRAM: 60GB
    models:
      - name: qwen2.5:7b
        parameters: {num_ctx: 8192}
    gpu: "{{ ansible_facts.gpu }}"
    memory_total_bytes: "{{ ansible_facts.ollama.memory_total_bytes }}"
    cpu_count: "{{ ansible_facts.ollama.cpu_count }}"
  register: plan

- name: Show why
  ansible.builtin.debug:
    var: plan.reasons
"""

RETURN = r"""
environment:
  description: The whole environment of the server, planned and translated.
  returned: success
  type: dict
  sample: {OLLAMA_HOST: "0.0.0.0:11434", OLLAMA_NUM_PARALLEL: "6", OLLAMA_MAX_LOADED_MODELS: "2"}
environment_text:
  description: The same as the lines of an EnvironmentFile.
  returned: success
  type: str
  sample: "OLLAMA_HOST=0.0.0.0:11434\n"
num_gpu:
  description: The parameter C(num_gpu) of models that set none, translated from C(OLLAMA_GPU_LAYERS).
  returned: success
  type: int
  sample: null
memory:
  description:
    - What the models need of which memory, in bytes. C(fits) is null while no model is known.
    - C(kv_cache_bytes_per_token) is the mean over the model's context. C(exact) is false where layers with a sliding
      window count in full, since which ones they are is not known.
  returned: success
  type: dict
  sample:
    pool: NVIDIA H100 80GB HBM3
    total_bytes: 85520809984
    usable_bytes: 84447068160
    fits: true
    models:
      - name: qwen2.5:7b
        weights_bytes: 4683073184
        kv_cache_bytes_per_token: 57344.0
        context: 8192
        parallel: 6
        need_bytes: 8575356768
        exact: true
reasons:
  description: One sentence per choice.
  returned: success
  type: list
  elements: str
  sample: ["OLLAMA_NUM_PARALLEL=6: one per 4 cores, of 24"]
differences:
  description: What of the host is not as the plan asks for.
  returned: with O(deployment)
  type: list
  elements: str
  sample: [the file /etc/ollama/ollama.env is another]
pending:
  description: Whether anything has to be changed.
  returned: with O(deployment)
  type: bool
remarks:
  description: What was warned about, risky values and old names that were translated.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.difference import Setup
from ..module_utils.ollama.environment import gpus_from, render
from ..module_utils.ollama.gguf import read_shape
from ..module_utils.ollama.plan import Host, Model, plan
from ..module_utils.ollama.store import StoredModel, read_stored
from ..module_utils.ollama.values import OllamaError

DEPLOYMENT = {
    "unit": {"type": "str", "required": True},
    "unit_file": {"type": "path", "required": True},
    "guard": {"type": "str", "default": ""},
    "guard_file": {"type": "path", "default": "/usr/local/lib/llm-serving/ollama_guard.py"},
    "environment_file": {"type": "path", "required": True},
    "links": {"type": "dict", "required": True},
    "user": {"type": "str", "required": True},
    "groups": {"type": "list", "elements": "str", "default": []},
    "folders": {"type": "list", "elements": "path", "default": []},
    "runs": {"type": "bool", "default": True},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "dict", "default": {}},
            "models": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "path"},
                    "base": {"type": "str"},
                    "parameters": {"type": "dict"},
                },
            },
            "models_dir": {"type": "path", "default": "/usr/share/ollama/.ollama/models"},
            "gpu": {"type": "dict", "default": {}},
            "memory_total_bytes": {"type": "int", "required": True},
            "cpu_count": {"type": "int", "required": True},
            "deployment": {"type": "dict", "options": DEPLOYMENT},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        gpu = options["gpu"] or {}
        host = Host(options["memory_total_bytes"], options["cpu_count"], gpu.get("vendor"), gpus_from(gpu))
        models = [model_from(entry, Path(options["models_dir"])) for entry in options["models"]]
        result = plan(host, models, options["environment"])
    except (OllamaError, OSError) as error:
        module.fail_json(msg=str(error))
    for remark in result.warnings:
        module.warn(remark)
    text = render(result.environment)
    try:
        comparison = compare(options["deployment"], text) if options["deployment"] else {}
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, environment_text=text, **comparison, **result.as_dict())


def compare(deployment: Mapping[str, Any], environment_text: str) -> dict[str, Any]:
    """Hold the host against what the plan asks for."""
    unit, environment = Path(deployment["unit_file"]), Path(deployment["environment_file"])
    guard = {Path(deployment["guard_file"]): deployment["guard"]} if deployment["guard"] else {}
    setup = Setup(
        user=deployment["user"],
        groups=deployment["groups"],
        folders=[Path(path) for path in deployment["folders"]],
        files={unit: deployment["unit"], environment: environment_text, **guard},
        modes={unit: 0o644, environment: 0o640, **dict.fromkeys(guard, 0o644)},
        links={Path(path): str(target) for path, target in deployment["links"].items()},
    )
    found = setup.differences()
    found += [] if deployment["runs"] else ["the server does not run with what was written, or not after a reboot"]
    return {"differences": found, "pending": bool(found)}


def model_from(entry: Mapping[str, Any], models_dir: Path) -> Model:
    """Look a model up in the store, else the file or the model that it is made from."""
    stored = read_stored(models_dir, entry["name"])
    if stored is None and entry["base"]:
        stored = read_stored(models_dir, entry["base"])
    if stored is None and entry["path"] and Path(entry["path"]).is_file():
        stored = StoredModel(read_shape(Path(entry["path"])))
    parameters = {**(stored.parameters if stored else {}), **(entry["parameters"] or {})}
    return Model(
        entry["name"],
        stored.shape if stored else None,
        whole(entry["name"], parameters, "num_ctx"),
        whole(entry["name"], parameters, "num_gpu"),
        stored.companion_bytes if stored else 0,
    )


def whole(model: str, parameters: Mapping[str, Any], name: str) -> int | None:
    """Return a number that may have been written as text. Raises OllamaError for what is none."""
    value = parameters.get(name)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        raise OllamaError(f"{model}: expected {name} as a whole number, found {value!r}") from None


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
version_added: 0.1.0
short_description: Pull, create and delete models of an Ollama server
description:
  - Brings models of a running server into the wanted state by the server's own API.
  - A model of a registry is the wanted one when it has the pinned digest, or, without one, when it is there.
    A model created from a GGUF file, a Modelfile or another model is when neither its recipe nor the digest that came
    of it has changed since; both are on record in O(record).
  - A pull that is cut off goes on where it stopped, here or in the next run.
  - Progress is written to the host's journal while it runs (C(journalctl -t ansible-llm.serving.ollama_model -f)) and
    returned as RV(progress).
options:
  models:
    description: The models, in the order in which they are to be made.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the model, with a registry and a tag if need be, as in C(host:5000/team/model:tag).
        type: str
        required: true
      state:
        description:
          - V(present) pulls or creates the model unless it is there.
          - V(latest) asks the registry in every run whether it has another one by that name.
          - V(absent) deletes it.
        type: str
        choices: [present, latest, absent]
        default: present
      digest:
        description:
          - SHA-256 that the model must have, at least its first 12 digits, as C(ollama list) shows them.
          - A model with another digest is pulled; when the registry has another one as well, that is a failure.
        type: str
      from:
        description:
          - The model that this one is made from, or the absolute path of a GGUF file on the host.
          - A model that is not there is pulled.
        type: str
      modelfile:
        description: Text of a Modelfile, instead of O(models[].from).
        type: str
      parameters:
        description:
          - Parameters such as C(num_ctx), C(num_gpu), C(temperature) or C(stop).
          - A model that is pulled under its own name is made anew with them under that name.
        type: dict
      template:
        description: Prompt template of a model that is created.
        type: str
      system:
        description: System prompt of a model that is created.
        type: str
      quantize:
        description: Quantization to make of a model with 16 or 32 bits, such as V(q4_K_M).
        type: str
      insecure:
        description: Whether to speak plain HTTP, or trust any certificate, with the registry of this model.
        type: bool
        default: false
  url:
    description: URL of the server.
    type: str
    default: http://127.0.0.1:11434
  record:
    description: File on the host that remembers what was created from what.
    type: path
    default: /var/lib/llm-serving/ollama-models.json
  wait_seconds:
    description: Seconds to wait for the server to answer.
    type: float
    default: 30
  retries:
    description: How often a pull that is cut off goes on at once.
    type: int
    default: 3
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    details: With O(models[].state=latest), what the registry has is only known after pulling.
  diff_mode:
    support: full
  platform:
    platforms: posix
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Have two models
  llm.serving.ollama_model:
    models:
      - name: qwen2.5:7b
        digest: 845dbda0ea48
      - name: qwen-long
        from: qwen2.5:7b
        parameters: {num_ctx: 32768}

- name: Create a model from a file of the host, with all layers on the CPU
  llm.serving.ollama_model:
    models:
      - name: house
        from: /srv/models/house.gguf
        system: You answer in one sentence.
        parameters: {num_gpu: 0}
"""

RETURN = r"""
models:
  description: What was done to each model, in the order of O(models).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Full name.
      type: str
    changed:
      description: Whether it was changed.
      type: bool
    action:
      description: V(present), V(absent), V(pulled), V(created), V(parameters set) or V(deleted).
      type: str
    before:
      description: Name, digest and size before, null where there was none.
      type: dict
    after:
      description: The same afterwards. In check mode, a digest that is not known yet is null.
      type: dict
    transferred_bytes:
      description:
        - What was fetched or given to the server.
        - After a pull that an earlier run left, with what that one had fetched.
      type: int
    resumed_bytes:
      description: What was there already when a pull that was cut off went on in this run.
      type: int
progress:
  description: What happened, line by line.
  returned: success
  type: list
  elements: str
  sample: ["qwen2.5:7b: 10 % of 4683 MB (2bada8a74506, 110 MB/s)"]
version:
  description: Version of the server.
  returned: success
  type: str
  sample: 0.32.15
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ollama.api import wait
from ..module_utils.ollama.models import Manager, Outcome, Records, wish_from
from ..module_utils.ollama.values import OllamaError
from ..module_utils.openai.client import ApiError, Server

MODEL_OPTIONS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
    "digest": {"type": "str"},
    "from": {"type": "str"},
    "modelfile": {"type": "str"},
    "parameters": {"type": "dict"},
    "template": {"type": "str"},
    "system": {"type": "str"},
    "quantize": {"type": "str"},
    "insecure": {"type": "bool", "default": False},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "dict", "required": True, "options": MODEL_OPTIONS},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "record": {"type": "path", "default": "/var/lib/llm-serving/ollama-models.json"},
            "wait_seconds": {"type": "float", "default": 30},
            "retries": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    options = module.params
    server = Server(options["url"].rstrip("/"))
    progress: list[str] = []

    def say(line: str) -> None:
        progress.append(line)
        if not module.check_mode:
            module.log(line)

    try:
        wishes = [wish_from(entry) for entry in options["models"]]
        version = wait(server, options["wait_seconds"])
        records = Records(Path(options["record"]))
        outcomes = Manager(server, records, module.check_mode, say, options["retries"]).apply(wishes)
    except (ApiError, OllamaError, OSError) as error:
        module.fail_json(msg=str(error), progress=progress)
    changed = [outcome for outcome in outcomes if outcome.changed]
    module.exit_json(
        changed=bool(changed),
        models=[outcome.as_dict() for outcome in outcomes],
        progress=progress,
        version=version,
        diff=[diff(outcome) for outcome in changed],
    )


def diff(outcome: Outcome) -> dict[str, object]:
    """What changes, for --diff."""
    return {
        "before_header": outcome.name,
        "after_header": f"{outcome.name} ({outcome.action})",
        "before": outcome.before or {},
        "after": outcome.after or {},
    }


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: generation
version_added: 0.1.0
short_description: Keep what served well on a host, and bring it back
description:
  - A generation is a copy of an engine's configuration on a host, with the name of the engine and of the models that it
    needs. Generations lie in C(/var/lib/llm-serving/generations), which is root's alone, and have numbers.
  - Bringing one back needs no network; only units whose process was started with something else are restarted.
options:
  service:
    description: Which engine.
    type: str
    choices: [vllm, ollama]
    required: true
  state:
    description:
      - V(recorded) keeps what the host has now, unless the current generation is the same.
      - V(restored) puts the host back to a generation.
    type: str
    choices: [recorded, restored]
    required: true
  number:
    description:
      - The generation to bring back. By default it is the one before the current.
      - V(0) is the current one, which is what a change that failed is to be undone to.
    type: int
  keep:
    description: How many generations to keep, the current one included.
    type: int
    default: 3
  probes:
    description: How to see that the generation serves, as options of M(llm.serving.openai_probe). Kept with it.
    type: list
    elements: dict
    default: []
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
- name: Keep what serves now
  llm.serving.generation:
    service: vllm
    state: recorded
    keep: 5

- name: Go back to the generation before
  llm.serving.generation:
    service: vllm
    state: restored
"""

RETURN = r"""
generation:
  description: The generation that the host has now.
  returned: success
  type: dict
  sample:
    number: 7
    recorded: "2026-11-24T12:00:00Z"
    engine: 0.33.0-cuda
    needs: [/opt/vllm/0.33.0-cuda, /srv/models/Qwen/Qwen2.5-32B-Instruct/5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd]
    units: [vllm@qwen32b.service]
    probes: []
actions:
  description: What was done to each unit, V(unchanged), V(started), V(restarted) or V(removed).
  returned: when O(state=restored)
  type: dict
  sample: {vllm@qwen32b.service: restarted}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.generations import GenerationError, Store
from ..module_utils.changes.services import service


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "choices": ["vllm", "ollama"], "required": True},
            "state": {"type": "str", "choices": ["recorded", "restored"], "required": True},
            "number": {"type": "int"},
            "keep": {"type": "int", "default": 3},
            "probes": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    store = Store(service(module.params["service"]), run=module.run_command)
    try:
        result = restored(module, store) if module.params["state"] == "restored" else recorded(module, store)
    except (GenerationError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def recorded(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Keep what is there."""
    before = store.current()
    if module.check_mode:
        return {"changed": not store.is_recorded(), "generation": before.summary() if before else None}
    now = store.record(module.params["keep"], module.params["probes"])
    return {"changed": before is None or before.number != now.number, "generation": now.summary()}


def restored(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Go back."""
    number, current = module.params["number"], store.current()
    if number == 0:
        if current is None:
            raise GenerationError("nothing was recorded yet that this host could be put back to")
        number = current.number
    wanted = store.choose(number)
    actions = store.restore(wanted, dry=module.check_mode)
    changed = wanted != current or any(action != "unchanged" for action in actions.values())
    return {"changed": changed, "generation": wanted.summary(), "actions": actions}


if __name__ == "__main__":
    main()

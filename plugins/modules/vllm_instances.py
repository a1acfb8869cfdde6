#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_instances
version_added: 0.1.0
short_description: Keep a host's vLLM instances as they should be
description:
  - Writes the template unit, and for every instance the YAML file that vLLM reads by C(--config) and the environment
    file that systemd reads; starts, restarts, stops and removes units.
  - An instance is restarted only when its own effective configuration changed, that is its two files, the unit and the
    engine. A run that was interrupted before a restart is made good by the next one.
  - Everything is checked before anything is written, so that a mistake in one instance leaves all of them running.
options:
  instances:
    description: All instances of the host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the instance, C(vllm@<name>.service).
        type: str
        required: true
      config:
        description: Long options of vLLM without the dashes.
        type: dict
        required: true
      environment:
        description: Variables for the engine. No secrets, since these are shown in diffs.
        type: dict
        default: {}
      secrets:
        description: Variables for the engine that are never shown.
        type: dict
        default: {}
  unit:
    description: Content of the template unit C(vllm@.service). Without it the unit is left as it is.
    type: str
    default: ""
  guard:
    description: Content of the program that the unit starts engines by. Without it the program is left as it is.
    type: str
    default: ""
  guard_file:
    description: Where that program lies.
    type: path
    default: /usr/local/lib/llm-serving/vllm_guard.py
  engine:
    description: Which engine the instances are to run; another one restarts them.
    type: str
    default: ""
  link:
    description: Link that the unit starts the engine by. Without it no link is touched.
    type: path
  link_target:
    description: What O(link) is to point to.
    type: str
  options_file:
    description:
      - File with the names of the options that the engine knows, one a line. Options that are not in it are refused.
      - Without the file nothing is checked.
    type: path
  config_dir:
    description: Folder of the instances' files.
    type: path
    default: /etc/vllm
  unit_dir:
    description: Folder of the template unit.
    type: path
    default: /etc/systemd/system
  group:
    description: Group that may read the YAML files. The environment files are root's alone.
    type: str
    default: vllm
  remove_others:
    description: Whether to remove instances that this module set up before and that are not in O(instances) any more.
    type: bool
    default: true
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Values of secrets are left out.
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Keep one instance
  llm.serving.vllm_instances:
    instances:
      - name: qwen32b
        config:
          model: /srv/models/Qwen/Qwen2.5-32B-Instruct/5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd
          served-model-name: qwen32b
          port: 8010
        environment:
          HF_HUB_OFFLINE: "1"
        secrets:
          VLLM_API_KEY: "{{ vault_vllm_api_key }}"
    unit: "{{ lookup('ansible.builtin.template', 'vllm@.service.j2') }}"
    engine: 0.33.0-cuda
"""

RETURN = r"""
actions:
  description: What was done to each instance, V(unchanged), V(started), V(restarted) or V(removed).
  returned: success
  type: dict
  sample: {qwen32b: restarted, small: unchanged}
problems:
  description: What is wrong with the instances.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engines.keeper import OPTIONS, Keeper, Wanted


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "instances": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "config": {"type": "dict", "required": True},
                    "environment": {"type": "dict", "default": {}},
                    "secrets": {"type": "dict", "default": {}, "no_log": True},
                },
            },
            **OPTIONS,
            "remove_others": {"type": "bool", "default": True},
        },
        required_together=[("link", "link_target")],
        supports_check_mode=True,
    )
    options = module.params
    wanted = Wanted.read(options["instances"], options, remove_others=options["remove_others"])
    keeper = Keeper(module, wanted, dry=module.check_mode)
    problems = keeper.problems()
    if problems:
        module.fail_json(msg="nothing was changed: " + "; ".join(problems), problems=problems)
    try:
        actions = keeper.keep()
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=keeper.changed, actions=actions, diff=keeper.diffs)


if __name__ == "__main__":
    main()

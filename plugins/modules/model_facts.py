#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_facts
version_added: 0.1.0
short_description: Describe the models that a host has, in few kilobytes
description:
  - Reads the configuration and the headers of the weights of model directories, so that a plan can be made elsewhere.
  - It changes nothing, and reads no weights.
options:
  models:
    description: The models to look for.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What to call it in the result.
        type: str
        required: true
      model:
        description: A directory, or a repository of the Hub that is looked for below O(root).
        type: str
        required: true
      revision:
        description: Branch, tag or commit of the repository.
        type: str
        default: main
  root:
    description: Folder that the role C(llm.serving.models) keeps models in.
    type: path
    default: /srv/models
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
- name: Describe a model
  llm.serving.model_facts:
    models:
      - name: qwen32b
        model: Qwen/Qwen2.5-32B-Instruct
        revision: main
  register: found
"""

RETURN = r"""
models:
  description: By name what the model is, or null where the host does not have it.
  returned: success
  type: dict
  contains:
    path:
      description: Its directory.
      type: str
      returned: when it is there
    config:
      description: Its config.json.
      type: dict
      returned: when it is there
    checkpoint:
      description: Sizes of its tensors, those that are alike told once; null when no weights are there.
      type: dict
      returned: when it is there
problems:
  description: By name why a model that is there cannot be read.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.sizing.description import describe_directory, find_directory
from ..module_utils.sizing.errors import SizingError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "models": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "model": {"type": "str", "required": True},
                    "revision": {"type": "str", "default": "main"},
                },
            },
            "root": {"type": "path", "default": "/srv/models"},
        },
        supports_check_mode=True,
    )
    found, problems = {}, {}
    for entry in module.params["models"]:
        name = entry["name"]
        directory = find_directory(entry["model"], entry["revision"] or "main", module.params["root"])
        found[name] = None
        if directory is None:
            continue
        try:
            found[name] = describe_directory(directory)
        except (SizingError, OSError) as error:
            problems[name] = str(error)
    module.exit_json(changed=False, models=found, problems=problems)


if __name__ == "__main__":
    main()

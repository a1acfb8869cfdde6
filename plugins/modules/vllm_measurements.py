#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_measurements
version_added: 0.1.0
short_description: Keep what vLLM took at its first start
description:
  - Notes on the host how much memory each configuration was seen to need beside weights and KV cache, for
    M(llm.serving.vllm_plan) to use in later runs. What is noted once stays, so that plans do not swing.
options:
  measurements:
    description: Dictionaries with C(overhead_bytes) and whatever else was logged, by signature.
    type: dict
    required: true
  config_dir:
    description: Folder of the instances' files, which the notes are kept in.
    type: path
    default: /etc/vllm
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
- name: Note what was measured
  llm.serving.vllm_measurements:
    measurements:
      5a0e3c: {overhead_bytes: 1610612736}
"""

RETURN = r"""
added:
  description: Signatures that nothing was noted of before.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.measurements import add


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "measurements": {"type": "dict", "required": True},
            "config_dir": {"type": "path", "default": "/etc/vllm"},
        },
        supports_check_mode=True,
    )
    try:
        added = add(Path(module.params["config_dir"]), module.params["measurements"], dry=module.check_mode)
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(added), added=added)


if __name__ == "__main__":
    main()

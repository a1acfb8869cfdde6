#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: unit
version_added: 0.1.0
short_description: Keep a unit of systemd running with what its files say
description:
  - Enables a unit, starts it, and starts it anew when it became active before one of its files was written.
  - M(ansible.builtin.systemd_service) with a handler, or with C(restarted) where a task before it has changed a file,
    forgets the restart when the run ends between the two. The next run of this module makes it.
options:
  name:
    description: The unit, such as C(llm-mirror.service).
    type: str
    required: true
  files:
    description: What it reads at its start, besides its own files and their drop-ins.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    details: A unit that is not there yet counts as changed in check mode.
  diff_mode:
    support: none
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Write the exporter's arguments
  ansible.builtin.copy:
    content: 'ARGS="--web.listen-address=10.0.0.5:9100"'
    dest: /etc/default/prometheus-node-exporter
    mode: "0644"

- name: Run the exporter with them
  llm.serving.unit:
    name: prometheus-node-exporter.service
    files: [/etc/default/prometheus-node-exporter]
"""

RETURN = r"""
actions:
  description: What systemctl was told to do, in this order.
  returned: always
  type: list
  elements: str
  sample: [daemon-reload, enable, start]
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.unit import due_actions, started_seconds
from ..module_utils.engines.systemd import unit_states

JOURNAL_LINES = 20


def systemctl(module: AnsibleModule, action: str, name: str) -> None:
    """Do it, or leave the module with what the unit logged."""
    words = ["systemctl", action] if action == "daemon-reload" else ["systemctl", action, "--", name]
    code, _out, err = module.run_command(words)
    if code:
        journal = module.run_command(["journalctl", "--no-pager", f"--lines={JOURNAL_LINES}", f"--unit={name}"])[1]
        said = f"{name}: «{' '.join(words)}» ended with {code}: {err.strip()}"
        module.fail_json(msg=f"{said}\nMore: journalctl -u {name}", journal=journal.splitlines())


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    try:
        state = unit_states(module.run_command, [name])[name]
    except OSError as error:
        module.fail_json(msg=f"{name}: {error}")
    if state.load != "loaded" and not module.check_mode:
        module.fail_json(msg=f"{name}: expected a unit of this host, found none by that name, or one that is masked")
    files = [Path(path) for path in module.params["files"]]
    actions = due_actions(state, files, started_seconds(state), time.time())
    if not module.check_mode:
        for action in actions:
            systemctl(module, action, name)
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()

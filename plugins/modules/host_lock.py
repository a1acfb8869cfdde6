#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_lock
version_added: 0.1.0
short_description: Let one run at a time change a host
description:
  - Holds a lock on the host for this run of C(ansible-playbook), until the run gives it back.
  - A lock is taken over when the run that held it is over; on the same control node because its process is gone, from
    elsewhere because its session on the host is and it has not been renewed for ten minutes.
options:
  state:
    description: Whether this run holds the lock. V(held) again renews it.
    type: str
    choices: [held, released]
    required: true
  user:
    description: Who runs this. Set by the action plugin.
    type: str
  node:
    description: The control node. Set by the action plugin.
    type: str
  pid:
    description: The process of this run. Set by the action plugin.
    type: int
  over:
    description: The process of a run on the same control node that is over. Set by the action plugin.
    type: int
  path:
    description: The lock.
    type: path
    default: /run/llm-serving/lock
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.action
attributes:
  check_mode:
    support: full
    details: Takes no lock in check mode.
  diff_mode:
    support: none
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Change a host as the only one who does
  block:
    - name: Hold the host
      llm.serving.host_lock:
        state: held

    - name: Change it
      ansible.builtin.command: /usr/local/bin/change
      changed_when: true  # whatever it is that you change
  always:
    - name: Let the host go
      llm.serving.host_lock:
        state: released
"""

RETURN = r"""
holder:
  description: Who holds the lock.
  returned: failure
  type: dict
  sample: {user: anna, node: control1, pid: 4711, since: 1766000000.0}
taken_over:
  description: Whose lock it was, when that run was over without giving it back.
  returned: when that is so
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.lock import LockedError, current_holder, hold, release


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["held", "released"], "required": True},
            "user": {"type": "str"},
            "node": {"type": "str"},
            "pid": {"type": "int"},
            "over": {"type": "int"},
            "path": {"type": "path", "default": "/run/llm-serving/lock"},
        },
        required_together=[("user", "node", "pid")],
        supports_check_mode=True,
    )
    place = Path(module.params["path"])
    run = (module.params["user"] or "", module.params["node"] or "", module.params["pid"] or 0)
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        if module.params["state"] == "released":
            release(*run, place=place)
            module.exit_json(changed=False)
        former = hold(*run, over=module.params["over"], place=place)
    except LockedError as error:
        found = current_holder(place)
        module.fail_json(msg=str(error), holder=found.as_dict() if found else None)
    except OSError as error:
        module.fail_json(msg=f"{place}: {error}")
    module.exit_json(changed=False, **({"taken_over": former.describe()} if former else {}))


if __name__ == "__main__":
    main()

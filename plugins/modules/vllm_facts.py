#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_facts
version_added: 0.1.0
short_description: Gather what a host has of vLLM, and what it has for it
description:
  - Returns in C(ansible_facts.vllm) which engines are installed, which instances exist and run, who listens on the
    ports that instances are to have, and the host's memory, processors and free disk space.
  - It is one look at the host that the role C(llm.serving.vllm) bases its decisions on.
options:
  root:
    description: Folder with the engines' versioned folders.
    type: path
    default: /opt/vllm
  config_dir:
    description: Folder with the instances' configuration.
    type: path
    default: /etc/vllm
  user:
    description: User that the engines run as.
    type: str
    default: vllm
  python:
    description: Python interpreter that engines are to be built with.
    type: str
    default: python3
  ports:
    description: Ports to look at.
    type: list
    elements: int
    default: []
  paths:
    description: Folders of models that are to be there.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: See what is there
  llm.serving.vllm_facts:
    ports: [8010]

- name: Show who listens on the port
  ansible.builtin.debug:
    var: ansible_facts.vllm.listeners
"""

RETURN = r"""
ansible_facts:
  description: What is there.
  returned: always
  type: dict
  contains:
    vllm:
      description: What the host has of vLLM, and for it.
      type: dict
      sample:
        engines: [{name: 0.33.0-cuda, build: 5d0f…}]
        current: 0.33.0-cuda
        user_exists: true
        instances:
          - {name: qwen32b, active: active, sub: running, enabled: enabled}
        listeners:
          - {port: 8010, unit: vllm@qwen32b.service, process: vllm, pid: 4711}
        python_version: 3.11.2
        machine: x86_64
        package_manager: apt
        memory_total_bytes: 540000000000
        memory_available_bytes: 520000000000
        cpu_count: 64
        numa_nodes: 2
        free_bytes: {/opt/vllm: 80000000000}
        missing_paths: []
"""

import os
import platform
import pwd
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engines.installed import current_engine, free_bytes, installed_engines
from ..module_utils.engines.instances import existing_instances
from ..module_utils.engines.listeners import listeners
from ..module_utils.engines.systemd import unit_states

NUMA = Path("/sys/devices/system/node")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/vllm"},
            "config_dir": {"type": "path", "default": "/etc/vllm"},
            "user": {"type": "str", "default": "vllm"},
            "python": {"type": "str", "default": "python3"},
            "ports": {"type": "list", "elements": "int", "default": []},
            "paths": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, ansible_facts={"vllm": gather(module)})
    except OSError as error:
        module.fail_json(msg=f"this host could not be looked at: {error}")


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host."""
    root = Path(module.params["root"])
    memory = memory_bytes()
    return {
        "engines": [engine.as_dict() for engine in installed_engines(root)],
        "current": current_engine(root),
        "user_exists": has_user(module.params["user"]),
        "instances": instances(module),
        "listeners": [listener.as_dict() for listener in listeners(module.params["ports"])],
        "python_version": python_version(module),
        "machine": platform.machine(),
        "package_manager": "dnf" if shutil.which("dnf") else "apt",
        "memory_total_bytes": memory["MemTotal"],
        "memory_available_bytes": memory["MemAvailable"],
        "cpu_count": len(os.sched_getaffinity(0)),
        "numa_nodes": len(list(NUMA.glob("node[0-9]*"))) or 1,
        "free_bytes": {str(root): free_bytes(root)},
        "missing_paths": [path for path in module.params["paths"] if not Path(path).is_dir()],
    }


def instances(module: AnsibleModule) -> list[dict[str, str]]:
    """Return the instances that exist, and what systemd says of each."""
    names = existing_instances(Path(module.params["config_dir"]))
    states = unit_states(module.run_command, [f"vllm@{name}.service" for name in names])
    return [
        {"name": name, "active": state.active, "sub": state.sub, "enabled": state.enabled}
        for name, state in zip(names, states.values())
    ]


def has_user(name: str) -> bool:
    """Tell whether a user exists."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def python_version(module: AnsibleModule) -> str | None:
    """Return the version of the interpreter to build with, None where there is none."""
    code = "import platform; print(platform.python_version())"
    path = shutil.which(module.params["python"])
    result = module.run_command([path, "-c", code]) if path else (1, "", "")
    return result[1].strip() if result[0] == 0 else None


def memory_bytes() -> dict[str, int]:
    """Return the kernel's figures."""
    pairs = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


if __name__ == "__main__":
    main()

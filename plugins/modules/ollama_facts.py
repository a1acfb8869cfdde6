#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_facts
version_added: 0.1.0
short_description: Gather what a host has of Ollama, and what it has for it
description:
  - Returns in C(ansible_facts.ollama) which releases are installed, which one is in service, who listens on the port
    that the server is to have, and the host's memory, processors and architecture.
  - It is one look at the host that the role C(llm.serving.ollama) bases its decisions on.
options:
  root:
    description: Folder with the releases' versioned folders.
    type: path
    default: /opt/ollama
  user:
    description: User that the server runs as.
    type: str
    default: ollama
  unit:
    description: The server's systemd unit.
    type: str
    default: ollama.service
  environment_file:
    description: File with the server's environment.
    type: path
    default: /etc/ollama/ollama.env
  host:
    description: Where the server is to listen, as C(OLLAMA_HOST) has it.
    type: str
    default: 127.0.0.1:11434
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.facts
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
- name: See what is there
  llm.serving.ollama_facts:
    host: 0.0.0.0:11434

- name: Show the release in service
  ansible.builtin.debug:
    var: ansible_facts.ollama.current
"""

RETURN = r"""
ansible_facts:
  description: What is there.
  returned: always
  type: dict
  contains:
    ollama:
      description: What the host has of Ollama, and for it.
      type: dict
      sample:
        versions: ["0.32.14", "0.32.15"]
        current: "0.32.15"
        unit_exists: true
        active: true
        environment_exists: true
        user_exists: true
        groups: [render, video]
        port: 11434
        url: http://127.0.0.1:11434
        listeners: [{port: 11434, unit: ollama.service, process: ollama, pid: 4711}]
        architecture: amd64
        distribution: {id: debian, version: "12", family: debian, problem: ""}
        jetpack: null
        has_zstd: true
        memory_total_bytes: 540000000000
        cpu_count: 64
        enabled: true
        since: Mon 2026-11-23 08:00:01 UTC
        is_stale: false
        generation: {number: 7, recorded: "2026-11-24T12:00:00Z", engine: 0.32.15}
        is_recorded: true
        needs: [/opt/ollama/0.32.15]
        lock: null
"""

import grp
import os
import platform
import pwd
import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.difference import is_stale
from ..module_utils.changes.generations import Store
from ..module_utils.changes.lock import current_holder
from ..module_utils.changes.services import service
from ..module_utils.engines.listeners import listeners
from ..module_utils.engines.systemd import unit_states
from ..module_utils.ollama.release import installed
from ..module_utils.ollama.values import OllamaError, address, url
from ..module_utils.support.distributions import distribution_facts

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
GROUPS = ("render", "video")
TEGRA_RELEASE = Path("/etc/nv_tegra_release")
JETPACKS = {"35": 5, "36": 6}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/ollama"},
            "user": {"type": "str", "default": "ollama"},
            "unit": {"type": "str", "default": "ollama.service"},
            "environment_file": {"type": "path", "default": "/etc/ollama/ollama.env"},
            "host": {"type": "str", "default": "127.0.0.1:11434"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, ansible_facts={"ollama": gather(module)})
    except (OSError, OllamaError) as error:
        module.fail_json(msg=str(error))


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host."""
    root = Path(module.params["root"])
    _host, port = address(module.params["host"])
    state = unit_states(module.run_command, [module.params["unit"]])[module.params["unit"]]
    store = Store(service("ollama"))
    current_generation, holder = store.current(), current_holder()
    return {
        "versions": installed(root),
        "current": current(root),
        "unit_exists": state.load == "loaded",
        "active": state.is_active,
        "environment_exists": Path(module.params["environment_file"]).is_file(),
        "user_exists": has(pwd.getpwnam, module.params["user"]),
        "groups": [name for name in GROUPS if has(grp.getgrnam, name)],
        "port": port,
        "url": url(module.params["host"]),
        "listeners": [listener.as_dict() for listener in listeners([port])],
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "jetpack": jetpack(),
        "distribution": distribution_facts(),
        "has_zstd": module.get_bin_path("zstd") is not None,
        "memory_total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cpu_count": len(os.sched_getaffinity(0)),
        "enabled": state.enabled == "enabled",
        "since": state.active_since if state.is_active else None,
        "is_stale": state.is_active and is_stale(state.main_pid, [service("ollama").link, *service("ollama").files()]),
        "generation": current_generation.summary() if current_generation else None,
        "is_recorded": store.is_recorded(),
        "needs": sorted({path for generation in store.all() for path in generation.needs}),
        "lock": holder.as_dict() if holder else None,
    }


def current(root: Path) -> str | None:
    """Return the release in service."""
    link = root / "current"
    return link.resolve().name if link.is_symlink() else None


def has(find: Any, name: str) -> bool:
    """Tell whether a user or group exists."""
    try:
        find(name)
    except KeyError:
        return False
    return True


def jetpack() -> int | None:
    """Return the major version of JetPack that Ollama has libraries for; None elsewhere."""
    try:
        match = re.search(r"R(\d+)", TEGRA_RELEASE.read_text())
    except OSError:
        return None
    return JETPACKS.get(match[1]) if match else None


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: serving_status
version_added: 0.1.0
short_description: One look at the inference servers of a host
description:
  - Returns, for every unit of vLLM and Ollama, what systemd says, the last lines of its journal and what they mean, who
    listens on which port, which models it has, what it works on and how much memory it takes.
  - RV(report) is the same as text for people.
  - With O(follow=true) the report is printed at once and new lines of the journals as they come, each after the host's
    name, until O(follow_seconds) are over or the run is interrupted.
options:
  units:
    description: Units to look at, as names or patterns of systemd.
    type: list
    elements: str
    default: [ollama.service, vllm@*.service]
  lines:
    description: How many lines of each journal to return.
    type: int
    default: 20
  after:
    description: Cursors of the journals, by unit, as RV(units) has them; only lines after them are returned.
    type: dict
    default: {}
  follow:
    description: Whether to go on printing new lines.
    type: bool
    default: false
  follow_seconds:
    description: When to stop following; V(0) never does.
    type: float
    default: 0
  interval_seconds:
    description: How often to look for new lines.
    type: float
    default: 2
extends_documentation_fragment:
  - llm.serving.attributes
  - llm.serving.attributes.action
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
- name: Look at the servers
  llm.serving.serving_status:
    lines: 50
  register: status

- name: Show it
  ansible.builtin.debug:
    msg: "{{ status.report }}"
"""

RETURN = r"""
report:
  description: Everything as text.
  returned: success
  type: str
memory:
  description: RAM of the host in bytes.
  returned: success
  type: dict
  sample: {total_bytes: 540000000000, available_bytes: 520000000000}
gpus:
  description: The cards, as M(llm.serving.gpu_facts) returns them.
  returned: success
  type: list
  elements: dict
units:
  description: The units.
  returned: success
  type: list
  elements: dict
  sample:
    - name: ollama.service
      engine: ollama
      active: active
      sub: running
      since: Mon 2026-11-23 08:00:01 UTC
      restarts: 0
      memory_bytes: 812000000
      listens: ["127.0.0.1:11434 by ollama (pid 4711), reachable from this host only"]
      answers: true
      models: [qwen2.5:7b (4.7 GB, 845dbda0ea48)]
      work: ["loaded: qwen2.5:7b, 6.0 GB, 100 % on the GPU, context 8192"]
      notes: []
      log: ["…"]
      cursor: "s=…"
"""

import platform
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engines.sockets import Socket, connections, listening, memory_by_unit, unit_of
from ..module_utils.engines.systemd import UnitState, recent_journal, unit_states
from ..module_utils.gpu import facts as gpu_facts
from ..module_utils.status.engines import Voice, ask_ollama, ask_vllm
from ..module_utils.status.report import render

GPU_SOURCES = ["nvml", "nvidia-smi", "sysfs"]
GPU_TIMEOUT_SECONDS = 5.0
CURSOR = "-- cursor: "
JOURNAL = ("journalctl", "--no-pager", "--quiet", "--output=short-iso", "--show-cursor")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": ["ollama.service", "vllm@*.service"]},
            "lines": {"type": "int", "default": 20},
            "after": {"type": "dict", "default": {}},
            "follow": {"type": "bool", "default": False},
            "follow_seconds": {"type": "float", "default": 0},
            "interval_seconds": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    try:
        names = known_units(module)
        if module.params["after"]:
            module.exit_json(changed=False, units=[new_lines(module, name) for name in names])
        status = {"memory": memory(), "gpus": cards(), "units": look(module, names)}
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, report=render(platform.node(), status), **status)


def known_units(module: AnsibleModule) -> list[str]:
    """Return the units that systemd knows by these patterns."""
    command = [
        "systemctl",
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "--no-pager",
        "--",
        *module.params["units"],
    ]
    _code, out, _err = module.run_command(command)
    return [row.split()[0] for row in out.splitlines() if row.strip()]


def look(module: AnsibleModule, names: list[str]) -> list[dict[str, Any]]:
    """Look at every unit."""
    states = unit_states(module.run_command, names)
    memory_bytes = memory_by_unit(names)
    by_unit: dict[str, list[Socket]] = {}
    for socket in listening(module.run_command):
        by_unit.setdefault(unit_of(socket.pid), []).append(socket)
    return [describe(module, states[name], by_unit.get(name, []), memory_bytes[name]) for name in names]


def describe(module: AnsibleModule, state: UnitState, sockets: list[Socket], memory_bytes: int) -> dict[str, Any]:
    """Return one unit as plain data."""
    engine = "vllm" if state.unit.startswith("vllm") else "ollama"
    history = recent_journal(module.run_command, state.unit)
    voice = ask(module, engine, sockets, history, state)
    log, cursor = journal(module, state.unit, [f"--lines={module.params['lines']}"])
    return {
        "name": state.unit,
        "engine": engine,
        "active": state.active,
        "sub": state.sub,
        "since": state.active_since,
        "restarts": state.restarts,
        "memory_bytes": memory_bytes,
        "listens": [socket.describe() for socket in sockets],
        "log": log,
        "cursor": cursor,
        **vars(voice),
    }


def ask(module: AnsibleModule, engine: str, sockets: list[Socket], history: list[str], state: UnitState) -> Voice:
    """Ask the engine itself, by the ports that it listens on."""
    urls = [socket.url for socket in sockets if engine == "vllm" or socket.process == "ollama"]
    if engine == "vllm":
        return ask_vllm(urls, history, state.is_active)
    ports = [socket.port for socket in sockets if socket.process == "ollama"]
    return ask_ollama(urls, history, connections(module.run_command, ports))


def new_lines(module: AnsibleModule, name: str) -> dict[str, Any]:
    """Return what a unit logged after the cursor."""
    after = module.params["after"].get(name)
    log, cursor = journal(module, name, [f"--after-cursor={after}"] if after else ["--lines=1"])
    return {"name": name, "log": log, "cursor": cursor or after}


def journal(module: AnsibleModule, unit: str, options: list[str]) -> tuple[list[str], str | None]:
    """Return lines of a unit's journal and the cursor after them."""
    _code, out, _err = module.run_command([*JOURNAL, f"--unit={unit}", *options])
    lines = out.splitlines()
    if lines and lines[-1].startswith(CURSOR):
        return lines[:-1], lines[-1][len(CURSOR) :]
    return lines, None


def memory() -> dict[str, int]:
    """Return the kernel's figures."""
    rows = (row.split(":") for row in Path("/proc/meminfo").read_text().splitlines())
    figures = {name: int(value.split()[0]) * 1024 for name, value in rows}
    return {"total_bytes": figures["MemTotal"], "available_bytes": figures["MemAvailable"]}


def cards() -> list[dict[str, Any]]:
    """Return the GPUs."""
    found: dict[str, Any] = gpu_facts.gather(gpu_facts.Host(), GPU_SOURCES, GPU_TIMEOUT_SECONDS)
    return list(found["devices"])


if __name__ == "__main__":
    main()

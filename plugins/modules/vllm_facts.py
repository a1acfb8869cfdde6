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
    ports that instances are to have, which models need nothing done, and the host's memory, processors and free disk
    space. C(ansible_facts.gpu) is what M(llm.serving.gpu_facts) returns.
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
  files:
    description: Files to return the SHA-1 of.
    type: list
    elements: path
    default: []
  models:
    description:
      - Models to glance at, with the options of M(llm.serving.hf_model). One that is there, pinned and proved is
        returned as that module would return it; about others it has to be asked.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the entry.
        type: str
        required: true
      repo:
        description: The repository.
        type: str
      path:
        description: The directory of a model that did not come by M(llm.serving.hf_model).
        type: path
      revision:
        description: The revision.
        type: str
      root:
        description: Directory of all models.
        type: path
        default: /srv/models
      verify:
        description: How to verify.
        type: str
        default: quick
      allow_patterns:
        description: Patterns of files to fetch.
        type: list
        elements: str
        default: []
      ignore_patterns:
        description: Patterns of files not to fetch.
        type: list
        elements: str
        default: []
      allow_pickle:
        description: Whether files may be there that run code when they are loaded.
        type: bool
        default: false
      check_model:
        description: Whether to demand what an engine needs.
        type: bool
        default: true
      keep:
        description: How many other revisions stay.
        type: int
      keep_revisions:
        description: Revisions that stay in any case.
        type: list
        elements: str
        default: []
  gpu_timeout:
    description: Seconds to wait for an answer of the GPUs' tools.
    type: float
    default: 10
  serve:
    description:
      - What the host is to serve. Where nothing is missing for that, the same look also plans and compares, as
        M(llm.serving.vllm_plan) does, and, where nothing is to be changed, asks the engines for replies, as
        M(llm.serving.openai_probe) does.
      - It saves round trips and nothing else. When something is missing, cannot be planned or does not answer, what was
        found is returned without plans, or without replies, and those modules say why.
    type: dict
    suboptions:
      variant:
        description: Which offer to take; V(auto) for the one that suits the host's cards.
        type: str
        default: auto
      offers:
        description: What each variant of vLLM would be on this host.
        type: list
        elements: dict
        required: true
        suboptions:
          variant:
            description: V(cuda), V(rocm), V(xpu) or V(cpu).
            type: str
            required: true
          engine:
            description: Name of the engine's folder.
            type: str
            required: true
          build:
            description: What that folder is to be built from.
            type: str
            required: true
          vllm_version:
            description: The engine's version.
            type: str
            required: true
          models:
            description: The models as M(llm.serving.vllm_plan) wants them; directories of O(models) are found here.
            type: list
            elements: dict
            required: true
          deployment:
            description: How the instances are to be kept, see O(llm.serving.vllm_plan#module:deployment).
            type: dict
            required: true
            suboptions:
              environment:
                description: Variables for every engine of the host.
                type: dict
                default: {}
              unit:
                description: Content of the template unit.
                type: str
                default: ""
              guard:
                description: Content of the program that the unit starts engines by.
                type: str
                default: ""
              guard_file:
                description: Where that program lies.
                type: path
                default: /usr/local/lib/llm-serving/vllm_guard.py
              engine:
                description: Which engine the instances are to run.
                type: str
                default: ""
              link:
                description: Link that the unit starts the engine by.
                type: path
              link_target:
                description: What O(serve.offers[].deployment.link) is to point to.
                type: str
              options_file:
                description: File with the names of the options that the engine knows.
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
                description: Group that may read the YAML files.
                type: str
                default: vllm
      secrets:
        description:
          - JSON text with C(instances), variables with secrets by the names of the instances, and C(api_key), the key
            to ask the engines with.
          - It is text, because each value of a dictionary would be blotted out wherever it occurs in the facts.
        type: str
      reserved_bytes:
        description: RAM that is not for engines.
        type: int
        default: 0
      recalibrate:
        description: Whether to plan with what was measured.
        type: bool
        default: false
      checks:
        description: What to ask the engines, see O(llm.serving.openai_probe#module:checks); nothing to plan only.
        type: list
        elements: str
        choices: [health, models, chat, chat_stream, completions, completions_stream]
        default: []
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
          - {name: qwen32b, active: active, sub: running, enabled: enabled, since: "Mon …", model: /srv/models/Qwen/…}
        listeners:
          - {port: 8010, unit: vllm@qwen32b.service, process: vllm, pid: 4711}
        python_version: 3.11.2
        machine: x86_64
        distribution: {id: debian, version: "12", family: debian, problem: ""}
        memory_total_bytes: 540000000000
        memory_available_bytes: 520000000000
        cpu_count: 64
        numa_nodes: 2
        free_bytes: {/opt/vllm: 80000000000}
        missing_paths: []
        files: {/opt/llm-serving/tools/requirements.txt: 0f3a…}
        models:
          qwen32b: {path: /srv/models/Qwen/Qwen2.5-32B-Instruct/5ede…, commit: 5ede…, verified: quick, present: true}
        generation: {number: 7, recorded: "2026-11-24T12:00:00Z", engine: 0.33.0-cuda}
        is_recorded: true
        needs: [/opt/vllm/0.33.0-cuda]
        lock: null
        measurements: {5a0e…: 1610612736}
    gpu:
      description: The host's GPUs, see M(llm.serving.gpu_facts).
      type: dict
plans:
  description: See RV(llm.serving.vllm_plan#module:plans).
  returned: with O(serve), when nothing is missing
  type: list
  elements: dict
signatures:
  description: See RV(llm.serving.vllm_plan#module:signatures).
  returned: with RV(plans)
  type: dict
actions:
  description: See RV(llm.serving.vllm_plan#module:actions).
  returned: with RV(plans)
  type: dict
pending:
  description: See RV(llm.serving.vllm_plan#module:pending).
  returned: with RV(plans)
  type: bool
probes:
  description: What M(llm.serving.openai_probe) returns for each engine, and as C(item) how it was asked.
  returned: with O(serve.checks), when nothing is pending and all of them answer as they should
  type: list
  elements: dict
"""

import hashlib
import os
import platform
import pwd
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.changes.generations import Store
from ..module_utils.changes.lock import current_holder
from ..module_utils.changes.measurements import load
from ..module_utils.changes.services import service
from ..module_utils.engines.installed import current_engine, free_bytes, installed_engines
from ..module_utils.engines.instances import Files, existing_instances, model_of
from ..module_utils.engines.keeper import OPTIONS
from ..module_utils.engines.listeners import listeners
from ..module_utils.engines.settled import settled
from ..module_utils.engines.systemd import unit_states
from ..module_utils.gpu import facts as gpu
from ..module_utils.hub.glance import glance_at_folder, glance_at_snapshot
from ..module_utils.hub.names import Selection
from ..module_utils.hub.snapshot import Outcome, Wish
from ..module_utils.openai.checks import CHECKS
from ..module_utils.support.distributions import distribution_facts

NUMA = Path("/sys/devices/system/node")
MODEL: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "repo": {"type": "str"},
    "path": {"type": "path"},
    "revision": {"type": "str"},
    "root": {"type": "path", "default": "/srv/models"},
    "verify": {"type": "str", "default": "quick"},
    "allow_patterns": {"type": "list", "elements": "str", "default": []},
    "ignore_patterns": {"type": "list", "elements": "str", "default": []},
    "allow_pickle": {"type": "bool", "default": False},
    "check_model": {"type": "bool", "default": True},
    "keep": {"type": "int"},
    "keep_revisions": {"type": "list", "elements": "str", "default": []},
}
OFFER: dict[str, dict[str, Any]] = {
    "variant": {"type": "str", "required": True},
    "engine": {"type": "str", "required": True},
    "build": {"type": "str", "required": True},
    "vllm_version": {"type": "str", "required": True},
    "models": {"type": "list", "elements": "dict", "required": True},
    "deployment": {
        "type": "dict",
        "required": True,
        "options": {"environment": {"type": "dict", "default": {}}, **OPTIONS},
    },
}
SERVE: dict[str, dict[str, Any]] = {
    "variant": {"type": "str", "default": "auto"},
    "offers": {"type": "list", "elements": "dict", "required": True, "options": OFFER},
    "secrets": {"type": "str", "no_log": True},
    "reserved_bytes": {"type": "int", "default": 0},
    "recalibrate": {"type": "bool", "default": False},
    "checks": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": []},
}


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
            "files": {"type": "list", "elements": "path", "default": []},
            "models": {"type": "list", "elements": "dict", "default": [], "options": MODEL},
            "gpu_timeout": {"type": "float", "default": 10},
            "serve": {"type": "dict", "options": SERVE},
        },
        supports_check_mode=True,
    )
    try:
        facts = {
            "vllm": gather(module),
            "gpu": gpu.gather(gpu.Host(), timeout_seconds=module.params["gpu_timeout"]),
        }
    except OSError as error:
        module.fail_json(msg=f"this host could not be looked at: {error}")
    serve, models = module.params["serve"], [entry["name"] for entry in module.params["models"]]
    more = settled(module, facts["vllm"], facts["gpu"], serve, models) if serve else {}
    module.exit_json(changed=False, ansible_facts=facts, **more)


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host."""
    root, folder = Path(module.params["root"]), Path(module.params["config_dir"])
    memory = memory_bytes()
    store = Store(service("vllm"))
    current, holder = store.current(), current_holder()
    needs = sorted({path for generation in store.all() for path in generation.needs})
    return {
        "engines": [engine.as_dict() for engine in installed_engines(root)],
        "current": current_engine(root),
        "user_exists": has_user(module.params["user"]),
        "instances": instances(module),
        "listeners": [listener.as_dict() for listener in listeners(module.params["ports"])],
        "python_version": python_version(module),
        "machine": platform.machine(),
        "distribution": distribution_facts(),
        "memory_total_bytes": memory["MemTotal"],
        "memory_available_bytes": memory["MemAvailable"],
        "cpu_count": len(os.sched_getaffinity(0)),
        "numa_nodes": len(list(NUMA.glob("node[0-9]*"))) or 1,
        "free_bytes": {str(root): free_bytes(root)},
        "missing_paths": [path for path in module.params["paths"] if not Path(path).is_dir()],
        "files": {path: checksum(Path(path)) for path in module.params["files"]},
        "models": glances(module.params["models"], needs),
        "generation": current.summary() if current else None,
        "is_recorded": store.is_recorded(),
        "needs": needs,
        "lock": holder.as_dict() if holder else None,
        "measurements": {key: value["overhead_bytes"] for key, value in load(folder).items()},
    }


def glances(entries: list[dict[str, Any]], needs: list[str]) -> dict[str, dict[str, Any]]:
    """Return the models that need nothing done, as the role models would."""
    looks = {entry["name"]: glance(entry, needs) for entry in entries}
    return {
        name: {
            "path": str(outcome.path),
            "repo": outcome.manifest.repo or None,
            "commit": outcome.manifest.commit or None,
            "size_bytes": outcome.manifest.size_bytes,
            "verified": outcome.verified,
            "present": True,
        }
        for name, outcome in looks.items()
        if outcome
    }


def glance(entry: dict[str, Any], needs: list[str]) -> Outcome | None:
    """Look at one model; what lies in `needs` stays."""
    if entry["path"]:
        return glance_at_folder(Path(entry["path"]), entry["verify"])
    wish = Wish(
        repo=entry["repo"],
        revision=entry["revision"] or "",
        root=Path(entry["root"]),
        endpoint="",
        selection=Selection(tuple(entry["allow_patterns"]), tuple(entry["ignore_patterns"]), entry["allow_pickle"]),
        verify=entry["verify"],
        check_model=entry["check_model"],
        dry_run=True,
    )
    return glance_at_snapshot(wish, entry["keep"], [*entry["keep_revisions"], *(Path(path).name for path in needs)])


def checksum(path: Path) -> str | None:
    """Return a file's SHA-1, which is what Ansible compares files by; None where there is none."""
    try:
        return hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324
    except OSError:
        return None


def instances(module: AnsibleModule) -> list[dict[str, Any]]:
    """Return the instances that exist, and what systemd says of each."""
    folder = Path(module.params["config_dir"])
    names = existing_instances(folder)
    states = unit_states(module.run_command, [f"vllm@{name}.service" for name in names])
    return [
        {
            "name": name,
            "active": state.active,
            "sub": state.sub,
            "enabled": state.enabled,
            "since": state.active_since,
            "model": model_of(Files(folder, name)),
        }
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

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
  engine:
    description: Which engine the instances are to run; another one restarts them.
    type: str
    default: ""
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
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
    details: Values of secrets are left out.
  platform:
    description: Target OS/families that can be operated against.
    support: full
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

import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes

from ..module_utils.engines.instances import (
    Files,
    Instance,
    InstanceError,
    check_name,
    existing_instances,
    hide_secrets,
    read,
)
from ..module_utils.engines.options import unknown_options
from ..module_utils.engines.systemd import UnitState, unit_states

UNIT_NAME = "vllm@.service"


class Keeper:
    """Compares what is there with what should be, and closes the gap."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.dry = module.check_mode
        self.folder = Path(module.params["config_dir"])
        self.diffs: list[dict[str, str]] = []
        self.changed = False

    def keep(self, wanted: list[Instance]) -> dict[str, str]:
        """Bring the host to the wanted state; return what was done to each instance."""
        unit_text: str = self.module.params["unit"]
        unit_file = Path(self.module.params["unit_dir"]) / UNIT_NAME
        present = existing_instances(self.folder)
        gone = [name for name in present if name not in {instance.name for instance in wanted}]
        gone = gone if self.module.params["remove_others"] else []
        states = self._states([*(instance.name for instance in wanted), *gone])
        self._remove(gone)
        wrote = bool(unit_text) and self._write(unit_file, unit_text, 0o644)
        if wrote or any(state.needs_reload for state in states.values()):
            self._systemctl("daemon-reload")
        actions = {instance.name: self._configure(instance, unit_text, states) for instance in wanted}
        self._run(wanted, actions, unit_text, states)
        return {**actions, **dict.fromkeys(gone, "removed")}

    def _states(self, names: list[str]) -> dict[str, UnitState]:
        units = unit_states(self.module.run_command, [unit(name) for name in names])
        return {name: units[unit(name)] for name in names}

    def _configure(self, instance: Instance, unit_text: str, states: dict[str, UnitState]) -> str:
        """Write an instance's files; return what its unit needs."""
        files = Files(self.folder, instance.name)
        before = hide_secrets(read(files.environment), instance.secrets)
        after = instance.environment_text(show_secrets=False)
        self._write(files.config, instance.config_text(), 0o640, self.module.params["group"])
        self._write(files.environment, instance.environment_text(), 0o600, shown=(before, after))
        state = states[instance.name]
        if not state.is_active:
            return "started"
        stale = read(files.stamp) != instance.digest(unit_text, self.module.params["engine"])
        return "restarted" if stale else "unchanged"

    def _run(
        self, wanted: list[Instance], actions: dict[str, str], unit_text: str, states: dict[str, UnitState]
    ) -> None:
        """Let systemd do it, all units in one go, so that engines load side by side."""
        disabled = [unit(name) for name in actions if states[name].enabled != "enabled"]
        if disabled:
            self._systemctl("enable", "--quiet", *disabled)
        concerned = [instance for instance in wanted if actions[instance.name] != "unchanged"]
        if not concerned:
            return
        units = [unit(instance.name) for instance in concerned]
        # A unit that failed too often refuses to start until it is told that things are different now.
        self._systemctl("reset-failed", *(name for name in units), may_fail=True)
        self._systemctl("restart", *units)
        for instance in concerned:
            self._stamp(instance, unit_text)

    def _stamp(self, instance: Instance, unit_text: str) -> None:
        stamp = Files(self.folder, instance.name).stamp
        if self.dry:
            return
        stamp.parent.mkdir(mode=0o700, exist_ok=True)
        stamp.write_text(instance.digest(unit_text, self.module.params["engine"]), "utf-8")
        stamp.chmod(0o600)

    def _remove(self, names: list[str]) -> None:
        if not names:
            return
        self._systemctl("disable", "--quiet", "--now", *(unit(name) for name in names))
        self._systemctl("reset-failed", *(unit(name) for name in names), may_fail=True)
        for name in names:
            files = Files(self.folder, name)
            self._show(files.config, read(files.config), "")
            for path in files.all():
                if not self.dry and path.exists():
                    path.unlink()

    def _write(
        self, path: Path, text: str, mode: int, group: str = "root", shown: tuple[str, str] | None = None
    ) -> bool:
        """Write a file that is not so yet, whole or not at all; return whether it changed."""
        before = read(path)
        if before == text and self._has_mode(path, mode):
            return False
        self._show(path, *(shown or (before, text)))
        if not self.dry:
            self._make_folder(path.parent)
            temporary = Path(self.module.tmpdir) / path.name
            temporary.write_bytes(to_bytes(text))
            temporary.chmod(mode)
            self.module.atomic_move(str(temporary), str(path))
            self.module.set_owner_if_different(str(path), "root", False)
            self.module.set_group_if_different(str(path), group, False)
            path.chmod(mode)
        return True

    def _make_folder(self, folder: Path) -> None:
        if folder == self.folder and not folder.exists():
            folder.mkdir(mode=0o750)
            folder.chmod(0o750)
            self.module.set_group_if_different(str(folder), self.module.params["group"], False)

    def _has_mode(self, path: Path, mode: int) -> bool:
        return (path.stat().st_mode & 0o7777) == mode

    def _show(self, path: Path, before: str, after: str) -> None:
        self.changed = True
        self.diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})

    def _systemctl(self, *arguments: str, may_fail: bool = False) -> None:
        self.changed = True
        if self.dry:
            return
        code, out, err = self.module.run_command(["systemctl", *arguments])
        if code and not may_fail:
            raise OSError(f"systemctl {' '.join(arguments)} ended with {code}: {err.strip() or out.strip()}")


def unit(name: str) -> str:
    """Return the name of an instance's unit."""
    return f"vllm@{name}.service"


def unreadable(module: AnsibleModule, instance: Instance) -> list[str]:
    """Return a sentence when the service's user may not read a model; the engine would only say that it is missing."""
    path = Path(str(instance.config.get("model", "")))
    user = module.params["group"]
    if not path.is_absolute() or not shutil.which("runuser"):
        return []
    find = ["find", "-L", str(path), "-maxdepth", "1", "-not", "-readable"]
    out, err = module.run_command(["runuser", "-u", user, "--", *find], cwd="/")[1:]
    found = out.split() or ([str(path)] if "Permission denied" in err else [])
    if not found:  # or there is no such user yet: check mode on a bare host
        return []
    return [f"{instance.name}: expected files that the user {user} can read, found {', '.join(found)}: correct modes"]


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
            "unit": {"type": "str", "default": ""},
            "engine": {"type": "str", "default": ""},
            "options_file": {"type": "path"},
            "config_dir": {"type": "path", "default": "/etc/vllm"},
            "unit_dir": {"type": "path", "default": "/etc/systemd/system"},
            "group": {"type": "str", "default": "vllm"},
            "remove_others": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    wanted = [parse(entry) for entry in module.params["instances"]]
    problems = check(wanted, Path(module.params["options_file"] or os.devnull))
    problems += [problem for instance in wanted for problem in unreadable(module, instance)]
    if problems:
        module.fail_json(msg="nothing was changed: " + "; ".join(problems), problems=problems)
    keeper = Keeper(module)
    try:
        actions = keeper.keep(wanted)
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=keeper.changed, actions=actions, diff=keeper.diffs)


def parse(entry: dict[str, Any]) -> Instance:
    """Read one entry."""
    environment = {name: str(value) for name, value in entry["environment"].items()}
    secrets = {name: str(value) for name, value in entry["secrets"].items()}
    return Instance(entry["name"], entry["config"], environment, secrets)


def check(wanted: list[Instance], options_file: Path) -> list[str]:
    """Return what is wrong with what is wanted, as sentences."""
    known = read(options_file).split()
    problems: list[str] = []
    names = [instance.name for instance in wanted]
    problems += [f"two instances are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    for instance in wanted:
        try:
            check_name(instance.name)
            instance.environment_text()
        except InstanceError as error:
            problems.append(f"{instance.name}: {error}")
        if known:
            problems += [f"{instance.name}: {problem}" for problem in unknown_options(instance.config, known)]
    return problems


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_driver_plan
version_added: 0.1.0
short_description: Say which driver a host's GPUs need, and by which packages it comes
description:
  - Looks at the cards on the PCI bus, the distribution and the running kernel, and chooses NVIDIA's open or proprietary
    kernel modules, or AMD's. It changes nothing.
  - Blackwell and Grace Hopper need the open modules, cards before Turing the proprietary ones, of which branch 580 is
    the last. Hosts with NVSwitch chips need Fabric Manager in the driver's own version.
options:
  flavour:
    description: NVIDIA's kernel modules. V(auto) takes those that the cards need, and the open ones where both will do.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  branch:
    description: Branch of NVIDIA's driver.
    type: int
    default: 580
  version:
    description: Version of NVIDIA's driver, where it has to be a certain one. It wins over O(branch).
    type: str
    default: ""
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
- name: See which driver the cards need
  llm.serving.gpu_driver_plan:
    branch: 580
  register: driver

- name: Show why
  ansible.builtin.debug:
    var: driver.choice.reasons
"""

RETURN = r"""
choice:
  description: What is to be installed, or null where no card needs a driver.
  returned: success
  type: dict
  sample:
    vendor: nvidia
    family: debian
    flavour: open
    branch: 580
    module_package: nvidia-kernel-open-dkms
    packages: [nvidia-kernel-open-dkms, nvidia-driver-cuda, nvidia-persistenced]
    specifications: [nvidia-kernel-open-dkms=580.95.05*, nvidia-driver-cuda=580.95.05*, nvidia-persistenced=580.95.05*]
    pinning: [nvidia-driver-pinning-580.95.05]
    headers: [linux-headers-6.1.0-40-amd64]
    module_stream: ""
    fabric_manager: nvidia-fabricmanager-580
    fabric_manager_specification: nvidia-fabricmanager-580=580.95.05*
    services: [nvidia-persistenced.service, nvidia-fabricmanager.service]
    groups: []
    held: [nvidia-kernel-open-dkms, nvidia-driver-cuda, nvidia-persistenced, nvidia-fabricmanager-580]
    reasons: ["open kernel modules: what NVIDIA recommends for Hopper"]
distribution:
  description: The distribution and the kernel that runs, as C(id), C(version), C(family), C(kernel) and C(machine).
  returned: success
  type: dict
installed_version:
  description: Version of the driver whose packages are installed; empty where none are.
  returned: success
  type: str
loaded_version:
  description: Version of the driver that the kernel runs; empty where it runs none.
  returned: success
  type: str
reboot_required:
  description: Whether the driver that is installed is not the one that runs.
  returned: success
  type: bool
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gpu.driver import Choice, DriverError, System, Wanted, choose, upstream
from ..module_utils.gpu.pci import scan
from ..module_utils.gpu.proc import read_version
from ..module_utils.support.distributions import read_distribution

ROOT = Path("/")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "flavour": {"type": "str", "choices": ["auto", "open", "proprietary"], "default": "auto"},
            "branch": {"type": "int", "default": 580},
            "version": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    options = module.params
    kernel = os.uname()
    try:
        host = System(read_distribution(ROOT), kernel.release, kernel.machine)
        choice = choose(scan(ROOT), host, Wanted(options["flavour"], options["branch"], options["version"]))
    except (DriverError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    installed = installed_version(module, choice) if choice else ""
    loaded = loaded_version(choice)
    module.exit_json(
        changed=False,
        choice=described(choice, installed) if choice else None,
        distribution={
            "id": host.distribution.id,
            "version": host.distribution.version,
            "family": host.family,
            "kernel": host.kernel,
            "machine": host.machine,
        },
        installed_version=installed,
        loaded_version=loaded,
        # AMD's package has the version of its release behind that of the module.
        reboot_required=bool(installed) and not (loaded and installed.startswith(loaded)),
    )


def described(choice: Choice, installed: str) -> dict[str, Any]:
    """Return a choice as plain data; Fabric Manager follows the driver that is installed."""
    manager = choice.specify(choice.fabric_manager, choice.version or installed) if choice.fabric_manager else ""
    return {
        **asdict(choice),
        "specifications": choice.specifications(installed),
        "fabric_manager_specification": manager,
        "held": choice.held,
    }


def installed_version(module: AnsibleModule, choice: Choice) -> str:
    """Return the driver's version in that of its package."""
    if choice.family == "redhat":
        command = ["rpm", "--query", "--queryformat=%{VERSION}", choice.module_package]
    else:
        command = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", choice.module_package]
    code, out = module.run_command(command)[:2]
    words = out.split()
    if code or not words or (choice.family != "redhat" and words[0] != "installed"):
        return ""
    return upstream(words[-1])


def loaded_version(choice: Choice | None) -> str:
    """Return the version of the kernel module that runs."""
    if choice and choice.vendor == "amd":
        path = ROOT / "sys/module/amdgpu/version"
        return path.read_text().strip() if path.is_file() else ""
    found = read_version(ROOT)
    return found.version if found else ""


if __name__ == "__main__":
    main()

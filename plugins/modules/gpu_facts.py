#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
version_added: 0.1.0
short_description: Gather facts about GPUs, and why one cannot be used
description:
  - Returns what the host's GPUs are, in C(ansible_facts.gpu), or why a card that is there cannot be used.
  - NVIDIA cards are read through the driver's own library (NVML), AMD cards from sysfs, machines whose GPU shares the
    host's memory (GB10, Jetson) with the host's RAM as their memory.
  - Needs nothing but Python on the host. With a driver loaded it takes a fraction of a second.
  - A host without a GPU is no failure. Neither is a broken driver, which RV(ansible_facts.gpu.problem) explains.
options:
  sources:
    description:
      - Which sources to ask, in this order; the first that answers is taken.
      - V(nvml) and V(nvidia-smi) are for NVIDIA cards, V(amd-smi) and V(rocm-smi) for AMD cards, V(sysfs) for AMD cards
        and Jetson machines.
      - Cards are looked for on the PCI bus in any case.
    type: list
    elements: str
    choices: [nvml, nvidia-smi, sysfs, amd-smi, rocm-smi]
    default: [nvml, nvidia-smi, sysfs, amd-smi, rocm-smi]
  timeout:
    description:
      - Seconds that one source may take before it counts as hanging.
      - C(nvidia-smi) takes up to 6 seconds on a host with eight GPUs whose driver is not kept loaded.
    type: float
    default: 10
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
- name: Gather facts about the GPUs
  llm.serving.gpu_facts:

- name: Show the cards
  ansible.builtin.debug:
    msg: "{{ ansible_facts.gpu.devices | map(attribute='name') }}"

- name: Stop where a card is there and cannot be used
  ansible.builtin.fail:
    msg: "{{ ansible_facts.gpu.problem.message }} {{ ansible_facts.gpu.problem.remedy }}"
  when: ansible_facts.gpu.problem is not none
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to C(ansible_facts).
  returned: always
  type: dict
  contains:
    gpu:
      description: The host's GPUs. What is not known is V(null).
      returned: always
      type: dict
      contains:
        vendor:
          description: V(nvidia), V(amd), V(intel), or V(null) on a host without a GPU.
          returned: always
          type: str
          sample: nvidia
        source:
          description: The source that answered, V(null) when none did.
          returned: always
          type: str
          sample: nvml
        driver_version:
          description: Version of the loaded driver.
          returned: always
          type: str
          sample: "580.95.05"
        cuda_version:
          description: The highest CUDA version that the driver supports.
          returned: always
          type: str
          sample: "13.0"
        devices:
          description: The usable GPUs, in the driver's order.
          returned: always
          type: list
          elements: dict
          contains:
            index:
              description: The driver's index.
              returned: always
              type: int
              sample: 0
            uuid:
              description: The card's UUID (NVIDIA) or unique id (AMD).
              returned: always
              type: str
            name:
              description: Product name.
              returned: always
              type: str
              sample: NVIDIA H100 80GB HBM3
            memory_total_bytes:
              description: The card's memory, or the host's where they share it.
              returned: always
              type: int
              sample: 85520809984
            memory_free_bytes:
              description: Memory that nobody uses at the moment.
              returned: always
              type: int
              sample: 84930000000
            compute_capability:
              description: NVIDIA's compute capability.
              returned: always
              type: str
              sample: "9.0"
            gfx_version:
              description: AMD's name of the architecture.
              returned: always
              type: str
              sample: gfx942
            pci_address:
              description: PCI address as sysfs writes it.
              returned: always
              type: str
              sample: "0000:18:00.0"
            numa_node:
              description: The NUMA node of host memory that is nearest.
              returned: always
              type: int
              sample: 0
            unified_memory:
              description: Whether the GPU has no memory of its own.
              returned: always
              type: bool
            mig_enabled:
              description: Whether MIG mode is on; V(null) where the card has none.
              returned: always
              type: bool
            mig_devices:
              description: MIG instances, with C(index), C(uuid), C(name), C(profile), memory and compute capability.
              returned: always
              type: list
              elements: dict
        topology:
          description:
            - The link between devices i and j, in the words of C(nvidia-smi topo -m) (V(X), V(NV18), V(PIX), V(PXB),
              V(PHB), V(NODE), V(SYS)); V(XGMI) and V(PCIE) between AMD cards.
          returned: always
          type: list
          elements: list
          sample: [["X", "NV18"], ["NV18", "X"]]
        nvswitch_count:
          description: NVSwitch chips on the PCI bus.
          returned: always
          type: int
          sample: 4
        fabric_manager:
          description: Whether Fabric Manager is C(running), and its C(version); V(null) without NVSwitch chips.
          returned: always
          type: dict
        problem:
          description:
            - Why a card that is there cannot be used, as C(code), C(message) (expected and found) and C(remedy).
            - Other cards may be usable nevertheless.
          returned: always
          type: dict
          sample:
            code: driver_not_loaded
            message: Expected a loaded NVIDIA driver; found the card 0000:18:00.0 but no nvidia kernel module.
            remedy: Install the NVIDIA driver for the running kernel, then `modprobe nvidia` or reboot.
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llm.serving.plugins.module_utils.gpu import facts


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sources": {
                "type": "list",
                "elements": "str",
                "choices": list(facts.SOURCES),
                "default": list(facts.SOURCES),
            },
            "timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    if module.params["timeout"] <= 0:
        module.fail_json(msg=f"timeout: expected more than 0 seconds; found {module.params['timeout']:g}")
    gpu = facts.gather(facts.Host(), module.params["sources"], module.params["timeout"])
    module.exit_json(changed=False, ansible_facts={"gpu": gpu})


if __name__ == "__main__":
    main()

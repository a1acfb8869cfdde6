#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: llm_doctor
version_added: 0.1.0
short_description: Say what is wrong with a host that serves models
description:
  - Looks at units, journals, the kernel log, ports, the firewall, model files, disks, GPUs and the engines' APIs, holds
    them against a base of rules, and returns what is wrong, the worst first, causes before their consequences.
  - Changes nothing. RV(fixes) lists what may safely be done about it; C(playbooks/doctor.yml --tags fix) does that.
options:
  logs:
    description:
      - Files to diagnose in the place of the host, such as logs that somebody sent.
    type: list
    elements: path
    default: []
  clients:
    description: Addresses that must reach the engines of this host, the gateway's in general.
    type: list
    elements: str
    default: []
  expected_units:
    description: Units that must be there by the inventory.
    type: list
    elements: str
    default: []
  models_root:
    description: Where models are.
    type: path
    default: /srv/models
  ollama_gpu_percent:
    description:
      - How much of every model of Ollama in memory must be in that of GPUs, in percent, on a host that has some.
      - V(0) accepts everything.
    type: float
    default: 100
  ollama_cpu_models:
    description: Models of Ollama that are meant for the CPU (C(num_gpu) is 0).
    type: list
    elements: str
    default: []
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
- name: See what is wrong
  llm.serving.llm_doctor:
    clients: [10.20.0.10]
  register: doctor

- name: Read a log that somebody sent
  llm.serving.llm_doctor:
    logs: [/tmp/vllm.log]
  delegate_to: localhost
"""

RETURN = r"""
findings:
  description: What is wrong, the worst first. Empty on a healthy host.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Name of the rule.
      type: str
      sample: kv_cache_too_small
    severity:
      description: V(critical) when something does not serve because of it, V(warning) or V(note).
      type: str
    subject:
      description: The unit, or the part of the host, or the log.
      type: str
      sample: vllm@qwen32b.service
    evidence:
      description: The line that shows it.
      type: str
    cause:
      description: Why.
      type: str
    remedy:
      description: What to do.
      type: str
    variable:
      description: What to set in the inventory; empty where nothing is to be set.
      type: str
      sample: max_model_len
    confidence:
      description: How sure that is, V(certain), V(likely) or V(possible).
      type: str
    fix:
      description: What C(--tags fix) does about it; empty where nothing is safe.
      type: str
    target:
      description: What it does that to.
      type: str
fixes:
  description: What may be done without asking.
  returned: success
  type: list
  elements: dict
  sample: [{fix: restart, target: vllm@qwen32b.service, because: crash_loop}]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.doctor.evaluate import diagnose_log, evaluate, safe_fixes
from ..module_utils.doctor.finding import Finding
from ..module_utils.doctor.gather import Places, gather
from ..module_utils.ollama.values import OllamaError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "logs": {"type": "list", "elements": "path", "default": []},
            "clients": {"type": "list", "elements": "str", "default": []},
            "expected_units": {"type": "list", "elements": "str", "default": []},
            "models_root": {"type": "path", "default": "/srv/models"},
            "ollama_gpu_percent": {"type": "float", "default": 100},
            "ollama_cpu_models": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        findings = diagnose(module, module.params)
    except (OSError, OllamaError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, findings=[finding.as_dict() for finding in findings], fixes=safe_fixes(findings))


def diagnose(module: AnsibleModule, options: dict[str, Any]) -> list[Finding]:
    """Look at the logs given, or at this host."""
    if options["logs"]:
        texts = {path: Path(path).read_text(encoding="utf-8", errors="replace") for path in options["logs"]}
        return [finding for path, text in texts.items() for finding in diagnose_log(text.splitlines(), path)]
    places = Places(
        models_root=Path(options["models_root"]),
        clients=options["clients"],
        expected=options["expected_units"],
        gpu_percent=options["ollama_gpu_percent"],
        cpu_models=options["ollama_cpu_models"],
    )
    return evaluate(gather(module.run_command, places))


if __name__ == "__main__":
    main()

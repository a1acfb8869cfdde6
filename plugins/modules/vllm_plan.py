#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_plan
short_description: Size vLLM instances from what a host really has
version_added: 0.1.0
description:
  - Decides for every model of a host which GPUs it gets, how it is split over them, in which dtype, with which
    context length, batch sizes and share of memory it is served, and says why.
  - Predicts how many tokens the KV cache will hold and how many requests of full length that is, as an expected
    value and as a floor, with an account of every byte.
  - Reads each model's C(config.json) and the headers of its safetensors files. It changes nothing.
  - Refuses what cannot fit before anything is restarted, and says what would.
options:
  models:
    description:
      - The models to serve on this host, all of them, since they share its GPUs.
      - Each is a dictionary with C(name) and C(model), the model's directory, and whatever the operator wants to fix.
        What is left out is planned.
      - >-
        Known keys are C(name), C(model), C(served_model_name), C(host), C(port),
        C(profile) (V(balanced), V(latency) or V(throughput)), C(device) (V(auto), V(cuda), V(rocm) or V(cpu)),
        C(tensor_parallel_size), C(pipeline_parallel_size), C(data_parallel_size) (or C(replicas)), C(nodes)
        (hosts that share the model), C(gpus) (how many), C(gpu_indices) (which),
        C(concurrency) (requests of full length that should fit at once), C(dtype), C(kv_cache_dtype),
        C(quantization), C(max_model_len), C(max_num_seqs), C(max_num_batched_tokens),
        C(gpu_memory_utilization), C(kv_cache_memory_bytes), C(cpu_kv_cache_gib), C(block_size),
        C(enforce_eager), C(trust_remote_code), C(measured_overhead_bytes), C(environment) and C(extra_args)
        (further options of vLLM, passed on).
      - Keys may be written with dashes, as vLLM's options. Unknown keys are refused.
    type: list
    elements: dict
    required: true
  gpu:
    description:
      - The dictionary that M(llm.serving.gpu_facts) returns as C(ansible_facts.gpu).
      - Without usable devices the plan is for the CPU.
    type: dict
    default: {}
  memory_total_bytes:
    description:
      - RAM of the host. Needed on hosts that serve from their CPU.
    type: int
    default: 0
  memory_available_bytes:
    description:
      - RAM that is available now. Only warned about, never planned from, so that the plan stays the same while
        the instances are running.
    type: int
  cpu_count:
    description: Number of logical CPUs.
    type: int
    default: 1
  numa_nodes:
    description: Number of NUMA nodes.
    type: int
    default: 1
  vllm_version:
    description:
      - The release that will serve. Its defaults and its way of counting are predicted.
    type: str
    default: 0.33.0
  reserved_bytes:
    description:
      - Memory to keep clear of, on every GPU or, on a CPU host, of the RAM.
    type: int
    default: 0
  running:
    description:
      - Names of the instances that are up now. With an empty list, memory of a GPU that is in use must belong to
        somebody else, and a model that would not find enough of it free is refused. Without this option it is
        only warned about.
    type: list
    elements: str
  measurements:
    description:
      - Overhead in bytes that configurations were seen to have when they were first started, by signature. Plans of
        these configurations use it instead of the predicted one. On a CPU host it changes nothing but a reason.
    type: dict
    default: {}
  deployment:
    description:
      - How the plans are to be put to work, to learn in the same look at the host what that would change.
      - The options are those of M(llm.serving.vllm_instances).
    type: dict
    suboptions:
      environment:
        description: Variables for every engine of the host.
        type: dict
        default: {}
      secrets:
        description: Variables that are never shown, by the names of the instances.
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
        description: What O(deployment.link) is to point to.
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
author:
  - The llm.serving maintainers (@llm-serving)
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: Nothing is changed, so there is nothing to compare.
  platform:
    platforms: posix
"""

EXAMPLES = r"""
- name: Plan a model on the GPUs of this host
  llm.serving.vllm_plan:
    models:
      - name: qwen32b
        model: /srv/models/Qwen/Qwen2.5-32B-Instruct/main
        profile: balanced
        max_model_len: 8192
        port: 8010
    gpu: "{{ ansible_facts['gpu'] }}"
    memory_total_bytes: "{{ ansible_facts['memtotal_mb'] * 1048576 }}"
    vllm_version: 0.33.0
  register: __plan

- name: Show why
  ansible.builtin.debug:
    var: __plan.plans[0].reasons
"""

RETURN = r"""
plans:
  description: One plan per model, in the order of O(models).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the instance.
      type: str
      returned: always
      sample: qwen32b
    device:
      description: Where it runs, V(cuda), V(rocm) or V(cpu).
      type: str
      returned: always
      sample: cuda
    gpu_indices:
      description: Indices of its GPUs; empty on a CPU.
      type: list
      elements: int
      returned: always
      sample: [0, 1]
    tensor_parallel_size:
      description: Ranks that every layer is split over.
      type: int
      returned: always
      sample: 2
    pipeline_parallel_size:
      description: Stages that the layers are spread over.
      type: int
      returned: always
      sample: 1
    data_parallel_size:
      description: Replicas.
      type: int
      returned: always
      sample: 1
    dtype:
      description: What the model computes in.
      type: str
      returned: always
      sample: bfloat16
    kv_cache_dtype:
      description: What keys and values are kept in.
      type: str
      returned: always
      sample: auto
    max_model_len:
      description: Longest request, in tokens, prompt and reply together.
      type: int
      returned: always
      sample: 8192
    max_num_seqs:
      description: Sequences in a batch.
      type: int
      returned: always
      sample: 64
    max_num_batched_tokens:
      description: Tokens in a step.
      type: int
      returned: always
      sample: 4096
    gpu_memory_utilization:
      description: Share of the GPU's memory; null on a CPU.
      type: float
      returned: always
      sample: 0.9
    kv_cache_tokens:
      description: Tokens that the cache holds, as the engine will print it, as V(expected) and V(floor).
      type: dict
      returned: always
      sample: {expected: 210000, floor: 195000}
    concurrency:
      description: Requests of full length that fit at once, expected.
      type: float
      returned: always
      sample: 25.6
    memory:
      description: Account of one rank in bytes.
      type: dict
      returned: always
    engine_args:
      description: Options for vLLM's C(--config) file.
      type: dict
      returned: always
    environment:
      description: Variables for the EnvironmentFile; no secrets.
      type: dict
      returned: always
    confidence:
      description: V(normal), or V(low) where the estimate is unsafe and more memory is held back.
      type: str
      returned: always
      sample: normal
    reasons:
      description: One sentence per choice.
      type: list
      elements: str
      returned: always
    warnings:
      description: The operator's own values that are risky, and old names that were translated.
      type: list
      elements: str
      returned: always
signatures:
  description: What tells each configuration from others as far as its overhead goes, by the names of the instances.
  returned: success
  type: dict
  sample: {qwen32b: 5a0e…}
actions:
  description: What is to be done to each instance, V(unchanged), V(started), V(restarted) or V(removed).
  returned: with O(deployment)
  type: dict
  sample: {qwen32b: restarted, small: unchanged}
pending:
  description: Whether anything of the host differs from what the plans ask for.
  returned: with O(deployment)
  type: bool
problems:
  description: What is wrong with the instances.
  returned: failure, with O(deployment)
  type: list
  elements: str
refusal:
  description: Why there is no plan.
  returned: failure
  type: dict
  sample:
    message: qwen32b does not fit on 1 × NVIDIA L4
    expected: 66.9 GiB per GPU
    found: 19.8 GiB
    remedy: "more GPUs: tensor_parallel_size: 4"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llm.serving.plugins.module_utils.engines.compare import ImpossibleError, compare
from ansible_collections.llm.serving.plugins.module_utils.engines.keeper import OPTIONS
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.on_host import plan_wishes

ARGUMENTS = {
    "models": {
        "type": "list",
        "elements": "dict",
        "required": True,
    },
    "gpu": {"type": "dict", "default": {}},
    "memory_total_bytes": {"type": "int", "default": 0},
    "memory_available_bytes": {"type": "int"},
    "cpu_count": {"type": "int", "default": 1},
    "numa_nodes": {"type": "int", "default": 1},
    "vllm_version": {"type": "str", "default": "0.33.0"},
    "reserved_bytes": {"type": "int", "default": 0},
    "running": {"type": "list", "elements": "str"},
    "measurements": {"type": "dict", "default": {}},
    "deployment": {
        "type": "dict",
        "options": {
            "environment": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            **OPTIONS,
        },
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        plans, signatures = plan_wishes(
            params["models"], params, params["gpu"] or {}, params["vllm_version"], params["measurements"]
        )
    except SizingError as error:
        module.fail_json(msg=str(error), refusal=error.as_dict())
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, plans=plans, signatures=signatures, **comparison(module, plans))


def comparison(module: AnsibleModule, plans: list[dict]) -> dict:
    """What putting the plans to work would change, if that is asked. Leaves the module when they cannot be."""
    options = module.params["deployment"]
    if not options:
        return {}
    try:
        return compare(module, plans, options, options["secrets"])
    except ImpossibleError as error:
        module.fail_json(msg=f"nothing was changed: {error}", problems=error.problems)
    except OSError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

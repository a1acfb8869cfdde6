#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: adopt
version_added: 0.1.0
short_description: Take over engines that were set up by hand, and give them back
description:
  - Finds Ollama and vLLM on a host where neither came by this collection, in units with their drop-ins and environment,
    in shell scripts that units start, and in processes of somebody's session.
  - Says what they become in the inventory's variables, with names of old translated into those of today.
  - Gives their models a second name where the roles keep models, a hard link. Nothing is downloaded; files are copied
    only where the file system is another. Each is hashed before anything is changed, where something states its hash.
  - Everything that is done is on record beforehand. A run that was ended in any way is continued by the next one, and
    what was done can be undone.
  - Scripts are read, never run. Containers are told of and left alone.
options:
  state:
    description:
      - V(found) looks and changes nothing.
      - V(adopted) brings the models to their places, then stops what was found and puts its files away.
      - V(undone) takes all of that back, and starts what ran before.
      - V(settled) removes the old names of the models and what was put away. It cannot be undone any more.
    type: str
    choices: [found, adopted, undone, settled]
    default: found
  models_root:
    description: Where the role C(llm.serving.models) keeps models.
    type: path
    default: /srv/models
  ollama_models_dir:
    description: Where the role C(llm.serving.ollama) keeps models.
    type: path
    default: /usr/share/ollama/.ollama/models
  repos:
    description:
      - Which repository of the Hub a directory holds, by its path, such as C(/home/ps/models/Qwen2.5-7B).
      - Where the download noted its commit and hashes there, the directory becomes a snapshot of that repository.
    type: dict
    default: {}
  ignore:
    description: Units, and numbers of processes, that are left alone.
    type: list
    elements: str
    default: []
  gpu:
    description: The dictionary that M(llm.serving.gpu_facts) returns as C(ansible_facts.gpu).
    type: dict
    default: {}
  record:
    description: Folder of what was done.
    type: path
    default: /var/lib/llm-serving/adopt
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    details: Files are not hashed in check mode.
  diff_mode:
    support: none
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: See what there is
  llm.serving.adopt:
  register: found

- name: Take it over
  llm.serving.adopt:
    state: adopted
    repos:
      /home/ps/vllm/models/Qwen2.5-32B-Instruct: Qwen/Qwen2.5-32B-Instruct

- name: Give it back
  llm.serving.adopt:
    state: undone
"""

RETURN = r"""
engines:
  description: What was found.
  returned: O(state=found) or O(state=adopted)
  type: list
  elements: dict
  sample:
    - engine: ollama
      name: ollama.service
      active: true
      enabled: true
      user: ollama
      program: /usr/local/bin/ollama
table:
  description: What was found, and what it becomes, as lines of text.
  returned: O(state=found) or O(state=adopted)
  type: list
  elements: str
variables:
  description: Variables for the host in the inventory.
  returned: O(state=found) or O(state=adopted)
  type: dict
groups:
  description: Groups of the inventory that the host belongs to.
  returned: O(state=found) or O(state=adopted)
  type: list
  elements: str
remarks:
  description: What there is to know about it, one sentence each.
  returned: always
  type: list
  elements: str
problems:
  description: What keeps the host from being taken over. With O(state=adopted) they are a failure.
  returned: O(state=found)
  type: list
  elements: str
adoptions:
  description: Adoptions of this host that can be undone, before this run.
  returned: always
  type: list
  elements: int
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.adopt.errors import AdoptError
from ..module_utils.adopt.host import Host
from ..module_utils.adopt.plan import UNKNOWN_USER, Plan, Wanted, check_room, make_plan, table_lines
from ..module_utils.adopt.steps import Book, corrupt
from ..module_utils.hub.errors import DiskFullError
from ..module_utils.ollama.environment import gpus_from


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["found", "adopted", "undone", "settled"], "default": "found"},
            "models_root": {"type": "path", "default": "/srv/models"},
            "ollama_models_dir": {"type": "path", "default": "/usr/share/ollama/.ollama/models"},
            "repos": {"type": "dict", "default": {}},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "gpu": {"type": "dict", "default": {}},
            "record": {"type": "path", "default": "/var/lib/llm-serving/adopt"},
        },
        supports_check_mode=True,
    )
    options = module.params
    book = Book(Path(options["record"]), module.run_command)
    try:
        adoptions = book.numbers()
        if options["state"] in ("undone", "settled"):
            remarks = give_back(module, book) if options["state"] == "undone" else settle(module, book)
            module.exit_json(changed=bool(adoptions), remarks=remarks, adoptions=adoptions)
        module.exit_json(adoptions=adoptions, **take_over(module, book))
    except (AdoptError, DiskFullError, OSError) as error:
        module.fail_json(msg=str(error))


def take_over(module: AnsibleModule, book: Book) -> dict[str, Any]:
    """Look, and with state=adopted do it."""
    options = module.params
    gpu = options["gpu"] or {}
    wanted = Wanted(
        Path(options["models_root"]),
        Path(options["ollama_models_dir"]),
        options["repos"],
        options["ignore"],
        gpu.get("vendor"),
        gpus_from(gpu),
    )
    unfinished = book.unfinished()
    is_to_act = options["state"] == "adopted"
    if unfinished and is_to_act and not module.check_mode:
        book.carry_out(unfinished)
    plan = make_plan(Host(module.run_command), wanted)
    result = described(plan)
    if is_to_act and plan.problems:
        module.fail_json(msg="\n- ".join(["Nothing was changed.", *plan.problems]), **result)
    changed = bool(plan.engines) or unfinished is not None
    if is_to_act and plan.engines and not module.check_mode:
        perform(plan, book)
    return {"changed": is_to_act and changed, **result}


def perform(plan: Plan, book: Book) -> None:
    """Prove the models, and only then begin."""
    if any(step.get("uid") == UNKNOWN_USER for step in plan.steps):
        raise AdoptError(
            "Nothing was changed. Expected the user ollama, found none: playbooks/adopt.yml makes it first."
        )
    check_room(plan.steps)
    spoiled = corrupt(plan.steps)
    if spoiled:
        names = ", ".join(str(path) for path in spoiled)
        raise AdoptError(
            f"Nothing was changed. {names}: expected another content by the hash that was noted when it was fetched."
            " Fetch it again with the old server, or remove the model that it belongs to."
        )
    book.carry_out(book.begin(plan.steps, plan.units))


def described(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data."""
    return {
        "engines": plan.engines,
        "table": table_lines(plan.rows),
        "variables": plan.variables,
        "groups": plan.groups,
        "remarks": plan.warnings,
        "problems": plan.problems,
    }


def give_back(module: AnsibleModule, book: Book) -> list[str]:
    """Undo every adoption, the last one first."""
    if module.check_mode:
        return []
    return [remark for number in reversed(book.numbers()) for remark in book.undo(number)]


def settle(module: AnsibleModule, book: Book) -> list[str]:
    """Make every adoption final."""
    numbers = book.numbers()
    open_ones = [number for number in numbers if not book.is_done(number)]
    if open_ones:
        raise AdoptError(
            "expected adoptions that are done, found one that was interrupted: run again with the state adopted"
        )
    if not module.check_mode:
        for number in numbers:
            book.settle(number)
    return []


if __name__ == "__main__":
    main()

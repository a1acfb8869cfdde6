"""The control node of a scenario's tests: runs playbooks as an operator would, and reaches the hosts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import testinfra
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
# Molecule asks for colours, which would stand between what is looked for in the output.
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_NOCOLOR": "1",
}


def machine(name: str) -> Any:
    """Return a host of the inventory by its name."""
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={INVENTORY}")


def addresses() -> dict[str, str]:
    """Return the address of every host of the inventory."""
    hosts = InventoryManager(DataLoader(), sources=[str(INVENTORY)]).get_hosts("all")
    return {host.name: host.vars["ansible_host"] for host in hosts}

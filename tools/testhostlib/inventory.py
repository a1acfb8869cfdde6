"""A lab as Ansible sees it."""

from __future__ import annotations

import json
from pathlib import Path

from .model import Host, Lab


def ssh_options(directory: Path) -> list[str]:
    """Options of ssh for a lab; known_hosts and control sockets live and die with the lab."""
    return [
        "-o",
        f"UserKnownHostsFile={directory}/known_hosts",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"ControlPath={directory}/cp/%r@%h",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "LogLevel=ERROR",
    ]


def host_variables(lab: Lab, host: Host, directory: Path) -> dict[str, str]:
    """What Ansible has to know to reach a host, and where a server on this machine can listen for it."""
    return {
        "ansible_host": host.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": f"{directory}/key",
        "ansible_ssh_common_args": " ".join(ssh_options(directory)),
        "ansible_python_interpreter": "/usr/bin/python3",
        "testhost_gateway": lab.gateway,
        "testhost_lab": lab.name,
    }


def as_yaml(lab: Lab, directory: Path) -> str:
    """Static inventory. Values are JSON strings, which YAML reads as they are."""
    lines = [f"# Lab {lab.name}, written by tools/testhost; gone with the lab.", "all:", "  hosts:"]
    for host in lab.hosts:
        lines.append(f"    {host.name}:")
        lines += [f"      {k}: {json.dumps(v)}" for k, v in host_variables(lab, host, directory).items()]
    return "\n".join(lines) + "\n"


def as_json(lab: Lab | None, directory: Path) -> str:
    """What an inventory script prints for --list; empty when there is no lab."""
    hosts = lab.hosts if lab else ()
    variables = {host.name: host_variables(lab, host, directory) for host in hosts} if lab else {}
    return json.dumps({"all": {"hosts": [host.name for host in hosts]}, "_meta": {"hostvars": variables}}, indent=1)

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_server
version_added: 0.1.0
short_description: Take an engine host out of the gateway and in again
description:
  - Runs on the gateway. Without O(state) it only reports.
  - V(drain) sends a host no new requests while those under way go on, in every backend that it serves.
  - A reload of the gateway forgets the state, health checks then decide alone.
options:
  host:
    description: Name of the engine host, as in the inventory. All hosts are reported when it is left out.
    type: str
  state:
    description:
      - V(ready) lets in requests, as far as health checks allow.
      - V(drain) lets in no new ones.
      - V(maint) lets in none and ends health checks too.
    type: str
    choices: [ready, drain, maint]
  wait_seconds:
    description:
      - How long to wait until the host has no request under way (O(state=drain) and O(state=maint)) or passes its
        health checks (O(state=ready)).
      - When the time is over the module succeeds all the same and returns RV(settled=false); what happens then is the
        caller's decision.
    type: float
    default: 0
  socket:
    description: Socket of HAProxy's master process.
    type: path
    default: /run/llm-gateway/master.sock
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Send this host no new requests and wait until the present ones are through
  llm.serving.gateway_server:
    host: "{{ inventory_hostname }}"
    state: drain
    wait_seconds: 300
  delegate_to: "{{ groups['gateway'][0] }}"
  register: drained

- name: Go on only when no reply would be cut off
  ansible.builtin.assert:
    that: drained.settled
    fail_msg: "{{ drained.sessions }} requests are still under way"
"""

RETURN = r"""
servers:
  description: The servers of the host, or all of them, after the change.
  returned: success
  type: list
  elements: dict
  contains:
    backend:
      description: HAProxy's name for the model.
      type: str
    server:
      description: The host.
      type: str
    state:
      description: What was asked for, V(ready), V(drain) or V(maint).
      type: str
    status:
      description: What the health checks say, in HAProxy's words.
      type: str
    sessions:
      description: Requests under way.
      type: int
sessions:
  description: Requests under way at all of RV(servers).
  returned: success
  type: int
settled:
  description: Whether what O(wait_seconds) waits for has come about.
  returned: when O(state) is given
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gateway.errors import GatewayError
from ..module_utils.gateway.runtime import ServerStatus, connect, servers, set_state, wait


def is_settled(state: str, found: list[ServerStatus]) -> bool:
    if state == "ready":
        return all(server.is_up for server in found)
    return sum(server.sessions for server in found) == 0


def run(module: AnsibleModule) -> dict[str, object]:
    host, state = module.params["host"], module.params["state"]
    ask = connect(module.params["socket"])
    found = servers(ask, host)
    if host is not None and not found:
        known = sorted({server.server for server in servers(ask)})
        raise GatewayError(f"host: the gateway knows no {host!r}; it knows {', '.join(known) or 'no host at all'}")
    if state is None:
        return {"changed": False, **report(found)}
    changing = [server for server in found if server.state != state]
    diff = {
        "before": [f"{server.backend}/{server.server} {server.state}" for server in found],
        "after": [f"{server.backend}/{server.server} {state}" for server in found],
    }
    if not module.check_mode:
        for server in changing:
            set_state(ask, server, state)
        found = wait(ask, host, lambda now: is_settled(state, now), module.params["wait_seconds"])
    return {"changed": bool(changing), "diff": diff, "settled": is_settled(state, found), **report(found)}


def report(found: list[ServerStatus]) -> dict[str, object]:
    return {
        "servers": [server.as_dict() for server in found],
        "sessions": sum(server.sessions for server in found),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str"},
            "state": {"type": "str", "choices": ["ready", "drain", "maint"]},
            "wait_seconds": {"type": "float", "default": 0},
            "socket": {"type": "path", "default": "/run/llm-gateway/master.sock"},
        },
        required_by={"state": ["host"]},
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except GatewayError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

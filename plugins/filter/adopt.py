# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/adopt.yml says of a host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

WIDTH = 110


def adopt_report(result: Mapping[str, Any], host: str) -> str:
    """Say what was found."""
    if not result["engines"]:
        known = " What an earlier run took over can be undone." if result["adoptions"] else ""
        return "\n".join([f"{host}: nothing was set up by hand that this could take over.{known}", *_points(result)])
    groups = " and ".join(f"the group {group}" for group in result["groups"])
    lines = [*result["table"], "", f"# host_vars/{host}/adopted.yml, with {host} in {groups}:"]
    lines += adopt_variables(result).splitlines()
    return "\n".join([*lines, "", *_points(result)]).rstrip()


def adopt_variables(result: Mapping[str, Any]) -> str:
    """Write the variables as an inventory's file has them."""
    # Through JSON: Ansible's own kinds of strings and lists become plain ones.
    plain = json.loads(json.dumps(result["variables"]))
    return "---\n" + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=WIDTH)


def adopt_outcome(result: Mapping[str, Any], state: str, host: str, *, is_check: bool) -> str:
    """Say what was done, or would be."""
    if is_check:
        return f"{host} would be {state}." if result["changed"] else f"{host}: there would be nothing to do."
    said = {
        "adopted": f"{host} is taken over. Now run ollama.yml or vllm.yml for it: until then nothing serves.",
        "undone": f"{host} is as it was before it was taken over.",
        "settled": f"{host} keeps what it has; the old names of its models and the old units are gone.",
    }[state]
    # What there is to know of what is taken over was said before.
    points = [] if state == "adopted" else _points(result)
    return "\n".join([said if result["changed"] else f"{host}: there was nothing to do.", *points])


def _points(result: Mapping[str, Any]) -> list[str]:
    problems = [f"! {problem}" for problem in result.get("problems", [])]
    return [*(f"- {remark}" for remark in result["remarks"]), *problems]


class FilterModule:
    """The filters of playbooks/adopt.yml."""

    def filters(self) -> dict[str, Any]:
        """Name them."""
        return {
            "adopt_outcome": adopt_outcome,
            "adopt_report": adopt_report,
            "adopt_variables": adopt_variables,
        }

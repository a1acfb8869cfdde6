# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changing hosts one after another works out on the control node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.changes import batches, states

JOURNAL_LINES = 10


def failure_text(result: Mapping[str, Any]) -> str:
    """Return why a task failed."""
    items = [item for item in result.get("results") or [] if item.get("failed")]
    texts = [text for text in (failure_text(item) for item in items) if text]
    if texts:
        return "\n".join(texts)
    lines = [str(line) for line in result.get("journal") or []][-JOURNAL_LINES:]
    return "\n".join([str(result.get("msg", "the task said nothing")), *lines])


def hosts_to_change(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the hosts whose registered result of this name says that something is pending.

    Hosts that share a model with one of them are changed with it, and stand beside it.
    """
    pending = {host for host in hosts if host in hostvars and _is_pending(hostvars[host].get(name))}
    crews = batches.crews(hosts, lambda host: hostvars.get(host, {}).get("vllm_models") or ())
    return [host for crew in crews if pending.intersection(crew) for host in crew]


def failed_hosts(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the hosts whose registered result of this name is a failure, or is not there."""
    found = {host: hostvars.get(host, {}).get(name) for host in hosts}
    return [host for host, result in found.items() if not isinstance(result, Mapping) or result.get("failed")]


def changed_together(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the hosts in an order in which those that share a model stand beside each other."""
    crews = batches.crews(hosts, lambda host: hostvars.get(host, {}).get("vllm_models") or ())
    return [host for crew in crews for host in crew]


def change_batches(
    hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], serial: Sequence[int | str] | int | str
) -> list[int | str]:
    """Return sizes of batches like those of `serial` that part no hosts which share a model."""
    listed = list(serial) if isinstance(serial, Sequence) and not isinstance(serial, str) else [serial]
    crews = batches.crews(hosts, lambda host: hostvars.get(host, {}).get("vllm_models") or ())
    return batches.sizes(crews, listed)


def _is_pending(result: Any) -> bool:
    return isinstance(result, Mapping) and bool(result.get("pending"))


def vllm_states(seen: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
    """Return the rows of a host with vLLM; `asked` is the registered loop over the probes of its generation."""
    results = seen["asked"]["results"]
    answers = {result["item"]["name"]: "checks" in result and not has_failed(result) for result in results}
    look = states.Seen(seen["facts"], seen["engine"], seen["plan"], answers, wanted=seen["wanted"])
    return [state.as_dict() for state in states.vllm_states(host, look)]


def ollama_states(seen: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
    """Return the rows of a host with Ollama; `compared` is a check run of ollama_model."""
    answers = {"ollama": "checks" in seen["asked"] and not has_failed(seen["asked"])}
    differ = bool(seen["compared"].get("changed"))
    look = states.Seen(seen["facts"], seen["engine"], seen["plan"], answers, models_differ=differ)
    return [state.as_dict() for state in states.ollama_states(host, look)]


def has_failed(probe: Mapping[str, Any]) -> bool:
    """Tell whether a check of a probe failed."""
    return any(not check["ok"] for check in probe["checks"].values())


def unknown_state(host: str, service: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the row of a host that could not be looked at."""
    return [states.unknown(host, service, f"could not be looked at: {failure_text(result)}").as_dict()]


def fleet_states(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], limit: str = ""
) -> list[dict[str, Any]]:
    """Return the rows of all hosts; those that could not be reached have one, unless only some hosts were asked for."""
    rows: list[dict[str, Any]] = []
    for service in ("vllm", "ollama"):
        for host in groups.get(service) or []:
            found = hostvars[host].get(f"__{service}_states")
            if found is None and not limit:
                found = [states.unknown(host, service, "could not be reached").as_dict()]
            rows += found or []
    return rows


class FilterModule:
    """The filters of changes."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "change_batches": change_batches,
            "changed_together": changed_together,
            "failed_hosts": failed_hosts,
            "failure_text": failure_text,
            "fleet_states": fleet_states,
            "hosts_to_change": hosts_to_change,
            "ollama_states": ollama_states,
            "unknown_state": unknown_state,
            "vllm_states": vllm_states,
        }

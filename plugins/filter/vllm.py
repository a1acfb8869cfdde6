# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vllm works out on the control node, without a round trip to the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.engines import (
    entries,
    installed,
    members,
    options,
    tables,
    variants,
)
from ansible_collections.llm.serving.plugins.module_utils.sizing import recalibration


def vllm_problems(
    models: Sequence[Mapping[str, Any]],
    known: Collection[str] = entries.KEYS,
    host: Mapping[str, Any] | None = None,
    here: str = "",
    fleet: Sequence[str] = (),
) -> list[str]:
    """Return what is wrong with the entries, by themselves and on a host with these facts."""
    problems = entries.entry_problems(models, known)
    if here:
        for entry in entries.wanted(models):
            problems += [f"{entry['name']}: {problem}" for problem in members.problems(entry, here, fleet)]
    if problems or host is None:
        return problems
    own = [instance["name"] for instance in host["instances"]]
    return entries.port_problems(models, host["listeners"], own) + entries.path_problems(models, host["missing_paths"])


def vllm_superfluous(
    engines: Sequence[Mapping[str, Any]], in_service: str, keep: int, needs: Sequence[str] = ()
) -> list[str]:
    """Return the folders of engines to remove, of those in C(ansible_facts.vllm.engines); none that `needs` names."""
    found = [installed.Installed(engine["name"], engine["build"]) for engine in engines]
    needed = {PurePosixPath(path).name for path in needs}
    return [name for name in installed.superfluous(found, in_service, keep) if name not in needed]


def vllm_measurements(planned: Mapping[str, Any], probes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what was measured by signature, of what vllm_plan returned and openai_probe for each of its plans."""
    logs = {plan["name"]: probe.get("engine_log") or {} for plan, probe in zip(planned["plans"], probes, strict=True)}
    return recalibration.measurements(planned["plans"], planned["signatures"], logs)


def vllm_wishes(
    models: Sequence[Mapping[str, Any]],
    paths: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    host: str,
    *,
    here: str,
    hostvars: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what to ask vllm_plan for, and sentences about outdated names."""
    return vars(entries.wishes(models, paths, defaults, host, here=here, variables=lambda name: hostvars[name]))


class FilterModule:
    """The collection's vLLM filters."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "vllm_problems": vllm_problems,
            "vllm_unknown_variables": lambda names: entries.unknown_variables(list(names), entries.VARIABLES),
            "vllm_known_options": options.known_options,
            "vllm_superfluous": vllm_superfluous,
            "vllm_tuned": entries.tuned,
            "vllm_variant": variants.variant,
            "vllm_wanted": entries.wanted,
            "vllm_models_list": entries.models,
            "vllm_fellows": members.others,
            "vllm_wishes": vllm_wishes,
            "vllm_instances": entries.instances,
            "vllm_measurements": vllm_measurements,
            "vllm_secrets": entries.secrets,
            "vllm_endpoints": entries.endpoints,
            "vllm_plan_table": tables.plan_lines,
            "vllm_report": tables.report_lines,
        }

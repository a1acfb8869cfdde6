# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/benchmark.yml measures, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

from ..module_utils.benchmark.errors import BenchmarkError
from ..module_utils.benchmark.targets import engine_targets, named_targets, said


def benchmark_data(value: Any) -> Any:
    """Return data, also of a variable that came as text by -e name=value."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise AnsibleFilterError(
            f"expected YAML such as [1,4,16], found {value!r}. On the command line, give what contains spaces as JSON: "
            """-e '{"benchmark_slo": {"ttft_seconds": 0.5}}'"""
        ) from error


def benchmark_lengths(value: Any) -> Any:
    """Return a distribution of lengths; a number alone is a fixed length."""
    data = benchmark_data(value)
    return {"mean": data} if isinstance(data, (int, float)) else data


def benchmark_engine_targets(routes: Iterable[Mapping[str, Any]], models: Any) -> list[dict[str, str]]:
    """Return what to measure on a host, of the routes that gateway_routes returned."""
    return engine_targets(routes, benchmark_data(models) or ())


def benchmark_url_targets(models: Any, url: str) -> list[dict[str, str]]:
    """Return what to measure behind a URL."""
    try:
        return named_targets(benchmark_data(models) or (), url)
    except BenchmarkError as error:
        raise AnsibleFilterError(str(error)) from error


def benchmark_said(runs: Sequence[Mapping[str, Any]], folder: str) -> dict[str, list[str]]:
    """Return what there is to say about each run, and where its report is."""
    return {
        f"{run['item']['model']} at {run['item']['url']}": _said(run, f"{folder}/{run['item']['folder']}/report.html")
        for run in runs
    }


def _said(run: Mapping[str, Any], report: str) -> list[str]:
    if "summary" in run:
        return [*said(run["summary"]), f"report: {report}"]
    if "plan" in run:
        plan = run["plan"]
        loads = ", ".join(f"{stage['requests']} requests {stage['label']}" for stage in plan["stages"])
        return [f"would send {loads}, in at most {plan['longest_seconds']:g} s"]
    return [str(run.get("msg", "not measured"))]


class FilterModule:
    """Filters of the benchmark playbook."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "benchmark_data": benchmark_data,
            "benchmark_lengths": benchmark_lengths,
            "benchmark_engine_targets": benchmark_engine_targets,
            "benchmark_said": benchmark_said,
            "benchmark_url_targets": benchmark_url_targets,
        }

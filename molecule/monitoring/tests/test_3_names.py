"""Every metric that a rule or a dashboard reads was really scraped, and every panel shows something."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import promql
import pytest
import yaml
from conftest import Monitor

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
BOARDS = promql.dashboards(ROOT / "roles" / "monitoring" / "files" / "dashboards")
PANELS = [
    (f"{name}: {panel['title']} {target['refId']}", target["expr"])
    for name, board in BOARDS.items()
    for panel in promql.panels(board)
    for target in panel.get("targets", [])
]
# Prometheus makes these itself, and only while something fires.
OWN = {"ALERTS"}
# No card is here: these come from the stub in the place of NVIDIA's library, through our own reader.
FROM_STUB = "llm_gpu_"


@pytest.fixture(scope="module")
def rules(mon: Any) -> dict[str, str]:
    groups = yaml.safe_load(mon.check_output("cat /etc/prometheus/llm/alerts.yml"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_names_are_found_in_expressions() -> None:
    found = promql.metric_names(
        'sum by (host, le) (rate(vllm:a_bucket{b="c d",e=~"f"}[5m])) > 2 and on (host) max(g_h) == 0'
    )
    assert found == {"vllm:a_bucket", "g_h"}


def test_every_metric_was_scraped(monitor: Monitor, rules: dict[str, str]) -> None:
    wanted = set().union(*map(promql.metric_names, [*rules.values(), *(expression for _, expression in PANELS)])) - OWN
    assert len(wanted) > 40
    missing = wanted - monitor.names()
    real = sorted(name for name in wanted if not name.startswith(FROM_STUB))
    stub = sorted(wanted - set(real))
    print(f"\nfrom real programs ({len(real)}): {', '.join(real)}\nfrom the stub NVML ({len(stub)}): {', '.join(stub)}")
    assert not missing, f"nobody exports {sorted(missing)}"


@pytest.mark.parametrize("expression", [pytest.param(expression, id=name) for name, expression in PANELS])
def test_panel_shows_something(monitor: Monitor, expression: str) -> None:
    query = expression.replace("$__rate_interval", "10s").replace("$host", ".*").replace("$model", ".*")
    end = int(time.time())
    # Long enough for all that the tests before this one did, however long they took.
    answer = monitor.ask(f"9090/prometheus/api/v1/query_range?query={quote(query)}&start={end - 3600}&end={end}&step=5")
    assert answer["status"] == "success"
    assert answer["data"]["result"], query

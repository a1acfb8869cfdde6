"""Before any trouble: everything is scraped, nothing fires, and nobody gets in who should not."""

from __future__ import annotations

import base64
import http.client
import ssl
from typing import Any

import pytest
from conftest import KEY, OPERATOR_KEY, Monitor, fetch, wait

EXPECTED = {"node", "vllm", "ollama", "gateway", "door", "prometheus", "alertmanager"}


def test_everything_is_scraped(monitor: Monitor) -> None:
    def down() -> list[str]:
        targets = monitor.ask("9090/prometheus/api/v1/targets")["data"]["activeTargets"]
        assert {target["labels"]["job"] for target in targets} == EXPECTED
        assert all(target["labels"].get("host") for target in targets)
        return [f"{target['scrapeUrl']}: {target['lastError']}" for target in targets if target["health"] != "up"]

    wait(lambda: not down(), lambda: f"down: {down()}")


def test_nothing_fires_but_the_watchdog(monitor: Monitor) -> None:
    wait(lambda: monitor.firing() == {"Watchdog"}, lambda: f"firing: {monitor.alerts()}")


def test_rules_and_configuration_are_those_that_were_checked(mon: Any) -> None:
    mon.check_output("promtool check config /etc/prometheus/llm/prometheus.yml")
    assert mon.check_output("stat -c %a:%U:%G /etc/prometheus/llm/alertmanager.yml") == "640:root:prometheus"


def test_storage_is_bounded(mon: Any) -> None:
    line = mon.check_output("tr '\\0' ' ' </proc/$(pgrep -x prometheus)/cmdline")
    assert "--storage.tsdb.retention.time=30d" in line
    assert "--storage.tsdb.retention.size=20GB" in line


def test_servers_listen_on_the_loopback_alone(mon: Any, engine: Any, addresses: dict[str, str]) -> None:
    listeners = mon.check_output("ss -Hltn").splitlines()
    for port in (9090, 9093, 9115):
        assert [line.split()[3] for line in listeners if line.split()[3].endswith(f":{port}")] == [f"127.0.0.1:{port}"]
        refused = fetch(engine, f"http://{addresses['mon']}:{port}/", succeeds=False)
        assert "Connection refused" in refused.stderr


def test_agents_let_in_the_monitor_alone(mon: Any, addresses: dict[str, str]) -> None:
    for port in (9100, 9435, 8010):
        assert "# TYPE" in fetch(mon, f"http://{addresses['engine']}:{port}/metrics").stdout


def test_exporter_of_ollama_is_nobody(engine: Any) -> None:
    properties = engine.check_output("systemctl show -p DynamicUser -p NoNewPrivileges llm-ollama-exporter")
    assert properties.splitlines() == ["DynamicUser=yes", "NoNewPrivileges=yes"]


@pytest.mark.parametrize(
    ("password", "path", "status"),
    [
        (None, "/prometheus/", 401),
        ("wrong", "/prometheus/", 401),
        ("former-0123456789abcdefghijklmnopqrstuv", "/prometheus/", 401),
        (KEY, "/prometheus/", 401),
        (OPERATOR_KEY, "/", 302),
        (OPERATOR_KEY, "/prometheus/-/ready", 200),
        (OPERATOR_KEY, "/prometheus/api/v1/query?query=up", 200),
        (OPERATOR_KEY, "/alertmanager/api/v2/status", 200),
        (OPERATOR_KEY, "/v1/models", 503),
    ],
)
def test_operators_come_by_the_gateway(
    password: str | None, path: str, status: int, addresses: dict[str, str], ca: str
) -> None:
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(addresses["mon"], 8443, timeout=60, context=context)
    headers = {}
    if password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"olga:{password}".encode()).decode()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    assert response.status == status
    if status == 401:
        assert response.getheader("www-authenticate") == 'Basic realm="operators", charset="UTF-8"'


def test_an_operator_is_no_client(addresses: dict[str, str], ca: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(addresses["mon"], 443, timeout=60, context=context)
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {OPERATOR_KEY}"})
    assert connection.getresponse().status == 401

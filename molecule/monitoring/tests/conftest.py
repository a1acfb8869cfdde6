"""The lab's monitor, asked where it listens, and the means to make trouble."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import control
import pytest

SCENARIO = Path(__file__).resolve().parents[1]
# Paid only by a run that fails: a machine that has much else to do is slow, not wrong.
PATIENCE_SECONDS = 300
KEY = "app-0123456789abcdefghijklmnopqrstuvwxyz"
OPERATOR_KEY = "olga-0123456789abcdefghijklmnopqrstuvwxy"


# A bare host has no curl.
FETCH = """\
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(sys.argv[1], sys.argv[2].encode() if sys.argv[2] else None, timeout=60).read().decode())
"""


def fetch(host: Any, url: str, body: str = "", succeeds: bool = True) -> Any:
    """Ask a URL from a host of the lab."""
    run = host.run("python3 -c %s %s %s", FETCH, url, body)
    assert (run.rc == 0) == succeeds, run.stderr or run.stdout
    return run


@dataclass(frozen=True)
class Monitor:
    """Prometheus and Alertmanager, through the shell of their host: they listen on its loopback alone."""

    host: Any

    def ask(self, url: str) -> Any:
        return json.loads(fetch(self.host, f"http://127.0.0.1:{url}").stdout)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression, which must be valid."""
        answer = self.ask(f"9090/prometheus/api/v1/query?query={quote(expression)}")
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def names(self) -> set[str]:
        """Names of all metrics that Prometheus has seen."""
        return set(self.ask("9090/prometheus/api/v1/label/__name__/values")["data"])

    def alerts(self) -> list[dict[str, Any]]:
        """What Alertmanager holds to be firing now, also what it keeps back."""
        return self.ask("9093/alertmanager/api/v2/alerts?active=true&inhibited=true")

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.alerts()}


def wait(condition: Callable[[], Any], what: Callable[[], str]) -> Any:
    """Wait until a condition holds, and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, what()
        time.sleep(1)


@pytest.fixture(scope="session")
def addresses() -> dict[str, str]:
    """Address of every host of the lab."""
    return control.addresses()


@pytest.fixture(scope="session")
def guest() -> Callable[[str], Any]:
    return control.machine


@pytest.fixture(scope="session")
def mon(guest: Callable[[str], Any]) -> Any:
    return guest("mon")


@pytest.fixture(scope="session")
def engine(guest: Callable[[str], Any]) -> Any:
    return guest("engine")


@pytest.fixture(scope="session")
def monitor(mon: Any) -> Monitor:
    return Monitor(mon)


@pytest.fixture(scope="session")
def ca() -> str:
    """File of the private CA's certificate."""
    return f"{os.environ.get('MOLECULE_EPHEMERAL_DIRECTORY') or '/tmp'}/llm-serving-monitoring-ca.pem"


@pytest.fixture(scope="session")
def client_environment(addresses: dict[str, str], ca: str) -> Iterator[dict[str, str]]:
    """The environment in which the examples reach the gateway."""
    yield {
        **os.environ,
        "OPENAI_BASE_URL": f"https://{addresses['mon']}/v1",
        "OPENAI_API_KEY": KEY,
        "OPENAI_MODEL": "tiny",
        "SSL_CERT_FILE": ca,
        "CURL_CA_BUNDLE": ca,
        "REQUESTS_CA_BUNDLE": ca,
        "NO_PROXY": "*",
    }

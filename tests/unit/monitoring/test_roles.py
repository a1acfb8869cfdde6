"""What the roles derive from their variables."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.template import trust_as_template

from .roles import ROLES, derive, task

AGENT = "monitoring_agent"


def agent(text: Any, address: str, ollama: bool = True) -> Any:
    return derive(
        AGENT,
        text,
        monitoring_agent_address=address,
        monitoring_agent_ollama=ollama,
        monitoring_agent_ollama_url="http://127.0.0.1:11434",
        ansible_managed="",
        inventory_hostname="nas",
    )


@pytest.mark.parametrize(("address", "shown"), [("10.0.0.5", "10.0.0.5"), ("fd00::5", "[fd00::5]")])
def test_agents_are_told_an_address_that_they_can_read(address: str, shown: str) -> None:
    arguments = task(AGENT, "node", "Write the node exporter's arguments")["ansible.builtin.copy"]["content"]
    assert f'"--web.listen-address={shown}:9100 ' in agent(arguments, address)
    unit = trust_as_template((ROLES / AGENT / "templates" / "llm-ollama-exporter.service.j2").read_text())
    assert f"ollama_exporter {shown}:9435 http://127.0.0.1:11434\n" in agent(unit, address)


@pytest.mark.parametrize(
    ("address", "reached"),
    [("fd00::5", "fd00::5"), ("10.0.0.5", "10.0.0.5"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],  # noqa: S104 - nothing is bound
)
def test_agents_that_do_not_listen_are_told(address: str, reached: str) -> None:
    wait = task(AGENT, "main", "Wait until the agents answer")
    assert wait["when"] == "not ansible_check_mode"
    assert [item["port"] for item in agent(wait["loop"], address)] == [9100, 9435]
    assert [item["port"] for item in agent(wait["loop"], address, ollama=False)] == [9100]
    options = wait["ansible.builtin.wait_for"]
    assert agent(options["host"], address) == reached
    item = {"unit": "prometheus-node-exporter", "port": 9100}
    message = derive(AGENT, options["msg"], monitoring_agent_address="fd00::5", item=item, inventory_hostname="nas")
    assert message.startswith("prometheus-node-exporter does not listen on [fd00::5]:9100: «journalctl -u prometheus-")

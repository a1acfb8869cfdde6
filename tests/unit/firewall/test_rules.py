"""Names of an inventory, made into addresses for the firewall."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.firewall.rules import (
    FirewallError,
    Rule,
    compile_rules,
    host_addresses,
)

HOSTS: dict[str, dict[str, Any]] = {
    "gate": {"ansible_host": "10.0.0.5", "ansible_facts": {"default_ipv4": {"address": "192.0.2.5"}}},
    "gate2": {"ansible_host": "gate2.example.org", "ansible_facts": {"default_ipv6": {"address": "2001:db8::5"}}},
    "watch": {"ansible_host": "watch.example.org", "firewall_addresses": ["10.0.0.6", "10.1.0.0/24"]},
    "lost": {"ansible_host": "lost.example.org"},
}
GROUPS = {"all": list(HOSTS), "gateway": ["gate", "gate2"], "monitoring": ["watch"], "empty": []}


def compiled(**rule: Any) -> list[Rule]:
    return compile_rules([{"name": "x", "ports": [8010], **rule}], GROUPS, lambda host: HOSTS[host])


def test_a_group_is_the_addresses_of_its_hosts() -> None:
    assert compiled(**{"from": ["gateway"]}) == [
        Rule("x", "tcp", (8010,), ("10.0.0.5/32", "192.0.2.5/32"), ("2001:db8::5/128",), False)
    ]


def test_hosts_addresses_and_networks_may_be_mixed() -> None:
    (rule,) = compiled(**{"from": ["watch", "10.9.0.0/16", "2001:db8:1::/48", "10.9.0.0/16"]})
    assert rule.sources_v4 == ("10.0.0.6/32", "10.1.0.0/24", "10.9.0.0/16")
    assert rule.sources_v6 == ("2001:db8:1::/48",)


def test_any_is_everybody() -> None:
    assert compiled(**{"from": ["any", "gate"]}) == [Rule("x", "tcp", (8010,), (), (), True)]


@pytest.mark.parametrize("sources", [["empty"], []])
def test_nobody_is_no_rule(sources: list[str]) -> None:
    assert compiled(**{"from": sources}) == []


def test_ports_are_sorted_and_may_be_left_out() -> None:
    (rule,) = compiled(ports=[9, 8, 9], **{"from": ["any"]})
    assert rule.ports == (8, 9)
    (rule,) = compiled(ports=None, protocol="udp", **{"from": ["any"]})
    assert (rule.ports, rule.protocol) == ((), "udp")


def test_stated_addresses_win() -> None:
    assert host_addresses("h", {"ansible_host": "10.0.0.1", "firewall_addresses": ["10.0.0.2"]}) == ["10.0.0.2"]


def test_a_host_named_by_its_address() -> None:
    assert host_addresses("10.0.0.7", {}) == ["10.0.0.7"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"from": ["lost"]}, "no address of lost is known"),
        ({"from": ["nobody"]}, "'nobody' in the rule 'x' is no address"),
        ({"from": ["0.0.0.0/0"]}, "is everybody; write «any»"),
        ({"from": ["::/0"]}, "is everybody"),
        ({"from": ["any"], "ports": [0]}, r"expected 1 to 65535"),
        ({"from": ["any"], "ports": [65536]}, r"expected 1 to 65535"),
        ({"from": ["any"], "protocol": "icmp"}, "expected tcp or udp"),
        ({"from": ["any"], "name": 'a" accept'}, "is not made of letters"),
    ],
)
def test_what_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(FirewallError, match=message):
        compiled(**rule)

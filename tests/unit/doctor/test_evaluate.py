"""From evidence to findings: every check, in the right order, and none on a healthy host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.doctor.evaluate import evaluate, safe_fixes
from ansible_collections.llm.serving.plugins.module_utils.doctor.firewall import verdict
from ansible_collections.llm.serving.plugins.module_utils.doctor.report import render
from ansible_collections.llm.serving.plugins.module_utils.doctor.rules import ALL_RULES

GATE = "10.0.0.1"
NAME = "vllm@m.service"
GIB = 1 << 30


def unit(**changes: Any) -> dict[str, Any]:
    """A vLLM instance that serves."""
    return {
        "name": NAME,
        "engine": "vllm",
        "load": "loaded",
        "active": "active",
        "sub": "running",
        "result": "success",
        "restarts": 0,
        "enabled": "enabled",
        "port": 8000,
        "listens": [{"address": "10.0.0.5", "port": 8000}],
        "answers": True,
        "model": {"path": "/srv/models/m", "exists": True, "problems": [], "unreadable": ""},
        "log": ["INFO:     Application startup complete."],
        **changes,
    }


def dead(**changes: Any) -> dict[str, Any]:
    """A vLLM instance that has failed."""
    failed = {"active": "failed", "sub": "failed", "result": "exit-code", "answers": None, "listens": [], "log": []}
    return unit(**{**failed, **changes})


def host(*units: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A healthy host, apart from what is changed."""
    disks = [{"path": "/srv/models", "total_bytes": 900 * GIB, "free_bytes": 500 * GIB, "free_inodes": 9}]
    return {"gpu": {"problem": None}, "units": list(units or [unit()]), "clients": [GATE], "disks": disks, **changes}


def nft(*rules: list[dict[str, Any]], policy: str = "drop") -> dict[str, Any]:
    """A ruleset with one input chain."""
    place = {"family": "inet", "table": "t"}
    chain = {"chain": {**place, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}}
    return {"nftables": [chain, *({"rule": {**place, "chain": "input", "expr": list(rule)}} for rule in rules)]}


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    """A condition of a rule."""
    return {"match": {"op": op, "left": left, "right": right}}


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
STATE = {"ct": {"key": "state"}}
IIF = {"meta": {"key": "iifname"}}
BLOCKED = nft([match(STATE, ["established", "related"]), {"accept": None}], [match(IIF, "lo"), {"accept": None}])
OPEN = nft([match(SADDR, {"set": [GATE]}), match(DPORT, {"set": [8000, 8001]}), {"accept": None}])
LOOPBACK = {"listens": [{"address": "127.0.0.1", "port": 8000}]}
BROKEN = {"path": "/srv/models/m", "exists": True}
OLLAMA = {"gpu_problems": ["m:latest: 0 % of its 9 bytes are on the GPU, expected 100 %", "reason: found only: cpu"]}
REFUSED = "vllm serve: error: unrecognized arguments: --disable-log-requests"


@pytest.mark.parametrize(
    ("evidence", "codes"),
    [
        (host(), []),
        (host(nft=OPEN), []),
        (host(dead(log=[REFUSED])), ["unknown_option"]),
        (host(dead(log=[REFUSED], result="start-limit-hit")), ["unknown_option", "crash_loop"]),
        (host(dead(result="start-limit-hit")), ["crash_loop"]),
        (host(dead(result="oom-kill")), ["host_out_of_memory", "unit_failed"]),
        (host(dead()), ["unit_failed"]),
        (host(dead(active="inactive", result="success")), ["unit_stopped"]),
        (host(unit(load="not-found", expected=True, active="inactive")), ["unit_missing"]),
        (host(dead(model={"path": "/nowhere", "exists": False})), ["model_path_missing", "unit_failed"]),
        (host(unit(model={**BROKEN, "problems": ["no tokenizer: none of tokenizer.json"]})), ["tokenizer"]),
        (host(unit(model={**BROKEN, "problems": ["m-2-of-2.safetensors is missing"]})), ["shard_missing"]),
        (host(unit(model={**BROKEN, "problems": ["m.safetensors is a git LFS pointer"]})), ["shard_corrupt"]),
        (host(unit(model={**BROKEN, "unreadable": "/srv/models/m/x"})), ["model_not_readable"]),
        (host(unit(**LOOPBACK)), ["bound_to_loopback"]),
        (host(unit(**LOOPBACK), clients=[]), []),
        (host(nft=BLOCKED), ["firewall_blocks"]),
        (host(unit(answers=False)), ["api_silent"]),
        (host(unit(answers=False, listens=[])), ["still_starting"]),
        (host(unit(answers=False, listens=[], restarts=2, log=[REFUSED])), ["unknown_option", "still_starting"]),
        (host(unit(needs_reload=True)), ["needs_daemon_reload"]),
        (host(ollama=OLLAMA), ["silent_cpu_fallback"]),
        (host(gpu={"problem": {"code": "gpu_lost", "message": "gone", "remedy": "reboot"}}), ["gpu_lost"]),
        (host(kernel=["NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus."]), ["gpu_lost"]),
        (host(disks=[{"path": "/x", "total_bytes": 9 * GIB, "free_bytes": 9}]), ["disk_full"]),
        (host(disks=[{"path": "/x", "total_bytes": 90 * GIB, "free_bytes": GIB}]), ["disk_nearly_full"]),
        (host(downloads=[{"path": "/srv/models/a/b/.c.part", "age_seconds": 8 * 86400}]), ["stale_download"]),
        (host(downloads=[{"path": "/srv/models/a/b/.c.part", "age_seconds": 60}]), []),
    ],
)
def test_checks(evidence: dict[str, Any], codes: list[str]) -> None:
    assert [finding.code for finding in evaluate(evidence)] == codes


def test_a_port_taken_by_another_names_the_owner() -> None:
    sockets = [{"address": "10.0.0.5", "port": 8000, "process": "python3", "pid": 7, "unit": "other.service"}]
    log = ["OSError: [Errno 98] Address already in use"]
    findings = evaluate(host(dead(log=log), sockets=sockets))
    assert [finding.code for finding in findings] == ["port_in_use", "port_taken"]
    assert "other.service" in findings[1].evidence


def test_only_the_last_two_lives_of_a_unit_count() -> None:
    old, start = "OSError: [Errno 98] Address already in use", f"Started {NAME} - vLLM serving m."
    findings = evaluate(host(dead(log=[start, old, start, start], result="start-limit-hit")))
    assert [finding.code for finding in findings] == ["crash_loop"]


def test_a_backend_that_came_back_is_no_finding() -> None:
    log = ["Server a/g1 is DOWN, reason: x", "Server a/g2 is DOWN", "Server a/g1 is UP, reason: y"]
    gateway = unit(name="haproxy.service", engine="gateway", model={}, log=log)
    assert [(f.code, f.subject) for f in evaluate(host(gateway))] == [("backend_down", "haproxy.service a/g2")]


# As HAProxy says it before 3.1, and since.
@pytest.mark.parametrize("began", ["New worker (2441) forked", "Initializing new worker (2441)"])
def test_a_backend_that_was_down_before_a_reload_is_no_finding(began: str) -> None:
    log = ["Server a/g1 is DOWN", f"[NOTICE]   (1441) : {began}", "Server b/g1 is DOWN"]
    gateway = unit(name="haproxy.service", engine="gateway", model={}, log=log)
    assert [f.subject for f in evaluate(host(gateway))] == ["haproxy.service b/g1"]


def test_the_worst_comes_first() -> None:
    findings = evaluate(host(unit(needs_reload=True), dead(name="vllm@n.service", log=[REFUSED])))
    assert [finding.severity for finding in findings] == ["critical", "warning"]


@pytest.mark.parametrize(
    ("rules", "blocked"),
    [
        (OPEN, False),
        (BLOCKED, True),
        (nft(policy="accept"), False),
        (nft([match(DPORT, 8000), {"drop": None}], policy="accept"), True),
        (nft([match(DPORT, {"range": [7000, 9000]}), {"accept": None}]), False),
        (nft([match(SADDR, {"prefix": {"addr": "10.0.0.0", "len": 8}}), {"accept": None}]), False),
        (nft([match(SADDR, "10.0.0.9"), match(DPORT, 8000), {"accept": None}]), True),
        (nft([match(DPORT, 22), {"accept": None}], [{"reject": None}], policy="accept"), True),
        (nft([match(DPORT, 22, "!="), {"accept": None}]), False),
        ({}, False),
    ],
)
def test_firewalls_are_read(rules: dict[str, Any], blocked: bool) -> None:
    assert verdict(rules, 8000, GATE).blocked is blocked


def test_fixes_are_listed_once_and_only_where_nothing_serves() -> None:
    findings = evaluate(host(dead(log=["Out of memory: Killed process 1 (x)"], result="start-limit-hit")))
    assert safe_fixes(findings) == [{"fix": "restart", "target": NAME, "because": "host_out_of_memory"}]
    assert safe_fixes(evaluate(host(unit(needs_reload=True)))) == [
        {"fix": "daemon_reload", "target": NAME, "because": "needs_daemon_reload"}
    ]


def test_the_report_tells_all_and_puts_the_sick_host_first() -> None:
    hosts = {"a": [], "b": [finding.as_dict() for finding in evaluate(host(dead(log=[REFUSED])))]}
    text = render(hosts)
    assert text.index("== b ==") < text.index("== a == nothing is wrong")
    for words in ("CRITICAL", REFUSED, "extra_args", "correct the name"):
        assert words in text


def test_the_report_fits_a_terminal_and_sums_up_a_fleet() -> None:
    refused = f"{REFUSED} " + "and a long list of what there is, " * 60
    sick = [finding.as_dict() for finding in evaluate(host(dead(log=[refused])))]
    text = render({"a": [], "b": sick, "c": []})
    assert text.splitlines()[0] == "3 hosts: 1 critical, 2 with nothing wrong"
    assert max(len(line) for line in text.splitlines()) <= 100
    assert len(text.splitlines()) < 30
    assert render({"a": []}) == "== a == nothing is wrong"


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.code)
def test_rules_say_why_and_what_to_do(rule: Any) -> None:
    assert rule.cause.endswith(".")
    assert rule.remedy.endswith(".")

"""Healthy hosts have no finding; every sick instance has its cause named first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

CLIENT = "198.18.255.9"
# What is done to a copy of the sound instance, and what the doctor must name first.
SICK = {
    "path": ("sed -i 's|^model: .*|model: /srv/models/local/absent|' $yaml", {"model_not_found", "model_path_missing"}),
    "shard": ("spoil rm -f model-00002-of-00002.safetensors", {"shard_missing"}),
    "corrupt": ("spoil truncate --size=-1000 model-00002-of-00002.safetensors", {"shard_corrupt"}),
    "tokenizer": ("spoil truncate --size=40 tokenizer.json", {"tokenizer"}),
    "port": ("sed -i 's/^port: .*/port: 8010/' $yaml", {"port_in_use"}),
    "kv": (
        "echo 'kv-cache-memory-bytes: 4096' >>$yaml; sed -i '/KVCACHE/d' $env",
        {"kv_cache_too_small", "no_kv_cache_memory"},
    ),
    "context": ("sed -i 's/^max-model-len: .*/max-model-len: 999999/' $yaml", {"max_model_len_over_model"}),
    "bind": ("sed -i 's/^host: .*/host: 10.99.99.99/' $yaml", {"address_not_here"}),
    "flag": ("echo 'disable-log-requests: true' >>$yaml", {"unknown_option"}),
    "memory": ("service LimitAS=1200M", {"host_out_of_memory"}),
    "loop": ("service ExecStart= ExecStart=/bin/false Restart=on-failure RestartSec=100ms", {"crash_loop"}),
}
SCRIPT = """
set -eu
name={name}; yaml=/etc/vllm/$name.yaml; env=/etc/vllm/$name.env; drop=/run/systemd/system/vllm@$name.service.d
mkdir -p $drop
cp -a /etc/vllm/sound.yaml $yaml; cp -a /etc/vllm/sound.env $env
sed -i 's/^port: .*/port: {port}/' $yaml
service() {{ (echo '[Service]'; printf '%s\\n' "$@") >$drop/test.conf; }}
spoil() {{
  cp -a /srv/models/local/tiny /srv/models/local/$name; (cd /srv/models/local/$name; "$@")
  sed -i "s|^model: .*|model: /srv/models/local/$name|" $yaml
}}
service Restart=no
{harm}
"""


def script(name: str, port: int, harm: str) -> str:
    """The shell script that makes a sick copy of the sound instance."""
    return SCRIPT.format(name=name, port=port, harm=harm.replace("spoil ", "spoil ", 1)).replace(
        "break() {{ :; }}\n", ""
    )


@pytest.fixture(scope="module")
def ward(clinic: Any, doctor: Callable[..., Any]) -> Any:
    """All sick instances at once, after they have failed; what the doctor says of each."""
    for number, (name, (harm, _codes)) in enumerate(SICK.items()):
        clinic.run_expect([0], "bash -c %s", script(name, 8021 + number, harm))
    names = " ".join(f"vllm@{name}" for name in SICK)
    clinic.run_expect([0], "systemctl daemon-reload")
    clinic.run_expect([0], f"systemctl start --no-block {names}")
    deadline = time.monotonic() + 1500
    while set(states := clinic.run(f"systemctl is-active {names}").stdout.split()) != {"failed"}:
        assert time.monotonic() < deadline, states
        time.sleep(3)
    return doctor()["clinic"]


def test_healthy_hosts_have_no_finding(doctor: Callable[..., Any]) -> None:
    assert doctor() == {"clinic": [], "fallback": []}


def test_the_gateway_on_another_host_cannot_reach_loopback(doctor_for: Callable[..., Any]) -> None:
    assert [finding["code"] for finding in doctor_for("clinic", CLIENT)] == ["bound_to_loopback"]


def test_a_firewall_in_the_way_is_seen(doctor_for: Callable[..., Any], fallback: Any) -> None:
    assert doctor_for("fallback", CLIENT) == []
    table = (
        "table inet wall { chain input { type filter hook input priority 5; tcp dport 11434 iifname != lo drop; }; }"
    )
    fallback.run_expect([0], "sh -c %s", f"echo '{table}' | nft -f -")
    try:
        assert [finding["code"] for finding in doctor_for("fallback", CLIENT)] == ["firewall_blocks"]
    finally:
        fallback.run_expect([0], "nft delete table inet wall")


def test_a_silent_fallback_to_the_cpu_is_seen(doctor_for: Callable[..., Any], fallback: Any) -> None:
    body = '{"model": "tiny", "prompt": "a", "stream": false, "options": {"num_predict": 1}}'
    ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:11434/api/generate', b'''{body}''').read()"
    fallback.run_expect([0], "python3 -c %s", ask)
    findings = doctor_for("fallback")
    assert findings[0]["code"] == "silent_cpu_fallback"
    assert "tiny" in findings[0]["evidence"]


@pytest.mark.parametrize("name", SICK)
def test_the_right_cause_comes_first(ward: list[dict[str, Any]], name: str) -> None:
    mine = [finding for finding in ward if finding["subject"] == f"vllm@{name}.service"]
    assert mine, f"nothing was found wrong with {name}"
    assert mine[0]["code"] in SICK[name][1], mine
    assert mine[0]["severity"] == "critical"


def test_the_sound_instance_is_left_out(ward: list[dict[str, Any]]) -> None:
    assert [finding for finding in ward if finding["subject"] == "vllm@sound.service"] == []


def test_nothing_changes_without_the_tag_and_what_is_safe_with_it(
    ward: list[dict[str, Any]], clinic: Any, doctor: Callable[..., Any]
) -> None:
    assert clinic.run("systemctl is-failed vllm@loop").stdout.strip() == "failed"
    drop = "/run/systemd/system/vllm@loop.service.d/test.conf"
    clinic.run_expect([0], "sh -c %s", f"printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep infinity\\n' >{drop}")
    assert "needs_daemon_reload" in {finding["code"] for finding in doctor()["clinic"]}
    doctor("--tags", "fix")
    assert clinic.run("systemctl is-active vllm@loop").stdout.strip() == "active"

"""Every alert fires when it should and is quiet when it should: by promtool, with the rules as they are shipped."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import rules
from .rules import ROOT

PROMTOOL = ROOT / "tools" / "promtool"
MINUTES = 150  # of data: longer than the longest «for»

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Series (in promtool's notation, a sample a minute) that make an alert fire, and others that do not."""

    fires: Series
    quiet: Series
    minute: int = 100


def always(name: str, value: float) -> Series:
    return {name: f"{value}+0x{MINUTES}"}


def bucket(metric: str, slow: bool) -> Series:
    """All observations between 1 s and 10 s, or all of them below 0.01 s."""
    labels = 'host="gpu1",model_name="m"'
    return {
        f'vllm:{metric}_seconds_bucket{{{labels},le="0.01"}}': f"0+{0 if slow else 60}x{MINUTES}",
        f'vllm:{metric}_seconds_bucket{{{labels},le="1"}}': f"0+{0 if slow else 60}x{MINUTES}",
        f'vllm:{metric}_seconds_bucket{{{labels},le="10"}}': f"0+60x{MINUTES}",
        f'vllm:{metric}_seconds_bucket{{{labels},le="+Inf"}}': f"0+60x{MINUTES}",
    }


def gateway(good: int, bad: int) -> Series:
    """Requests per minute that end well and badly."""
    labels = 'host="gate",proxy="model-m"'
    return {
        f"haproxy_backend_http_requests_total{{{labels}}}": f"0+{good + bad}x{MINUTES}",
        f'haproxy_backend_http_responses_total{{{labels},code="2xx"}}': f"0+{good}x{MINUTES}",
        f'haproxy_backend_http_responses_total{{{labels},code="5xx"}}': f"0+{bad}x{MINUTES}",
    }


def waiting(values: str) -> Series:
    return {'vllm:num_requests_waiting{host="gpu1",model_name="m"}': values}


def cache(used: float, preempted_per_minute: int) -> Series:
    return {
        'vllm:kv_cache_usage_perc{host="gpu1",model_name="m"}': f"{used}+0x{MINUTES}",
        'vllm:num_preemptions_total{host="gpu1",model_name="m"}': f"0+{preempted_per_minute}x{MINUTES}",
    }


def ollama(on_gpu: int, gpus: int, host: str = "edge", model: str = "m") -> Series:
    return {
        **always(f'ollama_model_size_bytes{{host="{host}",model="{model}"}}', 100),
        **always(f'ollama_model_vram_bytes{{host="{host}",model="{model}"}}', on_gpu),
        **always(f'llm_gpu_devices{{host="{host}"}}', gpus),
    }


def load(running: int, utilization: float) -> Series:
    return {
        **always('vllm:num_requests_running{host="gpu1",model_name="m"}', running),
        **always('llm_gpu_utilization_ratio{host="gpu1",gpu="0"}', utilization),
        **always('llm_gpu_utilization_ratio{host="gpu1",gpu="1"}', 0),
    }


def xid(kind: str, at_minute: int) -> Series:
    return always(f'llm_gpu_xid_last_timestamp_seconds{{host="gpu1",class="{kind}",xid="1"}}', at_minute * 60)


def disk(free: str, mountpoint: str = "/srv", size: int = 100) -> Series:
    labels = f'host="gpu1",mountpoint="{mountpoint}",fstype="ext4"'
    return {
        f"node_filesystem_avail_bytes{{{labels}}}": free,
        **always(f"node_filesystem_size_bytes{{{labels}}}", size),
    }


DEVICE = 'host="gpu1",gpu="0"'
CASES: dict[str, list[Case]] = {
    "LlmEngineDown": [
        Case(always('up{job="vllm",host="gpu1"}', 0), always('up{job="vllm",host="gpu1"}', 1)),
        Case(always('ollama_up{job="ollama",host="edge"}', 0), always('ollama_up{job="ollama",host="edge"}', 1)),
        # One missed scrape is none.
        Case(always('up{job="vllm"}', 0), {'up{job="vllm"}': "1+0x98 0 1+0x40"}),
    ],
    "LlmEngineNotReady": [
        Case(
            always('haproxy_server_status{proxy="model-m",server="gpu1",state="DOWN"}', 1),
            {
                **always('haproxy_server_status{proxy="model-m",server="gpu1",state="DOWN"}', 0),
                **always('haproxy_server_status{proxy="model-m",server="gpu1",state="MAINT"}', 1),
            },
        )
    ],
    "LlmModelUnavailable": [
        Case(
            always('haproxy_backend_active_servers{proxy="model-m"}', 0),
            {
                **always('haproxy_backend_active_servers{proxy="model-m"}', 1),
                **always('haproxy_backend_active_servers{proxy="under-way"}', 0),
            },
        )
    ],
    "LlmNoRequestsServed": [
        Case(gateway(0, 30), gateway(30, 1)),
        # Nobody asks: no harm.
        Case(gateway(0, 1), gateway(0, 0)),
    ],
    "LlmQueueGrowing": [
        Case(waiting(f"0+1x{MINUTES}"), waiting(f"5+0x{MINUTES}")),
        # A crowd that is served at once is none.
        Case(waiting(f"50+0x{MINUTES}"), waiting("0+0x97 50 50 50 0+0x49")),
    ],
    "LlmTimeToFirstTokenHigh": [
        Case(bucket("time_to_first_token", slow=True), bucket("time_to_first_token", slow=False))
    ],
    "LlmInterTokenLatencyHigh": [
        Case(bucket("inter_token_latency", slow=True), bucket("inter_token_latency", slow=False))
    ],
    "LlmKvCacheExhausted": [
        Case(cache(0.99, 3), cache(0.99, 0)),
        Case(cache(0.99, 3), cache(0.5, 3)),
    ],
    "OllamaUsesCpu": [
        Case(ollama(on_gpu=40, gpus=1), ollama(on_gpu=100, gpus=1)),
        # A host without GPUs computes on its CPU by right.
        Case(ollama(on_gpu=0, gpus=2), ollama(on_gpu=0, gpus=0)),
    ],
    "VllmGpuIdle": [
        Case(load(running=3, utilization=0), load(running=3, utilization=0.2)),
        Case(load(running=3, utilization=0), load(running=0, utilization=0)),
    ],
    "GpuLost": [
        Case(always('llm_gpu_problem{host="gpu1",code="gpu_lost"}', 1), always('llm_gpu_devices{host="gpu1"}', 1))
    ],
    "GpuMissing": [
        Case({'llm_gpu_devices{host="gpu1"}': "8+0x90 7+0x60"}, always('llm_gpu_devices{host="gpu1"}', 8)),
        # One that came back.
        Case({'llm_gpu_devices{host="gpu1"}': "8+0x90 7+0x60"}, {'llm_gpu_devices{host="gpu1"}': "8+0x50 7 8+0x90"}),
    ],
    "GpuXidHardware": [
        Case(xid("lost", 90), xid("lost", 10)),
        Case(xid("other", 90), xid("application", 90)),
    ],
    "GpuXidApplication": [Case(xid("application", 90), xid("memory", 90))],
    "GpuEccUncorrected": [
        Case(
            always(f'llm_gpu_ecc_errors_total{{{DEVICE},kind="uncorrected"}}', 1),
            {
                **always(f'llm_gpu_ecc_errors_total{{{DEVICE},kind="corrected"}}', 9),
                **always(f'llm_gpu_ecc_errors_total{{{DEVICE},kind="uncorrected"}}', 0),
            },
        )
    ],
    "GpuRowRemapPending": [
        Case(always(f"llm_gpu_row_remap_pending{{{DEVICE}}}", 1), always(f"llm_gpu_row_remap_pending{{{DEVICE}}}", 0))
    ],
    "GpuRowRemapFailed": [
        Case(always(f"llm_gpu_row_remap_failed{{{DEVICE}}}", 1), always(f"llm_gpu_row_remap_failed{{{DEVICE}}}", 0))
    ],
    "GpuThermalThrottling": [
        Case(
            always(f'llm_gpu_throttled{{{DEVICE},reason="thermal_hardware"}}', 1),
            # Its power limit holds every busy card back.
            always(f'llm_gpu_throttled{{{DEVICE},reason="power_cap"}}', 1),
        )
    ],
    "GpuMetricsStale": [
        Case(
            always('node_textfile_mtime_seconds{file="/x/llm_gpu.prom"}', 5000),
            {
                'node_textfile_mtime_seconds{file="/x/llm_gpu.prom"}': f"0+60x{MINUTES}",
                **always('node_textfile_mtime_seconds{file="/x/somebody_elses.prom"}', 5000),
            },
        )
    ],
    "ModelDiskFilling": [
        Case(disk(f"5+0x{MINUTES}"), disk(f"50+0x{MINUTES}")),
        # 0.1 % a minute: gone before tomorrow, and only news once there is not much left.
        Case(disk(f"28-0.1x{MINUTES}"), disk(f"99-0.1x{MINUTES}")),
        Case(disk(f"5+0x{MINUTES}"), disk(f"5+0x{MINUTES}", mountpoint="/run/user/0")),
    ],
    "ModelFileCorrupt": [
        Case(always('llm_models_corrupt_files{repo="a/b"}', 1), always('llm_models_corrupt_files{repo="a/b"}', 0))
    ],
    "MonitoringTargetDown": [
        Case(always('up{job="node",host="gpu1"}', 0), always('up{job="vllm",host="gpu1"}', 0)),
        Case(always('up{job="gateway",host="gate"}', 0), always('up{job="gateway",host="gate"}', 1)),
    ],
    # A probe of somebody else's job is none of the gateway's.
    "GatewayUnreachable": [
        Case(
            always('probe_success{job="door"}', 0),
            {**always('probe_success{job="door"}', 1), **always('probe_success{job="theirs"}', 0)},
        )
    ],
    "GatewayErrors": [
        Case(gateway(80, 20), gateway(99, 1)),
        # Pages for operators are no models.
        Case(gateway(80, 20), {key.replace("model-m", "operators"): values for key, values in gateway(80, 20).items()}),
    ],
    "CertificateEnding": [
        Case(
            always('probe_ssl_earliest_cert_expiry{job="door"}', 10 * 86400),
            {
                **always('probe_ssl_earliest_cert_expiry{job="door"}', 40 * 86400),
                **always('probe_ssl_earliest_cert_expiry{job="theirs"}', 10 * 86400),
            },
        )
    ],
    # It is there to fire always.
    "Watchdog": [],
}


@pytest.fixture(scope="module")
def shipped() -> str:
    return rules.render()


def test_every_alert_has_a_test(shipped: str) -> None:
    assert set(rules.alerts(shipped)) == set(CASES)
    assert all(cases for name, cases in CASES.items() if name != "Watchdog")


def check(name: str, series: Series, minute: int, firing: bool) -> dict[str, Any]:
    query = f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0'
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if firing else []
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{minute}m", "exp_samples": expected}],
    }


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_well_formed(shipped: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(shipped)
    assert f"{len(CASES)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("name", sorted(name for name in CASES if CASES[name]))
def test_alert(name: str, shipped: str, tmp_path: Path) -> None:
    prove(name, CASES[name], shipped, tmp_path)


def test_ollama_may_use_the_cpu_where_it_is_meant_to(tmp_path: Path) -> None:
    shares: list[dict[str, Any]] = [
        {"host": "edge", "percent": 80.0},
        {"host": "edge", "model": "embed:latest", "percent": 0.0},
        {"host": "lax", "percent": 0.0},
    ]
    cases = [
        Case(ollama(on_gpu=70, gpus=1), ollama(on_gpu=80, gpus=1)),
        Case(ollama(on_gpu=0, gpus=1), ollama(on_gpu=0, gpus=1, model="embed:latest")),
        # What is meant of one host is not meant of another.
        Case(ollama(on_gpu=80, gpus=1, host="other"), ollama(on_gpu=0, gpus=1, host="lax")),
        Case(ollama(on_gpu=0, gpus=1, host="other", model="embed:latest"), ollama(on_gpu=100, gpus=1, host="other")),
    ]
    prove("OllamaUsesCpu", cases, rules.render(monitoring_ollama_shares=shares), tmp_path)


def prove(name: str, cases: list[Case], text: str, tmp_path: Path) -> None:
    """See an alert of a rule file fire and be quiet, in every case."""
    (tmp_path / "alerts.yml").write_text(text)
    tests = [
        check(name, series, case.minute, firing)
        for case in cases
        for series, firing in ((case.fires, True), (case.quiet, False))
    ]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", path)


def test_a_test_that_expects_too_much_fails(shipped: str, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(shipped)
    wrong = check("LlmEngineDown", CASES["LlmEngineDown"][0].quiet, 100, firing=True)
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [wrong]}))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", path)


def test_every_alert_says_how_grave_it_is_and_what_to_do(shipped: str) -> None:
    for name, rule in rules.alerts(shipped).items():
        assert rule["labels"]["severity"] in ("critical", "warning", "none"), name
        assert rule["annotations"]["summary"], name
        assert name == "Watchdog" or "$labels" in rule["annotations"]["summary"], name
        page, _hash, anchor = rule["annotations"]["runbook_url"].rpartition("/")[2].partition("#")
        text = (ROOT / "docs" / "runbooks" / page).read_text()
        assert anchor == name.lower()
        section = re.search(rf"^## {name}\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"{page} has no section {name}"
        assert len(section[1].split()) > 20, name


def test_runbooks_have_no_section_without_an_alert(shipped: str) -> None:
    pages = (ROOT / "docs" / "runbooks").glob("*.md")
    sections = {title for page in pages for title in re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE)}
    assert sections == set(rules.alerts(shipped))


def test_waits_can_be_changed() -> None:
    changed = rules.alerts(rules.render(monitoring_alert_for={"LlmEngineDown": "7m", "all": "3s"}))
    assert changed["LlmEngineDown"]["for"] == "7m"
    assert {rule["for"] for name, rule in changed.items() if name != "LlmEngineDown"} == {"3s"}

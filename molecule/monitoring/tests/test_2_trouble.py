"""Real trouble, made side by side: every alert is seen in Alertmanager, and seen to be over when the trouble is."""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Monitor, fetch, wait

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
STUB = (ROOT / "tools" / "stub_nvml" / "hosts" / "a100x2.conf").read_text()
# The first card fares badly, the second is gone; none computes.
SICK = """
[gpu 0-1]
utilization = 0
[gpu 0]
ecc_uncorrected = 2
remapped_rows = 1 2 1 1
clock_reasons = 0x40
[gpu 1]
handle_error = 15
"""
FIRST = {
    "LlmQueueGrowing", "LlmTimeToFirstTokenHigh", "LlmInterTokenLatencyHigh", "LlmKvCacheExhausted",
    "OllamaUsesCpu", "VllmGpuIdle", "GpuLost", "GpuMissing", "GpuXidHardware", "GpuXidApplication",
    "GpuEccUncorrected", "GpuRowRemapPending", "GpuRowRemapFailed", "GpuThermalThrottling",
    "ModelDiskFilling", "ModelFileCorrupt",
}  # fmt: skip
SECOND = {
    "LlmEngineDown", "LlmEngineNotReady", "LlmModelUnavailable", "LlmNoRequestsServed", "GatewayErrors",
    "GpuMetricsStale", "MonitoringTargetDown",
}  # fmt: skip
TLS = "/etc/llm-gateway/tls"


def write(host: Any, path: str, text: str) -> None:
    """Write a file in its place: some are mounted, and none may be half there."""
    encoded = base64.b64encode(text.encode()).decode()
    host.check_output(f"echo {encoded} | base64 -d > {path}")


@contextmanager
def load(environment: dict[str, str], clients: int, tokens: int, timeout_seconds: float) -> Iterator[None]:
    """Have clients ask one question after the other, whatever the answer is."""
    over = threading.Event()
    context = ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    body = {
        "model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens, "ignore_eos": True,
    }  # fmt: skip
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {environment['OPENAI_API_KEY']}"}
    address = environment["OPENAI_BASE_URL"] + "/chat/completions"

    def client() -> None:
        while not over.is_set():
            try:
                request = urllib.request.Request(address, json.dumps(body).encode(), headers)
                opener.open(request, timeout=timeout_seconds).read()
            except (urllib.error.URLError, OSError):
                over.wait(0.2)

    threads = [threading.Thread(target=client, daemon=True) for dummy in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
    for thread in threads:
        thread.join(timeout_seconds + 1)


def see(monitor: Monitor, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Wait until each alert was seen firing; return what was told of each."""
    began = time.monotonic()
    told: dict[str, dict[str, Any]] = {}

    def all_seen() -> bool:
        told.update({alert["labels"]["alertname"]: alert for alert in monitor.alerts()})
        return wanted <= told.keys()

    wait(all_seen, lambda: f"never fired: {sorted(wanted - told.keys())}; did: {sorted(told)}")
    print(f"{len(wanted)} alerts in {time.monotonic() - began:.0f} s")
    return told


def see_the_end(monitor: Monitor) -> None:
    wait(lambda: monitor.firing() == {"Watchdog"}, lambda: f"still firing: {monitor.alerts()}")


def uptime_microseconds(host: Any) -> int:
    return int(float(host.check_output("cat /proc/uptime").split()[0]) * 1e6)


def corrupt_a_model(engine: Any) -> None:
    """A snapshot whose file is not what its manifest states, looked at by the patrol that the role models installs."""
    folder = "/srv/models/acme/model/0123456789abcdef0123456789abcdef01234567"
    digest = {"algorithm": "sha256", "hex": "0" * 64}
    manifest = {
        "repo": "acme/model", "commit": "0123456789abcdef0123456789abcdef01234567",
        "files": [{"path": "config.json", "size_bytes": 2, "digest": digest}],
    }  # fmt: skip
    engine.check_output(f"mkdir -p {folder}")
    write(engine, f"{folder}/config.json", "{}")
    write(engine, f"{folder}/.llm-serving.json", json.dumps(manifest))
    patrol(engine, status=1)


def patrol(engine: Any, status: int) -> None:
    write(engine, "/root/llm-models-verify", (ROOT / "roles/models/files/llm-models-verify").read_text())
    run = engine.run("python3 /root/llm-models-verify /srv/models /var/lib/prometheus/node-exporter")
    assert run.rc == status, run.stderr


def end_the_certificate_soon(mon: Any) -> None:
    mon.check_output(
        f"cp -a {TLS} {TLS}.kept && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 5 "
        f"-subj /CN=short -keyout /root/short.key -out /root/short.pem 2>/dev/null && "
        f"cat /root/short.pem > {TLS}/server.pem && cat /root/short.key > {TLS}/server.pem.key && "
        "systemctl reload haproxy"
    )


def give_the_certificate_back(mon: Any) -> None:
    mon.check_output(
        f"cat {TLS}.kept/server.pem > {TLS}/server.pem && cat {TLS}.kept/server.pem.key > {TLS}/server.pem.key && "
        f"rm -r {TLS}.kept && systemctl reload haproxy"
    )


def ask_ollama(engine: Any, address: str, keep_alive: int) -> None:
    body = json.dumps({"model": "small", "prompt": "Hello", "stream": False, "keep_alive": keep_alive,
                       "options": {"num_predict": 4}})  # fmt: skip
    fetch(engine, f"http://{address}:11434/api/generate", body)


def fall_ill(engine: Any, address: str) -> None:
    """Sick cards, a model on the CPU, a full disk, and a file that is not what it was."""
    now = uptime_microseconds(engine)
    write(engine, "/etc/stub-nvml.conf", STUB + SICK)
    write(
        engine, "/dev/kmsg",
        f"4,801,{now},-;NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.\n"
        f"4,802,{now},-;NVRM: Xid (PCI:0000:40:00): 31, pid=1234, name=python3, Ch 00000008\n",
    )  # fmt: skip
    ask_ollama(engine, address, -1)
    engine.check_output("head -c 15500000 /dev/zero > /srv/disk/model")
    corrupt_a_model(engine)


def recover(engine: Any, address: str) -> None:
    write(engine, "/etc/stub-nvml.conf", STUB)
    write(engine, "/dev/kmsg", "6,1,1000000,-;Linux\n")
    ask_ollama(engine, address, 0)
    engine.check_output("rm -r /srv/disk/model /srv/models/acme")
    patrol(engine, status=0)


def test_load_sick_cards_and_bad_files(
    monitor: Monitor, engine: Any, addresses: dict[str, str], client_environment: dict[str, str]
) -> None:
    try:
        with load(client_environment, clients=24, tokens=1200, timeout_seconds=60):
            fall_ill(engine, addresses["engine"])
            told = see(monitor, FIRST)
    finally:
        recover(engine, addresses["engine"])
    for name, alert in told.items():
        assert alert["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
        assert "<no value>" not in json.dumps(alert["annotations"]), alert
        assert alert["generatorURL"].startswith(f"https://{addresses['mon']}:8443/prometheus/")
    see_the_end(monitor)


def test_a_certificate_that_ends_soon(monitor: Monitor, mon: Any) -> None:
    try:
        end_the_certificate_soon(mon)
        see(monitor, {"CertificateEnding"})
    finally:
        give_the_certificate_back(mon)
    see_the_end(monitor)


def test_an_engine_that_hangs_and_metrics_that_do_not_come(
    monitor: Monitor, mon: Any, engine: Any, client_environment: dict[str, str]
) -> None:
    try:
        engine.check_output("systemctl stop llm-gpu-metrics.timer")
        mon.check_output("systemctl stop prometheus-node-exporter")
        with load(client_environment, clients=4, tokens=4, timeout_seconds=20):
            engine.check_output("systemctl kill --signal=STOP vllm@tiny")
            see(monitor, SECOND)
    finally:
        engine.check_output("systemctl kill --signal=CONT vllm@tiny; systemctl start llm-gpu-metrics.timer")
        mon.check_output("systemctl start prometheus-node-exporter")
    see_the_end(monitor)


def test_a_gateway_that_is_gone(monitor: Monitor, mon: Any) -> None:
    try:
        mon.check_output("systemctl stop haproxy")
        see(monitor, {"GatewayUnreachable", "MonitoringTargetDown"})
    finally:
        mon.check_output("systemctl start haproxy")
    see_the_end(monitor)

"""What our own exporters write."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import xid
from ansible_collections.llm.serving.plugins.module_utils.monitoring import gpu_metrics, ollama_exporter
from ansible_collections.llm.serving.plugins.module_utils.monitoring.exposition import Exposition

CARD = {
    "index": 0, "uuid": "GPU-0", "name": "A100", "pci_address": "0000:40:00.0",
    "memory_total_bytes": 100, "memory_used_bytes": None, "utilization_ratio": 0.5, "temperature_celsius": 60,
    "power_watts": 1.5, "power_limit_watts": None, "ecc_errors": {"uncorrected": 2}, "throttled": {"power_cap": False},
    "remapped_rows": {"corrected": 1, "uncorrected": 2, "pending": True, "failed": False},
}  # fmt: skip


def test_text_format_escapes_labels_and_leaves_out_the_unknown() -> None:
    out = Exposition()
    out.family("one", "gauge", "One.")
    out.family("two", "gauge", "Two.")
    out.add("one", 1, a='x"y\\z\nw')
    out.add("two", None)
    assert out.text() == '# HELP one One.\n# TYPE one gauge\none{a="x\\"y\\\\z\\nw"} 1\n'


def test_gpu_metrics() -> None:
    xids = [xid.XidCount("0000:40:00.0", 79, "lost", 1, 16.0)]
    seen = {"cards": [CARD], "problems": ["gpu_lost"]}
    lines = gpu_metrics.render(seen, bus_count=2, xids=xids, started_seconds=1000.0).splitlines()
    for expected in (
        "llm_gpu_devices{} 1",
        "llm_gpu_pci_devices{} 2",
        'llm_gpu_problem{code="gpu_lost"} 1',
        'llm_gpu_utilization_ratio{gpu="0"} 0.5',
        'llm_gpu_ecc_errors_total{gpu="0",kind="uncorrected"} 2',
        'llm_gpu_throttled{gpu="0",reason="power_cap"} 0',
        'llm_gpu_row_remap_pending{gpu="0"} 1',
        'llm_gpu_xid_errors_total{pci="0000:40:00.0",xid="79",class="lost"} 1',
        'llm_gpu_xid_last_timestamp_seconds{pci="0000:40:00.0",xid="79",class="lost"} 1016',
    ):
        assert expected in lines
    assert not any("power_limit" in line for line in lines)


def test_a_library_that_cannot_be_read_is_a_problem_of_the_cards() -> None:
    seen = gpu_metrics.look(["/nonexistent.so"])
    assert (seen["cards"], seen["problems"]) == ([], ["library_missing"])


def test_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/uptime").write_text("100.5 200\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").write_text("4,1,5000000,-;NVRM: Xid (PCI:0000:40:00): 48, pid=1, Double bit ECC\n")
    path = tmp_path / "llm_gpu.prom"
    gpu_metrics.main(str(path), str(tmp_path))
    assert 'llm_gpu_xid_errors_total{pci="0000:40:00.0",xid="48",class="memory"} 1' in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [child.name for child in tmp_path.glob("llm_gpu*")] == ["llm_gpu.prom"]


ANSWERS: dict[str, Any] = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{"name": "tiny", "size": 10}, {"name": "other", "size": 20}]},
    "/api/ps": {"models": [{"name": "tiny", "size": 8, "size_vram": 2, "context_length": 4096}]},
}


class Ollama(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def served() -> Iterator[Any]:
    """Serve with a handler or a server, in the background."""
    running = []

    def serve(server: ThreadingHTTPServer) -> int:
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def scrape(port: int, path: str = "/metrics", address: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_ollama_exporter_asks_at_every_scrape(served: Any) -> None:
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    port = served(backend)
    exporter = served(ollama_exporter.server("127.0.0.1:0", f"http://127.0.0.1:{port}"))
    status, text = scrape(exporter)
    assert status == 200
    for expected in (
        "ollama_up{} 1",
        'ollama_info{version="0.32.15"} 1',
        "ollama_models_bytes{} 30",
        'ollama_model_size_bytes{model="tiny"} 8',
        'ollama_model_vram_bytes{model="tiny"} 2',
    ):
        assert expected in text.splitlines()
    assert scrape(exporter, "/")[0] == 404


def test_ollama_exporter_says_that_ollama_is_down(served: Any) -> None:
    exporter = served(ollama_exporter.server("127.0.0.1:0", "http://127.0.0.1:1"))
    assert scrape(exporter)[1].splitlines()[-1] == "ollama_up{} 0"


def test_ollama_exporter_listens_on_ipv6_addresses(served: Any) -> None:
    exporter = served(ollama_exporter.server("[::1]:0", "http://127.0.0.1:1"))
    assert scrape(exporter, address="::1")[0] == 200


def test_errors_of_links_that_are_not_fatal_wake_nobody() -> None:
    line = "4,1,5000000,-;NVRM: Xid (PCI:0018:01:00): 145, RLW_RXPIPE {} XC0 i0 Link 13 (0x0409a0c2)\n"
    assert [error.kind for error in xid.count(line.format("Fatal"))] == ["link"]
    assert xid.count(line.format("Nonfatal")) == ()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (13, "application"),
        (38, "firmware"),
        (79, "lost"),
        (94, "memory"),
        (136, "link"),
        (154, "information"),
        (9, "other"),
    ],
)
def test_xid_errors_have_the_class_that_says_what_to_do(number: int, kind: str) -> None:
    assert xid.kind(number) == kind

"""The journal's words, and the checks that rest on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.api import Loaded
from ansible_collections.llm.serving.plugins.module_utils.ollama.checks import GpuHost, gpu_problems, settings_problems
from ansible_collections.llm.serving.plugins.module_utils.ollama.log import findings, last_start, libraries, shorten

CPU = (
    'time=2026-11-24T11:28:23.121Z level=INFO source=types.go:50 msg="inference compute" id=cpu library=cpu compute="" '
    'name=cpu description=cpu libdirs=ollama driver="" pci_id="" type="" total="23.5 GiB" available="22.3 GiB"'
)
CUDA = (
    'time=2026-11-24T11:28:23.121Z level=INFO source=types.go:50 msg="inference compute" id=GPU-a library=CUDA '
    'compute=9.0 name=CUDA0 description="NVIDIA H100" libdirs=ollama,cuda_v13 driver=13.0 pci_id=0000:18:00.0'
)
CONFIG = 'level=INFO source=routes.go:1951 msg="server config" env="map[OLLAMA_NUM_PARALLEL:2]"'
DRIVER = 'level=WARN source=gpu.go:12 msg="failed to load NVIDIA management library" error="driver too old"'
BUSY = '[GIN] 2026/11/24 - 11:28:48 | 503 |     519.64µs |       127.0.0.1 | POST     "/v1/chat/completions"'
FINE = '[GIN] 2026/11/24 - 11:28:48 | 200 |  519.64903ms |       127.0.0.1 | POST     "/v1/chat/completions"'


@pytest.mark.parametrize(
    ("lines", "count", "words"),
    [
        ([BUSY, FINE, BUSY], 2, "OLLAMA_MAX_QUEUE"),
        (["Error: listen tcp 127.0.0.1:11434: bind: address already in use"], 1, "the port is taken"),
        (["ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"], 1, "memory ran out"),
        ([CPU], 1, "found no GPU"),
        (['msg="timed out waiting for llama-server to start - progress 0.10"'], 1, "ollama_load_timeout"),
        (['msg="llama-server model predicted to exceed available memory, evicting"'], 1, "had to leave"),
        (['msg="truncating input prompt" limit=2048 prompt=5000'], 1, "longer than the context"),
        (["llama-server binary not found (checked: /opt)"], 1, "died or is missing"),
    ],
)
def test_complaints_are_explained(lines: list[str], count: int, words: str) -> None:
    (finding,) = findings(lines)
    assert (finding.count, finding.line) == (count, lines[-1])
    assert words in str(finding)


def test_an_ordinary_log_has_no_complaints() -> None:
    assert findings([FINE, CUDA, CONFIG]) == []


def test_what_the_server_computes_with() -> None:
    assert libraries([CPU]) == ["cpu"]
    assert libraries([CUDA, CUDA]) == ["CUDA", "CUDA"]


def test_only_the_last_start_counts() -> None:
    assert last_start([CONFIG, CPU, CONFIG, CUDA]) == [CONFIG, CUDA]
    assert last_start([CUDA]) == [CUDA]


def test_source_positions_are_left_out() -> None:
    assert shorten(DRIVER) == 'level=WARN msg="failed to load NVIDIA management library" error="driver too old"'


def test_settings_without_the_servers_line_are_a_problem() -> None:
    assert "no «server config» line" in settings_problems({"OLLAMA_NUM_PARALLEL": "2"}, [])[0]
    assert settings_problems({"OLLAMA_NUM_PARALLEL": "2"}, [CONFIG]) == []
    assert settings_problems({"OLLAMA_NUM_PARALLEL": "3"}, [CONFIG])[0].startswith("OLLAMA_NUM_PARALLEL: expected '3'")


@pytest.fixture
def gpu_host(tmp_path: Path) -> GpuHost:
    """A host with everything that an NVIDIA card needs."""
    lib, dev = tmp_path / "lib", tmp_path / "dev"
    (lib / "cuda_v13").mkdir(parents=True)
    dev.mkdir()
    (dev / "nvidiactl").touch()
    return GpuHost("nvidia", ["NVIDIA H100"], lib, dev)


WHOLE = Loaded("m:latest", 1000, 1000, 4096)
HALF = Loaded("m:latest", 1000, 500, 4096)
NONE = Loaded("m:latest", 1000, 0, 4096)


def test_a_model_on_the_gpu_is_fine(gpu_host: GpuHost) -> None:
    assert gpu_problems(gpu_host, [WHOLE], 100, {}, [CONFIG, CUDA]) == []


def test_a_cpu_host_may_use_its_cpu(gpu_host: GpuHost) -> None:
    assert gpu_problems(GpuHost(None, [], gpu_host.lib), [NONE], 100, {}, [CPU]) == []


def test_a_lower_share_can_be_accepted(gpu_host: GpuHost) -> None:
    assert gpu_problems(gpu_host, [HALF], 50, {}, []) == []
    assert gpu_problems(gpu_host, [NONE], 0, {}, []) == []


def test_a_partial_offload_names_the_memory(gpu_host: GpuHost) -> None:
    problem, reason = gpu_problems(gpu_host, [HALF], 100, {}, [CONFIG, CUDA])
    assert problem.startswith("m:latest: 50 % of its 1000 bytes are on the GPU, expected 100 %")
    assert "did not fit" in reason


def test_a_silent_fallback_names_what_the_log_has(gpu_host: GpuHost) -> None:
    problems = gpu_problems(gpu_host, [NONE], 100, {}, [CONFIG, DRIVER, CPU])
    assert problems[1:] == [
        "reason: when it started the server found only: cpu",
        f"reason: it logged: {shorten(DRIVER)}",
    ]


def test_hidden_cards_missing_libraries_and_missing_devices_are_named(gpu_host: GpuHost, tmp_path: Path) -> None:
    bare = GpuHost("nvidia", ["L4"], tmp_path / "nothing", tmp_path / "nothing")
    text = "\n".join(gpu_problems(bare, [NONE], 100, {"CUDA_VISIBLE_DEVICES": "-1"}, []))
    assert "CUDA_VISIBLE_DEVICES=-1 hides every card" in text
    assert "has no cuda* folder" in text
    assert "/dev/nvidiactl is missing" in text
    assert "unknown" in gpu_problems(gpu_host, [NONE], 100, {}, [])[1]

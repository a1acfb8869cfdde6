"""The server as it was set up: its settings, its unit, its API, its failures."""

from __future__ import annotations

import concurrent.futures
import json

import pytest
from conftest import eventually, module, play

URL = "http://127.0.0.1:11500"

# What the server says it runs with, for every variable that it says something of. docs/ollama.md names this test.
IN_FORCE = {
    "LLAMA_ARG_FIT": "off",
    "LLAMA_ARG_FIT_TARGET": "2048",
    "CUDA_VISIBLE_DEVICES": "0",
    "GGML_VK_VISIBLE_DEVICES": "0",
    "GPU_DEVICE_ORDINAL": "0",
    "HIP_VISIBLE_DEVICES": "0",
    "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
    "ROCR_VISIBLE_DEVICES": "0",
    "NO_PROXY": "127.0.0.1,mirror",
    "OLLAMA_CONTEXT_LENGTH": "4096",
    "OLLAMA_DEBUG": "DEBUG",
    "OLLAMA_DEBUG_LOG_REQUESTS": "true",
    "OLLAMA_EDITOR": "ed",
    "OLLAMA_FLASH_ATTENTION": "true",
    "OLLAMA_GO_TEMPLATE": "false",
    "OLLAMA_GPU_OVERHEAD": str(2 * 2**30),
    "OLLAMA_HOST": "http://0.0.0.0:11500",
    "OLLAMA_IGPU_ENABLE": "0",
    "OLLAMA_KEEP_ALIVE": "24h0m0s",
    "OLLAMA_KV_CACHE_TYPE": "q8_0",
    "OLLAMA_LLM_LIBRARY": "cpu",
    "OLLAMA_LOAD_TIMEOUT": "2m0s",
    "OLLAMA_MAX_LOADED_MODELS": "1",
    "OLLAMA_MAX_QUEUE": "2",
    "OLLAMA_MAX_TRANSFER_STREAMS": "2",
    "OLLAMA_MODELS": "/srv/ollama models",
    "OLLAMA_NOHISTORY": "true",
    "OLLAMA_NOPRUNE": "true",
    "OLLAMA_NO_CLOUD": "true",
    "OLLAMA_NUM_PARALLEL": "1",
    "OLLAMA_ORIGINS": "[https://chat.example.org http://localhost",
    "OLLAMA_REMOTES": "[example.org]",
    "OLLAMA_SCHED_SPREAD": "true",
    "OLLAMA_VULKAN": "false",
}

# Keeps one model busy, asks for another several times at once, and counts the answers by status.
FLOOD = """
import collections, concurrent.futures, json, urllib.error, urllib.request
URL = "http://127.0.0.1:11500"

def post(path, **body):
    data = json.dumps(body).encode()
    return urllib.request.Request(URL + path, data, {"Content-Type": "application/json"})

def ask(number):
    try:
        body = {"messages": [{"role": "user", "content": str(number)}], "max_tokens": 1}
        with urllib.request.urlopen(post("/v1/chat/completions", model="other", **body), timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"

busy = urllib.request.urlopen(post("/api/generate", model="tiny", prompt="x", options={"num_predict": 7000}))
busy.readline()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    waiting = [pool.submit(ask, number) for number in range(8)]
    concurrent.futures.wait(waiting, timeout=3)
    busy.close()
print(json.dumps(collections.Counter(str(future.result()) for future in waiting)))
"""


@pytest.fixture(scope="module")
def config():
    return module("ollama_check", "cpu", url=URL)["config"]


@pytest.mark.parametrize("name", IN_FORCE)
def test_the_setting_is_in_force(config, name):
    assert config[name].startswith(IN_FORCE[name])
    assert name == "OLLAMA_ORIGINS" or config[name] == IN_FORCE[name]


def test_the_unit_is_the_seeds(cpu):
    show = cpu.check_output(
        "systemctl show ollama -p User -p Group -p Restart -p RestartUSec -p After -p UnitFileState"
    )
    found = dict(line.split("=", 1) for line in show.splitlines())
    assert {"User": "ollama", "Group": "ollama", "Restart": "always", "RestartUSec": "3s"}.items() <= found.items()
    assert "network-online.target" in found["After"].split()
    assert found["UnitFileState"] == "enabled"
    assert "WantedBy=default.target" in cpu.file("/etc/systemd/system/ollama.service").content_string
    assert cpu.run("systemd-analyze verify ollama.service").stderr == ""


def test_files_belong_to_whom_they_should(cpu):
    environment = cpu.file("/etc/ollama/ollama.env")
    assert (environment.user, environment.group, environment.mode) == ("root", "ollama", 0o640)
    assert cpu.file("/opt/ollama/current/bin/ollama").user == "root"
    assert cpu.file("/srv/ollama models").user == "ollama"


def server(cpu):
    """The server's process: what the guard, which is the unit's first process, started."""
    return cpu.run("pgrep -P $(systemctl show -P MainPID ollama) -x ollama").stdout.strip()


def test_the_sandbox_keeps_the_server_in(cpu):
    pid = server(cpu)
    enter = f"nsenter -t {pid} -m -- setpriv --reuid ollama --regid ollama --clear-groups"
    for path in ("/opt/ollama/x", "/etc/x", "/root/x"):
        assert cpu.run(f"{enter} touch {path}").rc != 0
    assert cpu.run(f"{enter} touch '/srv/ollama models/x'").rc == 0


def test_models_are_managed(cpu):
    result = module("ollama_model", "cpu", url=URL, models=[{"name": "tiny"}, {"name": "other"}])
    assert not result["changed"]
    assert [entry["after"]["name"] for entry in result["models"]] == ["tiny:latest", "other:latest"]


def test_the_openai_endpoints_answer_with_and_without_streaming():
    found = module("openai_probe", "cpu", url=URL, model="other:latest", health_path="/api/version")
    assert {name for name, check in found["checks"].items() if check["ok"]} == {
        *("health", "models", "chat", "chat_stream", "completions", "completions_stream")
    }


def test_a_full_queue_is_seen_by_the_client_and_explained(cpu):
    module("openai_probe", "cpu", url=URL, model="tiny:latest", checks=["chat"], health_path="/api/version")
    counts = json.loads(cpu.check_output("python3 -c %s", FLOOD))
    refused = [status for status in counts if status.startswith("503")]
    assert refused and "maximum pending requests exceeded" in refused[0]
    assert counts["200"] >= 1
    assert sum(counts.values()) == 8

    logs = play("logs.yml", "cpu,gpu,mirror")
    assert logs.ok, logs.output
    assert "status 503, «server busy, maximum pending requests exceeded»" in logs.output
    assert "Raise it (ollama_max_queue)" in logs.output
    assert "== cpu ==" in logs.output and "== mirror ==" in logs.output
    assert "0.0.0.0:11500 by ollama" in logs.output or "*:11500 by ollama" in logs.output
    assert "reachable from other machines as well" in logs.output
    assert "models:" in logs.output and "other:latest" in logs.output
    assert "at most 2 requests wait" in logs.output
    assert "no unit ollama.service or vllm@… is known on this host" in logs.output


def test_new_lines_are_followed():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        following = pool.submit(play, "logs.yml", "cpu", "-e", "follow=true follow_seconds=8 lines=1")
        while not following.done():
            module("ollama_check", "cpu", url=URL)
    assert "cpu | ollama.service | " in following.result().output
    assert "/api/ps" in following.result().output.partition("cpu | ollama.service | ")[2]


def is_back(cpu, former):
    ask = "python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:11500/v1/models\", timeout=5)'"
    return server(cpu) not in {former, ""} and cpu.run(ask).rc == 0


def test_a_killed_server_is_back_within_seconds(cpu):
    before = server(cpu)
    cpu.check_output(f"kill -9 {before}")
    assert eventually(lambda: is_back(cpu, before), 20) < 15


def test_a_hanging_server_is_killed_and_back(cpu):
    before = server(cpu)
    # The guard minds a server from its first answer on: how long one takes to start is not its business.
    # An answer, that is: the route is named in the log as well.
    asked = f"journalctl --quiet --unit=ollama _PID={before} --grep='GIN.*\"/api/version\"'"
    eventually(lambda: cpu.run(asked).rc == 0, 180)
    cpu.check_output(f"kill -STOP {before}")
    eventually(lambda: is_back(cpu, before), 180)
    journal = cpu.check_output("journalctl -u ollama --since=-10min")
    assert "guard: the engine has not answered for 20 seconds" in journal


def test_a_stuck_process_of_a_model_is_replaced_for_the_next_request(cpu):
    """That is the server's own doing, which the guard relies on."""

    def chat():
        arguments = {"url": URL, "model": "tiny:latest", "checks": ["chat"], "health_path": "/api/version"}
        return module("openai_probe", "cpu", timeout=180, **arguments)["checks"]["chat"]["ok"]

    assert chat()
    stuck = cpu.check_output("pgrep -x llama-server").split()
    cpu.check_output(f"kill -STOP {' '.join(stuck)}")
    assert chat()
    assert not set(stuck) & set(cpu.check_output("pgrep -x llama-server").split())

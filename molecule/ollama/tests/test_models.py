"""Models from a real registry."""

from __future__ import annotations

import json

import pytest
from conftest import ROOT, module

URL = "http://127.0.0.1:11500"
STORE = "/srv/ollama models"
LARGE_MEGABYTES = 400

# Talks to the server from the host itself. A pull is left as soon as a quarter of the layer is there.
CALL = """
import json, sys, urllib.request
path, body, leave = sys.argv[1], sys.argv[2], float(sys.argv[3])
request = urllib.request.Request("http://127.0.0.1:11500" + path, body.encode(), {"Content-Type": "application/json"})
with urllib.request.urlopen(request) as answer:
    for line in answer:
        event = json.loads(line)
        if leave and event.get("completed", 0) > leave * event.get("total", 1):
            break
print(json.dumps(event))
"""


def call(cpu, path, leave=0.0, **body):
    answer = cpu.run("python3 -c %s %s %s %s", CALL, path, json.dumps(body), str(leave))
    assert answer.rc == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def address(mirror):
    return mirror.check_output("hostname -I").split()[0] + ":5000"


@pytest.fixture(scope="module")
def pushed(cpu, address):
    """A model of the registry: its name and the digest that it has there."""
    name = f"{address}/team/small:latest"
    made = {"name": name, "from": "/srv/other.gguf", "parameters": {"num_ctx": 512}}
    assert module("ollama_model", "cpu", url=URL, models=[made])["changed"]
    assert call(cpu, "/api/push", model=name, insecure=True) == {"status": "success"}
    pulled = {"name": name, "state": "latest", "insecure": True}
    digest = module("ollama_model", "cpu", url=URL, models=[pulled])["models"][0]["after"]["digest"]
    assert module("ollama_model", "cpu", url=URL, models=[{"name": name, "state": "absent"}])["changed"]
    return name, digest


def test_pulled_once_by_its_digest(pushed):
    name, digest = pushed
    wish = {"url": URL, "models": [{"name": name, "digest": digest[:12], "insecure": True}]}
    runs = [module("ollama_model", "cpu", *options, **wish) for options in (["--check"], [], ["--check"], [])]
    assert [run["changed"] for run in runs] == [True, True, False, False]
    assert runs[1]["models"][0]["after"]["digest"] == digest
    assert any("100 %" in line for line in runs[1]["progress"])


def test_progress_is_in_the_journal(cpu, pushed):
    assert pushed[0] in cpu.check_output("journalctl -t ansible-llm.serving.ollama_model --no-pager")


def test_derived_with_parameters_of_its_own(cpu, pushed):
    wish = {"name": "derived", "from": pushed[0], "parameters": {"num_ctx": 1024, "num_gpu": 0}}
    runs = [module("ollama_model", "cpu", url=URL, models=[wish])["changed"] for _ in range(2)]
    assert runs == [True, False]
    shown = call(cpu, "/api/show", model="derived")["parameters"].split()
    assert dict(zip(shown[::2], shown[1::2]))["num_ctx"] == "1024"
    assert module("ollama_model", "cpu", url=URL, models=[{"name": "derived", "state": "absent"}])["changed"]


@pytest.mark.parametrize(
    ("name", "insecure", "message"),
    [
        ("{address}/team/none:latest", True, "the registry has no such model"),
        ("{address}/team/small:none", True, "the registry has no such model"),
        ("{address}/team/small:latest", False, "Set `insecure: true` for this model"),
        ("127.0.0.1:5999/team/small:latest", True, "the registry cannot be reached from this host"),
    ],
)
def test_a_registry_that_fails_says_what_to_do(pushed, address, name, insecure, message):
    entry = {"name": name.format(address=address), "state": "latest", "insecure": insecure}
    result = module("ollama_model", "cpu", url=URL, models=[entry])
    assert message in result["msg"]


def test_another_digest_than_the_pinned_one_is_refused(pushed):
    wish = {"name": pushed[0], "digest": "f" * 64, "insecure": True}
    result = module("ollama_model", "cpu", url=URL, models=[wish])
    assert "expected the digest ffff" in result["msg"]


def received_bytes(cpu):
    return int(cpu.check_output("cat /sys/class/net/host0/statistics/rx_bytes"))


def test_a_pull_that_was_interrupted_goes_on(cpu, address):
    script = (ROOT / "molecule/ollama/files/publish_large.py").read_text()
    publish = "python3 -c %s http://%s team/large %s %s"
    digest = cpu.check_output(publish, script, address, str(LARGE_MEGABYTES), STORE)
    name = f"{address}/team/large:latest"
    left = call(cpu, "/api/pull", leave=0.25, model=name, insecure=True)
    assert 0.25 * left["total"] < left["completed"] < left["total"]

    before = received_bytes(cpu)
    result = module("ollama_model", "cpu", url=URL, models=[{"name": name, "digest": digest, "insecure": True}])
    assert result["models"][0]["action"] == "pulled", result
    assert received_bytes(cpu) - before < 0.85 * left["total"]
    assert module("ollama_model", "cpu", url=URL, models=[{"name": name, "state": "absent"}])["changed"]

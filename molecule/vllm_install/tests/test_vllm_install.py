"""A host that was bare serves a model: by the engine's own account, by the examples, and after a reboot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from control import ENVIRONMENT, INVENTORY, ROOT

testinfra_hosts = ["ansible://vllm"]
ENGINE = "/opt/vllm/0.32.0-cpu"
# Of the engine's packages a small one that a process which runs has no more use for.
PACKAGE = "sniffio"
NOT_SERVED = "127.0.0.1"


def chat(host):
    body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8})
    script = (
        "import sys, urllib.request as u; r = u.Request('http://127.0.0.1:8010/v1/chat/completions',"
        " data=sys.argv[1].encode(), headers={'Content-Type': 'application/json'}); print(u.urlopen(r).read().decode())"
    )
    return json.loads(host.check_output("python3 -c %s %s", script, body))


def test_the_model_answers(host):
    answer = chat(host)
    assert answer["model"] == "tiny"
    assert answer["usage"]["completion_tokens"] > 0


def test_the_engine_lies_in_a_folder_of_its_version(host):
    assert host.file("/opt/vllm/current").linked_to == ENGINE
    assert host.file(f"{ENGINE}/.complete").exists
    assert host.check_output(f"{ENGINE}/bin/vllm --version 2>/dev/null") == "0.32.0+cpu"
    assert "max-model-len" in host.file(f"{ENGINE}/options.txt").content_string.split()
    assert host.run(f"find {ENGINE} -xdev ! -user root | head -1").stdout == ""


def test_the_model_is_served_by_its_commit(host):
    (line,) = [row for row in host.file("/etc/vllm/tiny.yaml").content_string.splitlines() if row.startswith("model:")]
    path = line.split()[1]
    commit = Path(path).name
    assert path == f"/srv/models/acme/tiny/{commit}"
    assert len(commit) == 40
    assert host.file(f"{path}/.llm-serving.json").exists


def test_the_engine_logged_what_was_planned(host):
    """2 layers × 2 × 1 head × 32 × 2 bytes: a GiB holds 4,194,304 tokens."""
    log = host.check_output("journalctl -u vllm@tiny -o cat --no-pager")
    assert "CPU KV cache size: 4,194,304 tokens" in log


def test_the_engine_asks_nobody_outside(host):
    environment = host.file("/etc/vllm/tiny.env").content_string
    for line in ("HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1"):
        assert line in environment.splitlines()


@pytest.mark.parametrize("example", ["client.py", "curl.sh"])
def test_the_examples_work(host, example):
    if example.endswith(".sh"):
        host.check_output("command -v curl || apt-get install -y -qq curl")
    text = (ROOT / "examples" / example).read_text()
    interpreter = "python3" if example.endswith(".py") else "bash"
    environment = "OPENAI_BASE_URL=http://127.0.0.1:8010/v1 OPENAI_MODEL=tiny"
    run = host.run(f"{environment} {interpreter} - <<'END_OF_EXAMPLE'\n{text}\nEND_OF_EXAMPLE")
    assert run.rc == 0, run.stderr
    assert run.stdout.count("tiny") >= 1


def install(**environment):
    variables = json.dumps({"vllm_install_environment": environment})
    command = ["ansible-playbook", "-i", INVENTORY, "-e", variables, ROOT / "playbooks/vllm.yml"]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("gone", "cause"),
    [("index", "Connection refused"), pytest.param("names", "dns error", marks=pytest.mark.deep)],
)
def test_an_installation_that_the_network_stops_is_finished_by_the_next_run(host, gone, cause):
    """The engine serves meanwhile, and is not restarted afterwards."""
    (folder,) = host.check_output(f"ls -d {ENGINE}/lib/python3*/site-packages/{PACKAGE}").split()
    host.check_output(f"rm -r {folder} {folder}-*.dist-info {ENGINE}/.complete")
    process = host.check_output("systemctl show -p MainPID vllm@tiny")
    names = host.file("/etc/resolv.conf").content_string
    # Without the cache of the test hosts, which has the package.
    environment = {"UV_CACHE_DIR": "/var/tmp/empty"}
    if gone == "index":
        environment["UV_INDEX_URL"] = f"http://{NOT_SERVED}:9/simple"
    else:
        host.check_output(f"echo nameserver {NOT_SERVED} > /etc/resolv.conf")
    try:
        stopped = install(**environment)
    finally:
        host.check_output("printf %%s %s > /etc/resolv.conf", names)
    words = " ".join(stopped.stdout.split())
    assert stopped.returncode != 0
    assert "What serves goes on, and another run takes up where this one stopped." in words
    assert "vllm_install_environment: expected all packages of cpu-0.32.0.txt" in words
    assert cause in words
    assert chat(host)["usage"]["completion_tokens"] > 0
    assert not host.file("/run/llm-serving/lock").exists
    healed = install()
    assert healed.returncode == 0, healed.stdout
    assert host.file(folder).exists
    assert host.file(f"{ENGINE}/.complete").exists
    assert host.check_output("systemctl show -p MainPID vllm@tiny") == process

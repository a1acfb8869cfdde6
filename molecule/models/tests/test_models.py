"""What operators rely on, on booted hosts and over SSH, from a Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import TOKEN, HubServer, play, wait_until
from control import machine

SHARD = "model-00003-of-00004.safetensors"
SLOW = ["--limit-rate", "2000000"]


@pytest.fixture(params=["alpha", "beta"])
def host(request: pytest.FixtureRequest) -> Any:
    return machine(request.param)


def snapshot(host: Any, repo: str) -> str:
    found = host.check_output(f"ls -d /srv/models/{repo}/*/").split()
    assert len(found) == 1
    return found[0].rstrip("/")


def sums(host: Any, folder: str) -> dict[str, str]:
    lines = host.check_output(f"cd {folder} && sha256sum *").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def local_sums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def wish(hub: HubServer, repo: str = "acme/large", **variables: Any) -> dict[str, Any]:
    entry = {"name": "it", "model": repo, "revision": hub.commits[repo]}
    return {"models_list": [entry], "models_hub_endpoint": hub.endpoint, **variables}


@pytest.mark.parametrize("repo", ["acme/tiny", "acme/sharded"])
def test_snapshots_are_what_their_manifest_says(host: Any, repo: str) -> None:
    folder = snapshot(host, repo)
    manifest = json.loads(host.file(f"{folder}/.llm-serving.json").content_string)
    assert manifest["commit"] == folder.rpartition("/")[2]
    there = sums(host, folder)
    assert {entry["path"] for entry in manifest["files"]} == set(there)
    for entry in manifest["files"]:
        if entry["digest"]["algorithm"] == "sha256":
            assert there[entry["path"]] == entry["digest"]["hex"]


def test_models_are_roots_and_everybody_may_read_them(host: Any) -> None:
    owners = host.check_output("find /srv/models -printf '%u:%g\\n' | sort -u")
    assert owners == "root:root"
    assert host.check_output("find /srv/models -perm /022") == ""
    assert host.check_output("find /srv/models -type f ! -perm 0644") == ""
    folder = snapshot(host, "acme/tiny")
    assert host.run(f"setpriv --reuid=65534 --clear-groups cat {folder}/config.json").rc == 0
    assert host.run(f"setpriv --reuid=65534 --clear-groups touch {folder}/config.json").rc != 0


def test_the_tools_are_roots_own(host: Any) -> None:
    assert host.check_output("/opt/llm-serving/tools/bin/uv --version").startswith("uv 0.13")
    assert host.check_output("find /opt/llm-serving ! -user root -o -perm /022 ! -type l") == ""


def test_the_timer_names_what_is_corrupt_and_tells_the_node_exporter(host: Any) -> None:
    assert host.service("llm-models-verify.timer").is_running
    assert host.service("llm-models-verify.timer").is_enabled
    host.check_output("mkdir -p /var/lib/metrics")
    assert host.run("systemctl start llm-models-verify").rc == 0
    shown = host.check_output("systemctl show llm-models-verify -p IOSchedulingClass -p Nice -p CPUSchedulingPolicy")
    assert set(shown.splitlines()) == {"IOSchedulingClass=3", "Nice=19", "CPUSchedulingPolicy=5"}
    victim = f"{snapshot(host, 'acme/tiny')}/tokenizer.json"
    host.check_output(f"cp -p {victim} /root/kept && sed -i s/BPE/BPF/ {victim}")
    assert host.run("systemctl start llm-models-verify").rc != 0
    host.check_output(f"cp -p /root/kept {victim}")
    assert f"{victim} is missing or not" in host.check_output("journalctl -u llm-models-verify --no-pager")
    told = host.file("/var/lib/metrics/llm_models.prom").content_string
    assert sorted(line[-2:] for line in told.splitlines() if line.startswith("llm_models_corrupt")) == [" 0", " 1"]


@pytest.mark.parametrize("hub", [SLOW], indirect=True)
def test_killed_in_the_middle_then_completed_without_fetching_anything_twice(hub: HubServer) -> None:
    host = machine("alpha")
    home = "/srv/models/acme/large"
    run = play("alpha", **wish(hub, models_max_workers=2))

    def begun() -> list[str]:
        found = host.run(f"find {home} -name '*.safetensors' -printf '%f\\n'").stdout.split()
        return found if len(set(found)) >= 3 else []

    # Two at a time: when the third begins, one is whole.
    wait_until(begun)
    host.check_output(f"kill -9 $(cat {home}/.lock)")
    output = run.communicate(timeout=60)[0]
    assert run.returncode != 0, output
    assert host.run(f"test -e {home}/{hub.commits['acme/large']}").rc != 0
    sizes = host.check_output(f"find {home} -name '*.safetensors' -printf '%f %s\\n'")
    there = {name: int(size) for name, size in (line.split() for line in sizes.splitlines())}
    whole = [name for name, size in there.items() if size == (hub.model / name).stat().st_size]
    assert whole
    before = len(hub.large())
    run = play("alpha", **wish(hub))
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    second = [r for r in hub.large()[before:] if r["status"] == 206 or not r["range"]]
    ranges = {r["range"] for r in second if r["range"]}
    assert ranges == {f"bytes={size}-" for name, size in there.items() if name not in whole and size}
    wanted = {name for name in local_sums(hub.model) if name.endswith(".safetensors")} - set(whole)
    assert len([r for r in second if r["status"] in (200, 206) and r["bytes"]]) >= len(wanted)
    fetched_bytes = sum(r["bytes"] for r in second if r["status"] == 206)
    assert fetched_bytes == sum((hub.model / n).stat().st_size - s for n, s in there.items() if n not in whole)
    folder = snapshot(host, "acme/large")
    assert sums(host, folder) == local_sums(hub.model)
    assert host.check_output(f"find {home} -name '*.part'") == ""


# The SSH server's process that a module's process descends from.
SESSION = """
import sys
from pathlib import Path
pid = int(Path(sys.argv[1]).read_text())
while not Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
    pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
print(pid)
"""


@pytest.mark.parametrize("hub", [SLOW], indirect=True)
def test_a_lost_connection_loses_nothing_that_came(hub: HubServer) -> None:
    host = machine("beta")
    home = "/srv/models/acme/large"
    run = play("beta", **wish(hub, models_max_workers=2))
    wait_until(lambda: host.run(f"find {home} -name '*.safetensors' -size +1M | grep -q .").rc == 0)
    session = host.check_output(f"python3 -c '{SESSION}' {home}/.lock")
    # By another process than this connection's, which may be the same one.
    host.run(f"systemd-run --no-block kill -9 {session}")
    output = run.communicate(timeout=120)[0]
    assert run.returncode != 0, output
    assert "UNREACHABLE" in output
    final = f"{home}/{hub.commits['acme/large']}"
    # The module goes on by itself; whoever runs the play again waits for it, or continues.
    again = play("beta", **wish(hub))
    output = again.communicate(timeout=120)[0]
    assert again.returncode == 0, output
    assert sums(host, final) == local_sums(hub.model)
    large_bytes = sum(path.stat().st_size for path in hub.model.glob("*.safetensors"))
    wait_until(lambda: sum(r["bytes"] for r in hub.large()) >= large_bytes)
    assert sum(r["bytes"] for r in hub.large()) <= 1.1 * large_bytes
    assert play("beta", models_list=[{"model": "acme/large", "state": "absent"}]).wait(timeout=120) == 0


@pytest.mark.parametrize("hub", [SLOW], indirect=True)
def test_a_person_can_watch(hub: HubServer) -> None:
    run = play("beta", **wish(hub, models_progress_seconds=1, models_max_workers=2))
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    shown = re.findall(
        r"beta: fetching acme/large, \d of 9 files, [\d.]+ MiB of 38.4 MiB, [\d.]+ MiB/s, \d+ s left", output
    )
    assert len(shown) >= 3, output
    assert "beta: acme/large is there: 38.4 MiB in 9 files fetched and verified" in output


def test_a_flipped_bit_is_named_and_that_file_alone_comes_again(hub: HubServer) -> None:
    host = machine("beta")
    run = play("beta", **wish(hub))
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    folder = snapshot(host, "acme/large")
    flip = (
        "import os, sys; p = sys.argv[1]; s = os.stat(p); f = open(p, 'r+b'); f.seek(999999); b = f.read(1)[0];"
        "f.seek(999999); f.write(bytes([b ^ 4])); f.close(); os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))"
    )
    host.check_output(f'python3 -c "{flip}" {folder}/{SHARD}')
    assert sums(host, folder) != local_sums(hub.model)
    offline = play("beta", **wish(hub, models_verify="full", models_offline=True))
    output = offline.communicate(timeout=120)[0]
    assert offline.returncode != 0
    assert f"{SHARD} is missing or not what the Hub stated" in output
    before = len(hub.large())
    run = play("beta", "-v", **wish(hub, models_verify="full"))
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    assert f"- {SHARD}" in output
    again = hub.large()[before:]
    assert len(again) == 1
    assert again[0]["bytes"] == (hub.model / SHARD).stat().st_size
    assert sums(host, folder) == local_sums(hub.model)


def test_a_token_opens_a_gated_model_and_is_nowhere_to_be_seen(hub: HubServer) -> None:
    host = machine("beta")
    refused = play("beta", **wish(hub, "acme/gated"))
    output = refused.communicate(timeout=120)[0]
    assert refused.returncode != 0
    assert "is gated, and no token was given" in output
    assert "models_hub_token" in output
    run = play("beta", "-vvv", "--diff", **wish(hub, "acme/gated", models_hub_token=TOKEN))
    output = run.communicate(timeout=120)[0]
    assert run.returncode == 0, output
    told = [line for line in output.splitlines() if TOKEN in line]
    assert told == []
    assert host.run(f"grep -r {TOKEN} /srv /opt/llm-serving /root /tmp /var /etc").stdout == ""
    assert TOKEN not in host.check_output("journalctl --no-pager")


def test_unpinned_code_is_refused_before_anything_happens(hub: HubServer) -> None:
    entry = {"model": "acme/other", "trust_remote_code": True}
    run = play("alpha", models_list=[entry], models_hub_endpoint=hub.endpoint)
    output = run.communicate(timeout=120)[0]
    assert run.returncode != 0
    assert "Set revision to a commit" in output
    assert machine("alpha").run("test -e /srv/models/acme/other").rc != 0


def test_an_unknown_key_is_refused(hub: HubServer) -> None:
    run = play("alpha", models_list=[{"model": "acme/tiny", "revison": "main"}], models_hub_endpoint=hub.endpoint)
    output = run.communicate(timeout=120)[0]
    assert run.returncode != 0
    assert "revison" in output


def test_a_model_is_removed_by_its_entry(hub: HubServer) -> None:
    host = machine("alpha")
    assert play("alpha", **wish(hub)).wait(timeout=120) == 0
    gone = play("alpha", models_list=[{"model": "acme/large", "state": "absent"}])
    output = gone.communicate(timeout=120)[0]
    assert gone.returncode == 0, output
    assert host.run("ls -d /srv/models/acme/large/*/").rc != 0

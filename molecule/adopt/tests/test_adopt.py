"""Hosts that were set up by hand are looked at, taken over, converged without a download, and given back.

The tests follow one another, as the steps of an operator do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Play = Callable[..., str]
COMMIT = "0123456789" * 4
OLD_STORE = "/home/ps/.ollama/models"
NEW_STORE = "/usr/share/ollama/.ollama/models"
OLD_MODEL = "/home/ps/vllm/models/Tiny-Instruct"
NEW_MODEL = f"/srv/models/acme/Tiny-Instruct/{COMMIT}"
CACHE = "/home/ps/.cache/huggingface/hub/models--acme--Tiny"
BY_HAND_PROCESS = "pgrep -u ps -f 'api_server --model acme/Tin[y]'"
ADOPT = ("-e", "adopt_state=adopted")
KEY = ("-e", "vault_vllm_api_key=sk-new")


def files(host: Any, folder: str) -> dict[str, str]:
    """Names of the files below a folder with their inode numbers, owners and modes."""
    lines = host.check_output(f"test ! -d {folder} || find -L {folder} -type f -printf '%P %i %u %m\\n'").splitlines()
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines}


def store(host: Any, folder: str) -> dict[str, str]:
    """The files of an Ollama store that its model is made of. What `ollama create` left beside them may go any time."""
    manifest = host.check_output(f"cat {folder}/manifests/registry.ollama.ai/library/tiny/latest")
    found = files(host, folder)
    return {
        name: words
        for name, words in found.items()
        if name.startswith("manifests/") or name.rpartition("sha256-")[2] in manifest
    }


def inodes(found: dict[str, str]) -> dict[str, str]:
    return {name: words.split()[0] for name, words in found.items()}


def units(host: Any, *names: str) -> list[str]:
    return [host.run(f"systemctl {question} {name}").stdout.strip() for name in names for question in ASKED]


ASKED = ("is-active", "is-enabled")


@pytest.fixture(scope="module")
def before(official: Any, byhand: Any) -> dict[str, Any]:
    """What the hosts were like when the first test began."""
    return {
        "store": store(byhand, OLD_STORE),
        "model": files(byhand, OLD_MODEL),
        "cache": files(official, f"{CACHE}/snapshots/{COMMIT}"),
        "official store": store(official, NEW_STORE),
        "units": byhand.check_output("cat /etc/systemd/system/ollama.service /etc/systemd/system/qwen.service"),
        "models": byhand.check_output("ollama list").split()[:6],
    }


def test_looking_changes_nothing_and_says_what_would_become(play: Play, byhand: Any, before: dict[str, Any]) -> None:
    said = play("adopt.yml")
    assert "changed=0" in said
    for words in (
        "ollama.service, 0.32.15",
        "qwen.service, by /home/ps/vllm/start.sh, 0.8.5",
        "vllm@qwen32b.service",
        NEW_MODEL,
        f"revision: {COMMIT}",
        "ollama_host: 127.0.0.1:11500",
        "ollama_keep_alive: 30m",
        "ollama_num_parallel: 6",
        "OLLAMA_MAX_VRAM is not read by today's server",
        "disable_log_requests is outdated",
        "put it, or better a new one, into a vault",
        "max_model_len: 1000",
    ):
        assert words in said, f"{words}\n{said}"
    assert "sk-not-to-be-seen" not in said
    assert store(byhand, OLD_STORE) == before["store"]
    assert units(byhand, "ollama", "qwen") == ["active", "enabled"] * 2


def test_check_mode_takes_nothing_over(play: Play, byhand: Any) -> None:
    said = play("adopt.yml", *ADOPT, "--check")
    assert "changed=1" in said or "changed=2" in said
    assert units(byhand, "ollama", "qwen") == ["active", "enabled"] * 2
    assert not byhand.file("/srv/models/acme").exists


def test_a_spoiled_model_keeps_everything_as_it_is(play: Play, byhand: Any) -> None:
    shard = f"{OLD_MODEL}/model-00002-of-00002.safetensors"
    spoil = f"printf spoiled | dd of={shard} bs=1 seek=$(($(stat -c %s {shard}) - 9)) conv=notrunc 2>&1"
    byhand.check_output(f"cp -p {shard} /root/shard && {spoil}")
    said = play("adopt.yml", *ADOPT, "--limit", "byhand", fails=True)
    byhand.check_output(f"cat /root/shard > {shard}")
    assert "Nothing was changed." in said
    assert "model-00002-of-00002.safetensors" in said
    assert "another content" in said
    assert units(byhand, "ollama", "qwen") == ["active", "enabled"] * 2


def test_taking_over_links_the_models_and_ends_the_old_servers(
    play: Play, written: Path, official: Any, byhand: Any, before: dict[str, Any]
) -> None:
    said = play("adopt.yml", *ADOPT, "-e", f"adopt_write_dir={written}/host_vars")
    assert "byhand is taken over" in said
    assert "official is taken over" in said
    assert inodes(store(byhand, NEW_STORE)) == inodes(before["store"])
    new = inodes(files(byhand, NEW_MODEL))
    del new[".llm-serving.json"]
    assert new.items() <= inodes(before["model"]).items()
    snapshot = inodes(files(official, f"/srv/models/acme/Tiny/{COMMIT}"))
    assert snapshot.pop(".llm-serving.json")
    assert snapshot == inodes(before["cache"])
    assert units(byhand, "ollama", "qwen")[0::2] == ["inactive", "inactive"]
    assert official.run(BY_HAND_PROCESS).rc == 1
    for host in (official, byhand):
        assert not host.file("/etc/systemd/system/ollama.service").exists
        assert not host.file("/usr/local/bin/ollama").exists
    assert not official.file("/etc/systemd/system/ollama.service.d").exists
    variables = yaml.safe_load((written / "host_vars/byhand/adopted.yml").read_text())
    assert variables["vllm_models"][0]["revision"] == COMMIT
    assert "sk-not-to-be-seen" not in str(variables)


def test_there_is_nothing_left_to_take_over(play: Play) -> None:
    said = play("adopt.yml", *ADOPT)
    assert said.count("nothing was set up by hand") == 2
    assert "changed=0" in said
    assert "changed=1" not in said


def test_the_roles_converge_without_a_download(play: Play, official: Any, byhand: Any, before: dict[str, Any]) -> None:
    said = play("ollama.yml", *KEY)
    assert "chat:" in said
    assert inodes(store(official, NEW_STORE)) == inodes(before["official store"])
    assert inodes(store(byhand, NEW_STORE)) == inodes(before["store"])
    assert byhand.check_output("ollama list").split()[:6] == before["models"]
    assert official.check_output("ss -Htln sport = :11500")
    said = play("vllm.yml", *KEY)
    assert "qwen32b answers: health, models, chat" in said
    assert f"model: {NEW_MODEL}" in byhand.check_output("cat /etc/vllm/qwen32b.yaml")
    new = inodes(files(byhand, NEW_MODEL))
    del new[".llm-serving.json"]
    assert new.items() <= inodes(before["model"]).items()


def test_undone_the_hosts_are_what_they_were(play: Play, official: Any, byhand: Any, before: dict[str, Any]) -> None:
    said = play("adopt.yml", "-e", "adopt_state=undone")
    assert "byhand is as it was" in said
    assert "start it by hand again" in said
    assert store(byhand, OLD_STORE) == before["store"]
    assert files(byhand, OLD_MODEL) == before["model"]
    assert files(official, f"{CACHE}/snapshots/{COMMIT}") == before["cache"]
    assert not byhand.file(NEW_MODEL).exists
    text = byhand.check_output("cat /etc/systemd/system/ollama.service /etc/systemd/system/qwen.service")
    assert text == before["units"]
    assert units(byhand, "ollama", "qwen") == ["active", "enabled"] * 2
    assert units(official, "ollama") == ["active", "enabled"]
    assert byhand.run("systemctl is-active vllm@qwen32b").stdout.strip() == "inactive"
    assert not byhand.file("/usr/local/bin/ollama").is_symlink
    assert official.file("/etc/systemd/system/ollama.service.d/override.conf").exists
    listed = byhand.run_expect([0], "timeout 60 sh -c 'until ollama list; do sleep 1; done'").stdout
    assert listed.split()[:6] == before["models"]
    assert byhand.check_output("systemctl show -P User ollama") == "ps"


def test_settled_the_old_names_are_gone(play: Play, byhand: Any, before: dict[str, Any]) -> None:
    play("adopt.yml", *ADOPT, "--limit", "byhand")
    assert "keeps what it has" in play("adopt.yml", "-e", "adopt_state=settled", "--limit", "byhand")
    assert inodes(store(byhand, NEW_STORE)) == inodes(before["store"])
    assert not set(files(byhand, OLD_STORE)) & set(before["store"])
    assert not byhand.file(f"{OLD_MODEL}/config.json").exists
    assert byhand.file(f"{NEW_MODEL}/config.json").exists
    assert "there was nothing to do" in play("adopt.yml", "-e", "adopt_state=undone", "--limit", "byhand")

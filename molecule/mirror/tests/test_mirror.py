"""One copy for the site, the Hub's hashes in any case, and models where there is no Hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from control import INVENTORY, machine

SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[1]
WORK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
HOME = "/srv/models/acme/large"
MIRROR = ROOT / "playbooks/mirror.yml"
FETCH = SCENARIO / "fetch.yml"
TOKEN = "hf_molecule_not_to_be_seen"  # noqa: S105 - opens nothing but the test's server
# Prints what a server answers to a request, with a token or without.
ASK = """
import sys, urllib.error, urllib.request
headers = {'Authorization': 'Bearer ' + sys.argv[2]} if sys.argv[2:] else {}
try:
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=60) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def start(playbook: Path, limit: str, **variables: Any) -> subprocess.Popen[str]:
    command = [
        "ansible-playbook", str(playbook), f"--inventory={INVENTORY}", f"--limit={limit}", "-v",
        f"--extra-vars={json.dumps(variables)}",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "MOLECULE_SCENARIO_NAME": SCENARIO.name,
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
    }
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def play(playbook: Path, limit: str, **variables: Any) -> str:
    process = start(playbook, limit, **variables)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def sent_bytes() -> int:
    """What the Hub has sent of large files so far."""
    time.sleep(0.5)
    lines = (WORK / "hub/requests.jsonl").read_text().splitlines()
    return sum(entry["bytes"] for entry in map(json.loads, lines) if entry["path"].startswith("/cdn/"))


def size_bytes() -> int:
    return sum(path.stat().st_size for path in (WORK / "large").glob("*.safetensors"))


def sums(host: Any, folder: str) -> list[str]:
    return host.check_output(f"cd {folder} && sha256sum *").splitlines()


def local_sums() -> list[str]:
    files = sorted((WORK / "large").iterdir())
    return [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]


@pytest.fixture(scope="module")
def depot() -> Any:
    return machine("depot")


@pytest.fixture(scope="module")
def commit() -> str:
    return machine("alpha").check_output(f"cat {HOME}/.refs.json").split('"')[3]


def test_two_hosts_took_one_copy_from_the_hub(commit: str) -> None:
    assert size_bytes() > 120_000_000
    assert 0.99 < sent_bytes() / size_bytes() <= 1.1
    for name in ("alpha", "beta"):
        assert sums(machine(name), f"{HOME}/{commit}") == local_sums()
        # The Hub stated the hashes.
        manifest = json.loads(machine(name).file(f"{HOME}/{commit}/.llm-serving.json").content_string)
        assert manifest["endpoint"].endswith(":8094")


def test_the_mirror_is_confined_and_its_secrets_are_roots(depot: Any) -> None:
    assert depot.service("llm-mirror").is_running
    assert depot.service("llm-mirror").is_enabled
    users = depot.check_output("ps -o user= -C uvicorn").split()
    assert set(users) == {"llm-mirror"}
    assert depot.file("/etc/llm-mirror/mirror.env").mode == 0o600
    assert depot.file("/etc/llm-mirror/tls.key").mode == 0o600
    assert depot.file("/var/cache/llm-mirror").mode == 0o750
    assert depot.check_output("find /opt/llm-mirror ! -user root -o -perm /022 ! -type l") == ""
    level = depot.check_output("systemd-analyze security llm-mirror --no-pager | tail -n 1")
    assert float(level.split(":")[1].split()[0]) < 3.0, level


def test_the_journal_is_the_only_log_and_names_no_signed_address(depot: Any) -> None:
    assert depot.check_output("find / -xdev -name 'olah*.log' -not -path '/proc/*'") == ""
    assert "/cdn/" not in depot.check_output("journalctl -u llm-mirror --no-pager")


def test_cleaning_keeps_the_cache_within_its_room(depot: Any) -> None:
    assert depot.service("llm-mirror-clean.timer").is_running
    used = "du --bytes --summarize /var/cache/llm-mirror | cut -f1"
    assert int(depot.check_output(used)) > 120_000_000
    unit = "/etc/systemd/system/llm-mirror-clean.service"
    depot.check_output(f"sed 's/, {1024**3},/, 0,/' {unit} > /run/systemd/system/clean-all.service")
    depot.check_output("systemctl start clean-all")
    assert int(depot.check_output(used)) < 10_000_000


def test_a_cache_that_the_disk_cannot_hold_is_refused() -> None:
    refused = start(MIRROR, "depot", mirror_cache_gib=1_000_000)
    output = refused.communicate(timeout=120)[0]
    assert refused.returncode != 0
    assert "mirror_cache_gib: expected at most nine tenths" in output


def test_a_mirror_that_freezes_in_the_middle_is_left_for_the_hub(depot: Any, commit: str) -> None:
    """Its cache is empty, so that what it sends comes at the Hub's rate, and there is a middle."""
    host = machine("alpha")
    host.check_output(f"rm -r {HOME}/{commit}")
    run = start(FETCH, "alpha", models_stall_timeout=3)
    begun = f"find {HOME}/.{commit}.part -name '*.safetensors' -size +1M | grep -q ."
    host.check_output(f'timeout 60 sh -c "until {begun}; do sleep 0.1; done"')
    depot.check_output("systemctl kill --signal=STOP llm-mirror")
    try:
        output = run.communicate(timeout=120)[0]
    finally:
        depot.check_output("systemctl kill --signal=CONT llm-mirror")
    assert run.returncode == 0, output
    assert ":8090 was left, and the rest came from http://" in output
    sources = dict(re.findall(r"http://[\d.]+:(8090|8094): (\d+)", output))
    assert min(int(sources["8090"]), int(sources["8094"])) > 0
    assert sum(map(int, sources.values())) < 1.02 * size_bytes()
    assert sums(host, f"{HOME}/{commit}") == local_sums()


def test_a_dead_mirror_is_told_and_the_hub_serves(depot: Any, commit: str) -> None:
    host = machine("beta")
    host.check_output(f"rm -r {HOME}/{commit}")
    depot.check_output("systemctl stop llm-mirror")
    output = play(FETCH, "beta")
    depot.check_output("systemctl start llm-mirror")
    assert "the mirror is down, or a firewall is between" in output
    assert sums(host, f"{HOME}/{commit}") == local_sums()


def test_the_firewall_lets_engines_reach_the_mirror_and_nobody_else() -> None:
    output = play(ROOT / "playbooks/gateway.yml", "depot:alpha")
    assert "depot" in output
    host, outsider = machine("alpha"), machine("gamma")
    address = machine("depot").ansible.get_variables()["ansible_host"]
    knock = f"import socket; socket.create_connection(('{address}', 8090), 5).close()"
    # alpha is in the group ollama.
    assert host.run(f'python3 -c "{knock}"').rc == 0
    assert outsider.run(f'python3 -c "{knock}"').rc != 0
    # It is the firewall, not the way, that keeps the outsider away.
    assert outsider.run(f'python3 -c "{knock.replace("8090", "22")}"').rc == 0


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A site's own authority, which alpha trusts, and a certificate of the mirror's address."""
    folder = tmp_path_factory.mktemp("tls")
    address = machine("depot").ansible.get_variables()["ansible_host"]
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run([*new, "-subj", "/CN=Site", "-keyout", "ca.key", "-out", "ca.crt"], cwd=folder, check=True)
    leaf = ["-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run([*new, "-subj", "/CN=depot", *leaf, *signed], cwd=folder, check=True)
    machine("alpha").check_output(f"echo '{(folder / 'ca.crt').read_text()}' > /etc/ssl/site.pem")
    return {
        "mirror_tls_certificate": (folder / "tls.crt").read_text(),
        "mirror_tls_key": (folder / "tls.key").read_text(),
    }


def test_a_gated_model_comes_through_a_mirror_with_tls_to_those_with_a_token(depot: Any, tls: dict[str, str]) -> None:
    output = play(MIRROR, "depot", **tls)
    assert "PRIVATE KEY" not in output
    host = machine("alpha")
    wish = {
        "models_list": [{"name": "it", "model": "acme/gated"}],
        "models_hub_token": TOKEN,
        "models_environment": {"SSL_CERT_FILE": "/etc/ssl/site.pem"},
        **tls,
    }
    output = play(FETCH, "alpha", **wish)
    assert re.findall(r"(https?)://[\d.]+:(?:8090|8094): \d{9}", output) == ["https"]
    assert "was left" not in output
    folder = host.check_output("ls -d /srv/models/acme/gated/*/").rstrip("/")
    assert sums(host, folder) == local_sums()
    # It has the files now, and still asks the Hub who may have them.
    address = depot.ansible.get_variables()["ansible_host"]
    url = f"https://{address}:8090/acme/gated/resolve/{folder.rpartition('/')[2]}/model-00001-of-00004.safetensors"
    refused = host.run(f'SSL_CERT_FILE=/etc/ssl/site.pem python3 -c "{ASK}" {url}')
    assert refused.stdout.strip() == "401", refused.stderr
    assert host.run(f'SSL_CERT_FILE=/etc/ssl/site.pem python3 -c "{ASK}" {url} {TOKEN}').stdout.strip() == "200"
    assert depot.run(f"grep -r {TOKEN} /var/cache/llm-mirror /etc/llm-mirror").stdout == ""
    assert TOKEN not in depot.check_output("journalctl --no-pager")


def test_a_mirror_whose_certificate_nobody_vouches_for_is_left(tls: dict[str, str]) -> None:
    host = machine("alpha")
    host.check_output("rm -r /srv/models/acme/gated")
    wish = {"models_list": [{"name": "it", "model": "acme/gated"}], "models_hub_token": TOKEN, **tls}
    output = play(FETCH, "alpha", **wish)
    assert "certificate is not trusted" in output
    folder = host.check_output("ls -d /srv/models/acme/gated/*/").rstrip("/")
    assert sums(host, folder) == local_sums()


def test_models_come_by_a_disk_where_there_is_no_hub(commit: str) -> None:
    play(ROOT / "playbooks/export.yml", "beta", export_hosts="beta", export_dir="/media/disk")
    tool, lab = str(ROOT / "tools/testhost"), machine("gamma").ansible.get_variables()["testhost_lab"]
    pack = [tool, "exec", lab, "beta", "--", "tar", "-C", "/media", "-c", "disk"]
    unpack = [tool, "exec", lab, "gamma", "--", "tar", "-C", "/media", "-x"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
        subprocess.run(unpack, stdin=packed.stdout, check=True)
    host = machine("gamma")
    host.check_output("ip route delete default")
    before = (WORK / "hub/requests.jsonl").stat().st_size
    arguments = {"models_import_dir": "/media/disk", "models_hub_endpoint": "https://huggingface.co"}
    output = play(FETCH, "gamma", **arguments)
    assert "verified: full" in output
    assert sums(host, f"{HOME}/{commit}") == local_sums()
    assert (WORK / "hub/requests.jsonl").stat().st_size == before
    assert not host.file("/opt/llm-serving/tools").exists
    assert "changed=0" in play(FETCH, "gamma", **arguments)
    # As a host that fetched: every byte again, offline, by the manifest.
    host.check_output("rm -r /media/disk")
    assert "verified: full" in play(FETCH, "gamma", models_verify="full", models_offline=True, **arguments)

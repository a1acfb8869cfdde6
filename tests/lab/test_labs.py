"""Labs come, work, and go without a trace, however they end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOOL, Machine, cgroup_root, wait_for


def test_down_leaves_no_trace(machine: Machine) -> None:
    before = machine.traces()
    inventory = Path(machine.tool("up", "--lab", "th-plain", "one", "two").stdout.strip())

    assert inventory.read_text() == machine.tool("inventory", "--lab", "th-plain").stdout
    assert machine.exec("th-plain", "one", "hostname") == "one"
    assert machine.exec("th-plain", "one", "ping -c1 -W2 -q two >/dev/null && echo reached") == "reached"
    assert machine.labs()["th-plain"]["condition"] == "up"
    assert machine.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"

    machine.tool("down", "--lab", "th-plain")
    assert machine.traces() == before
    machine.tool("down", "--lab", "th-plain")  # once more is no error
    assert machine.traces() == before


def test_down_ends_the_connections_that_ansible_keeps(machine: Machine, tmp_path: Path) -> None:
    before = machine.traces()
    empty = tmp_path / "ansible.cfg"
    empty.touch()
    inventory = machine.tool("up", "--lab", "th-ssh", "one").stdout.strip()
    environment = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=300s", "ANSIBLE_CONFIG": str(empty)}
    machine.run("ansible", "-i", inventory, "all", "-m", "ansible.builtin.ping", **environment)
    assert any("ssh" in process for process in machine.processes())
    machine.tool("down", "--lab", "th-ssh")
    assert machine.traces() == before


def test_hosts_see_bound_directories_and_environment(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shared")
    machine.tool(
        "up", "--lab", "th-bind", "one",
        "--bind", f"{tmp_path}:/data:ro", "--bind", f"{tmp_path}:/rw", "--env", "COLOUR=green",
    )  # fmt: skip
    assert machine.exec("th-bind", "one", "cat /data/file; echo /$COLOUR") == "shared/green"
    assert machine.exec("th-bind", "one", "touch /data/x 2>/dev/null || echo refused; touch /rw/y") == "refused"
    machine.tool("down", "--lab", "th-bind")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "y"]


def registered(machine: Machine) -> bool:
    return (machine.state / "th-cut/lab.json").exists()


def networked(machine: Machine) -> bool:
    return "lslab" in machine.run("nft", "list", "tables").stdout


def supervised(machine: Machine) -> bool:
    return any("_supervise" in process for process in machine.processes())


def booting(machine: Machine) -> bool:
    return (cgroup_root() / "llm-serving-labs/th-cut/one/payload").exists()


@pytest.mark.parametrize("moment", [registered, networked, supervised, booting])
def test_kill_9_of_up_then_down_leaves_no_trace(machine: Machine, moment) -> None:
    before = machine.traces()
    up = machine.start("up", "--lab", "th-cut", "one", "two")
    wait_for(lambda: moment(machine))
    up.kill()
    up.communicate()
    assert machine.labs()["th-cut"]["condition"] == "stale: its start was cut short"
    machine.tool("down", "--stale")
    assert machine.traces() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_up_cleans_up_itself(machine: Machine, number: signal.Signals) -> None:
    before = machine.traces()
    up = machine.start("up", "--lab", "th-cut", "one", "two")
    wait_for(lambda: booting(machine))
    up.send_signal(number)
    _, said = up.communicate()
    assert up.returncode == 128 + number
    assert said == "lab th-cut did not come up: removed what there was of it\n"
    assert machine.traces() == before


def test_down_ends_an_up_that_is_under_way(machine: Machine) -> None:
    before = machine.traces()
    up = machine.start("up", "--lab", "th-cut", "one")
    wait_for(lambda: booting(machine))
    machine.tool("down", "--lab", "th-cut")
    assert up.wait() == 128 + signal.SIGTERM
    up.communicate()
    assert machine.traces() == before


def test_a_host_that_does_not_boot_is_shown_and_removed(machine: Machine) -> None:
    before = machine.traces()
    (root,) = (machine.cache / "testhost/bases").glob("bookworm-*/root")
    for init in ("usr/sbin/init", "usr/lib/systemd/systemd"):
        (root / init).unlink()
    failed = machine.tool("up", "--lab", "th-broken", "one", check=False)
    assert failed.returncode == 1
    assert "one ended with status" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert machine.traces() == before


def test_two_labs_at_once_do_not_collide(machine: Machine) -> None:
    before = machine.traces()
    starts = [machine.start("up", "--lab", name, "gpu1", "gpu2") for name in ("th-left", "th-right")]
    for start in starts:
        _, said = start.communicate()
        assert start.returncode == 0, said
    labs = machine.labs()
    assert len({labs[name]["network"] for name in labs}) == 2
    assert machine.exec("th-left", "gpu1", "cat /etc/machine-id") != machine.exec(
        "th-right", "gpu1", "cat /etc/machine-id"
    )
    other = labs["th-right"]["hosts"]["gpu1"]["address"]
    assert machine.tool("exec", "th-left", "gpu1", "--", f"ping -c1 -W1 {other}", check=False).returncode != 0

    machine.tool("down", "--lab", "th-left")
    assert list(machine.labs()) == ["th-right"]
    assert machine.exec("th-right", "gpu1", "systemctl is-system-running --wait") == "running"
    assert machine.exec("th-right", "gpu1", "ping -c1 -W2 -q gpu2 >/dev/null && echo reached") == "reached"
    machine.tool("down", "--lab", "th-right")
    assert machine.traces() == before


def test_a_name_in_use_is_refused_and_its_lab_stays(machine: Machine) -> None:
    machine.tool("up", "--lab", "th-taken", "one")
    refused = machine.tool("up", "--lab", "th-taken", "two", check=False)
    assert refused.returncode == 1
    assert "lab th-taken exists already" in refused.stderr
    assert machine.exec("th-taken", "one", "hostname") == "one"


def test_labs_avoid_networks_of_the_machine(machine: Machine) -> None:
    machine.run("ip", "link", "add", "uplink", "type", "bridge")
    machine.run("ip", "addr", "add", "198.18.0.1/23", "dev", "uplink")
    machine.run("ip", "link", "add", "lslab2", "type", "bridge")
    machine.tool("up", "--lab", "th-avoid", "one")
    assert machine.labs()["th-avoid"]["network"] == "198.18.3.0/24"
    machine.tool("down", "--lab", "th-avoid")
    assert "lslab2" in machine.traces()["links"]


def test_a_lab_whose_owner_is_gone_is_stale(machine: Machine) -> None:
    owner = subprocess.Popen(["sleep", "infinity"])
    machine.tool("up", "--lab", "th-owned", "one", TESTHOST_OWNER=str(owner.pid))
    machine.tool("up", "--lab", "th-free", "one")
    assert machine.labs()["th-owned"]["condition"] == "up"
    owner.kill()
    owner.wait()
    assert machine.labs()["th-owned"]["condition"] == f"stale: its owner, process {owner.pid}, is gone"
    machine.tool("down", "--stale")
    assert list(machine.labs()) == ["th-free"]


def test_a_lab_whose_hosts_are_off_is_stale(machine: Machine) -> None:
    machine.tool("up", "--lab", "th-off", "one", "two")
    machine.tool("exec", "th-off", "one", "--", "systemctl poweroff", check=False)
    wait_for(lambda: machine.labs()["th-off"]["condition"] == "off: one")
    machine.tool("exec", "th-off", "two", "--", "systemctl poweroff", check=False)
    wait_for(lambda: machine.labs()["th-off"]["condition"] == "stale: no host is running")


def test_a_missing_program_is_named_with_its_remedy(machine: Machine, tmp_path: Path) -> None:
    for program in ("python3", "env", "nft", "ip", "ssh", "ssh-keygen", "unshare", "setpriv", "mount"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    line = f"PATH={tmp_path} exec {TOOL} up --lab th-missing one"
    missing = machine.run("/bin/sh", "-c", line, check=False)
    assert missing.returncode == 1
    assert "not installed: mmdebstrap, systemd-container. Run: apt-get update && apt-get install" in missing.stderr
    assert missing.stderr.rstrip().endswith("mmdebstrap systemd-container")
    assert not machine.state.exists()


def test_only_root_may(machine: Machine) -> None:
    # The checkout may be closed to others, so the tool is loaded before root is given up.
    script = (
        f"import os, sys; sys.path.insert(0, {str(TOOL.parent)!r}); from testhostlib.cli import main;"
        "os.setuid(65534); sys.exit(main(['up', '--lab', 'th-user', 'one']))"
    )
    refused = machine.run(sys.executable, "-c", script, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("testhost: this needs root")


def test_baked_layers_are_what_other_hosts_start_from(machine: Machine) -> None:
    before = machine.traces()
    copy = ["ansible", "all", "-m", "ansible.builtin.copy", "-a", "dest=/opt/engine content=v1"]
    bake = ["bake", "engine", "--key", "k1", "--", *copy]
    assert machine.tool(*bake).stdout == "engine:k1\n"
    assert machine.tool("bake", "engine", "--key", "k1", "--", "false").stdout == "engine:k1\n"  # not again
    assert machine.traces() == before

    machine.tool("up", "--lab", "th-baked", "one", "two", "bare=bookworm", "--base", "engine")
    assert machine.exec("th-baked", "one", "cat /opt/engine") == "v1"
    assert machine.exec("th-baked", "two", "hostname; rm /opt/engine") == "two"
    assert machine.exec("th-baked", "bare", "ls /opt") == ""
    layer = machine.cache / "testhost/layers/engine/k1/root"
    assert (layer / "opt/engine").read_text() == "v1"
    left = {str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_file()}
    assert not left & {"etc/machine-id", "etc/hostname", "root/.ssh/authorized_keys", "etc/ssh/ssh_host_ed25519_key"}


def test_a_failed_bake_keeps_nothing(machine: Machine) -> None:
    before = machine.traces()
    failed = machine.tool("bake", "engine", "--key", "k1", "--", "false", check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "testhost: false failed: nothing is kept"
    assert machine.traces() == before
    assert not list(machine.cache.glob("testhost/layers/*/*"))
    unknown = machine.tool("up", "--lab", "th-unknown", "one", "--base", "engine", check=False)
    assert "there is no base engine; there are bookworm, trixie" in unknown.stderr


def test_inventory_script_is_empty_without_a_lab(machine: Machine) -> None:
    script = machine.tool("inventory", "--lab", "th-none", "--script").stdout
    assert json.loads(script) == {"all": {"hosts": []}, "_meta": {"hostvars": {}}}
    assert machine.tool("inventory", "--lab", "th-none", check=False).returncode == 1


def builders(machine: Machine) -> list[str]:
    return [line for line in machine.command_lines() if f"{machine.cache}/testhost/bases/building" in line]


def test_kill_9_of_a_base_build_ends_all_of_it(machine: Machine) -> None:
    build = machine.start("base", "trixie")
    wait_for(lambda: any("mmdebstrap" in line for line in builders(machine)))
    build.kill()
    build.communicate()
    wait_for(lambda: not builders(machine))


def test_a_base_that_cannot_be_built_says_why(machine: Machine) -> None:
    failed = machine.tool("base", "trixie", check=False)  # its network leads nowhere
    assert failed.returncode == 1
    assert "mmdebstrap could not build the base trixie:\n  Failed to fetch" in failed.stderr
    assert "Temporary failure resolving" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(machine.cache.glob("testhost/bases/trixie-*"))

"""The test hosts' arithmetic and texts; what boots is tested in tests/lab."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

from testhostlib import bake, cli, guest, images, inventory, network, requirements, system  # noqa: E402
from testhostlib.errors import LabError  # noqa: E402
from testhostlib.lab import ssh_command  # noqa: E402
from testhostlib.model import (  # noqa: E402
    MAX_HOSTS,
    NETWORK,
    SUBNET_COUNT,
    Bind,
    Host,
    Lab,
    Process,
    Setup,
    check_names,
    host_address,
    parse_environment,
    parse_host,
    scenario_lab,
    subnet_network,
)

NET = ipaddress.IPv4Network


def make_lab(subnet: int = 7, **other) -> Lab:
    hosts = tuple(Host(n, i, host_address(subnet, i), "bookworm", ("/base",)) for i, n in enumerate(("gpu1", "gpu2")))
    values = {"setup": Setup((Bind("/a", "/b", True),), (("COLOUR", "green"),)), **other}
    return Lab("demo", subnet, hosts, Process(1, 2), 3.0, "/checkout", **values)


class TestSubnets:
    def test_first_free_one(self):
        assert network.choose_subnet([], []) == 0
        assert network.choose_subnet([0, 1, 3], []) == 2

    def test_networks_of_the_machine_are_avoided(self):
        assert network.choose_subnet([], [NET("198.18.0.0/23"), NET("10.0.0.0/8")]) == 2
        assert network.choose_subnet([2], [NET("198.18.0.0/23"), NET("198.18.3.7/32")]) == 4

    def test_none_left(self):
        with pytest.raises(LabError, match="all 512 test networks are in use"):
            network.choose_subnet(range(SUBNET_COUNT), [])
        with pytest.raises(LabError, match="in use"):
            network.choose_subnet([], [NET("198.18.0.0/15")])

    @given(st.sets(st.integers(0, SUBNET_COUNT - 1), max_size=SUBNET_COUNT - 1))
    def test_never_one_that_is_taken(self, taken):
        chosen = network.choose_subnet(taken, [subnet_network(n) for n in taken])
        assert chosen not in taken
        assert subnet_network(chosen).subnet_of(NETWORK)

    @given(st.integers(0, SUBNET_COUNT - 1), st.integers(0, MAX_HOSTS - 1))
    def test_hosts_fit_into_their_subnet_and_their_link_names_into_15_characters(self, subnet, number):
        address = ipaddress.ip_address(host_address(subnet, number))
        lab = make_lab(subnet)
        assert address in lab.network
        assert address not in (lab.network.broadcast_address, ipaddress.ip_address(lab.gateway))
        assert len("vb-" + lab.machine(Host("h", number, str(address), "b", ()))) <= 15

    def test_outside(self):
        with pytest.raises(ValueError, match="subnet 512"):
            subnet_network(SUBNET_COUNT)


class TestNameServers:
    def test_a_loopback_resolver_is_replaced_by_what_it_asks(self):
        stub = "nameserver 127.0.0.53\noptions edns0\n"
        assert network.nameservers([stub, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"]) == ["192.0.2.1", "192.0.2.2"]

    def test_only_what_an_ipv4_host_reaches(self):
        assert network.nameservers(
            ["nameserver fd00::1\nnameserver 192.0.2.1 # comment\n# nameserver 192.0.2.9\n"]
        ) == ["192.0.2.1"]
        assert network.nameservers(["nameserver 127.0.0.1\n", "search example\nnameserver\n"]) == []


class TestArguments:
    def test_bind(self):
        assert Bind.parse("/a:/b") == Bind("/a", "/b", False)
        assert Bind.parse("/a:/b:ro") == Bind("/a", "/b", True)

    @pytest.mark.parametrize("text", ["/a", "a:/b", "/a:b", "/a:/b:wo", "/a:/b:ro:x", ""])
    def test_bad_bind(self, text):
        with pytest.raises(LabError, match="--bind wants"):
            Bind.parse(text)

    def test_host_with_a_base_of_its_own(self):
        assert parse_host("gpu1", "bookworm") == ("gpu1", "bookworm")
        assert parse_host("gpu1=vllm:abc", "bookworm") == ("gpu1", "vllm:abc")
        with pytest.raises(LabError, match="gpu1=bookworm"):
            parse_host("gpu1=", "trixie")

    def test_environment(self):
        assert parse_environment("A_1=x=y z") == ("A_1", "x=y z")
        for bad in ("A", "1A=x", "=x"):
            with pytest.raises(LabError, match="--env wants NAME=VALUE"):
                parse_environment(bad)
        with pytest.raises(LabError, match="cannot hold quotes"):
            parse_environment('A="x"')

    @pytest.mark.parametrize(
        ("lab", "hosts", "message"),
        [
            ("Lab", ["a"], "lab name 'Lab'"),
            ("../up", ["a"], "lab name"),
            ("x" * 33, ["a"], "lab name"),
            ("lab", [], "at least one host"),
            ("lab", ["a", "b", "a"], "named twice: a"),
            ("lab", ["a_b"], "host name 'a_b'"),
            ("lab", ["-a"], "host name"),
            ("lab", ["a" * 65], "host name"),
            ("lab", [f"h{i}" for i in range(MAX_HOSTS + 1)], "201 hosts do not fit"),
        ],
    )
    def test_bad_names(self, lab, hosts, message):
        with pytest.raises(LabError, match=message):
            check_names(lab, hosts)

    def test_good_names(self):
        check_names("vllm-1", ["gpu-01.example.com", "h2", *(f"h{i}" for i in range(3, 100))])

    def test_a_scenario_has_another_lab_in_another_checkout(self):
        one, two = (scenario_lab("vllm", Path(checkout)) for checkout in ("/one", "/two"))
        assert one != two
        assert one.startswith("vllm-")
        check_names(scenario_lab("x" * 25, Path("/one")), ["a"])
        with pytest.raises(LabError, match="25 characters"):
            scenario_lab("x" * 26, Path("/one"))

    def test_command_line(self, monkeypatch):
        monkeypatch.setenv("TESTHOST_OWNER", "42")
        options = cli.parser().parse_args(["up", "--lab", "l", "--bind", "/a:/b", "h1", "h2=trixie", "--env", "A=b"])
        assert (options.hosts, options.base, options.owner) == (["h1", "h2=trixie"], "bookworm", 42)
        options = cli.parser().parse_args(
            ["bake", "n", "--key-of", "x", "y", "--base", "trixie", "--", "sh", "-c", "true"]
        )
        assert options.key_of == [Path("x"), Path("y")]
        assert options.command == ["sh", "-c", "true"]

    @pytest.mark.parametrize(
        "words", [["up", "h"], ["up", "--lab", "l"], ["down"], ["base", "sid"], ["bake", "n", "--", "x"]]
    )
    def test_incomplete_command_line(self, words, capsys):
        with pytest.raises(SystemExit) as end:
            cli.parser().parse_args(words)
        assert end.value.code == 2
        assert "usage: testhost" in capsys.readouterr().err

    def test_a_failure_is_one_message(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("TESTHOST_STATE", str(tmp_path / "state"))
        assert cli.main(["inventory", "--lab", "nowhere"]) == 1
        assert capsys.readouterr().err == "testhost: there is no lab nowhere; labs on this machine: none\n"


class TestState:
    def test_round_trip(self):
        for lab in (make_lab(), make_lab(owner=Process(5, 6), ready=True)):
            assert Lab.from_json(lab.to_json()) == lab

    def test_moving_changes_every_address(self):
        moved = make_lab(0).moved_to(9)
        assert [host.address for host in moved.hosts] == ["198.18.9.11", "198.18.9.12"]
        assert moved == make_lab(9)

    def test_lock_survives_the_removal_of_its_directory(self, tmp_path):
        directory = tmp_path / "state"
        with system.locked(directory):
            directory.rmdir()
        with system.locked(directory):
            assert directory.is_dir()

    def test_a_process_is_told_from_a_dead_one(self):
        assert system.start_time(1) is not None
        assert system.start_time(2**22 + 1) is None


class TestInventory:
    def test_yaml_is_what_ansible_needs(self):
        data = yaml.safe_load(inventory.as_yaml(make_lab(), Path("/state/demo")))
        assert list(data["all"]["hosts"]) == ["gpu1", "gpu2"]
        variables = data["all"]["hosts"]["gpu2"]
        assert variables["ansible_host"] == "198.18.7.12"
        assert variables["ansible_user"] == "root"
        assert variables["ansible_ssh_private_key_file"] == "/state/demo/key"
        assert variables["testhost_gateway"] == "198.18.7.1"
        assert "-o UserKnownHostsFile=/state/demo/known_hosts" in variables["ansible_ssh_common_args"]

    def test_script_says_the_same(self):
        static = yaml.safe_load(inventory.as_yaml(make_lab(), Path("/state/demo")))
        script = json.loads(inventory.as_json(make_lab(), Path("/state/demo")))
        assert script["_meta"]["hostvars"] == static["all"]["hosts"]
        assert script["all"]["hosts"] == ["gpu1", "gpu2"]

    def test_control_sockets_fit_into_a_socket_address(self):
        longest = f"{system.state_dir()}/{'x' * 32}/cp/root@198.19.255.211.0123456789abcdef"
        assert len(longest) < 108


class TestGuest:
    def test_identity(self):
        files = guest.identity_files(make_lab(), make_lab().hosts[0], 1400, ["192.0.2.1"])
        assert files["etc/hostname"] == "gpu1\n"
        assert "198.18.7.12 gpu2\n" in files["etc/hosts"]
        assert files["etc/resolv.conf"] == "nameserver 192.0.2.1\n"
        assert "Gateway=198.18.7.1\n" in files["etc/systemd/network/10-host0.network"]
        assert "MTUBytes=1400\n" in files["etc/systemd/network/10-host0.network"]
        again = guest.identity_files(make_lab(), make_lab().hosts[0], 1400, [])
        assert files["etc/machine-id"] != again["etc/machine-id"]

    def test_environment_names_the_certificates_only_where_they_are_needed(self):
        lab = make_lab()
        assert guest.environment_file(lab, False, {"HOME": "/root"}) == 'COLOUR="green"\n'
        text = guest.environment_file(lab, True, {"https_proxy": "http://192.0.2.1:3128"})
        assert text.splitlines()[0] == 'https_proxy="http://192.0.2.1:3128"'
        assert f'PIP_CERT="{guest.CA_BUNDLE}"' in text.splitlines()

    def test_lab_wins_over_what_is_passed_on(self):
        lab = make_lab(setup=Setup((), (("PIP_CERT", "/mine"),)))
        assert 'PIP_CERT="/mine"' in guest.environment_file(lab, True, {})

    def test_boot_command(self):
        words = guest.nspawn_command(make_lab(), make_lab().hosts[1], Path("/root"))
        assert {"--machine=lslab7-1", "--hostname=gpu2", "--network-bridge=lslab7", "--bind-ro=/a:/b"} <= set(words)


class TestExec:
    def test_several_words_stay_several_and_one_is_a_line(self):
        assert ssh_command(make_lab(), "gpu1", ["echo", "a b", "$HOME"])[-1] == "echo 'a b' '$HOME'"
        assert ssh_command(make_lab(), "gpu1", ["ls | wc"])[-1] == "ls | wc"

    def test_unknown_host(self):
        with pytest.raises(LabError, match="no host gpu9; it has gpu1, gpu2"):
            ssh_command(make_lab(), "gpu9", [])


class TestImages:
    def test_another_recipe_is_another_base(self, monkeypatch):
        before = images.base_name("bookworm")
        assert before.startswith("bookworm-")
        assert before != images.base_name("trixie")
        monkeypatch.setattr(images, "PACKAGES", (*images.PACKAGES, "curl"))
        assert images.base_name("bookworm") != before

    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LLM_SERVING_CACHE", str(tmp_path))
        return tmp_path / "testhost"

    def keep(self, cache: Path, key: str, created: float, below: tuple[str, ...] = ()) -> images.Layer:
        upper = cache / "upper"
        (upper / "etc/ssh").mkdir(parents=True)
        for name in ("etc/machine-id", "etc/ssh/ssh_host_rsa_key", "etc/kept"):
            (upper / name).touch()
        layer = images.keep_layer(upper, "engine", key, "bookworm", below)
        path = layer.directory / "layer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": created}))
        return layer

    def test_layers_keep_what_was_made_and_drop_what_was_the_hosts_own(self, cache):
        layer = self.keep(cache, "k1", 1.0)
        root = layer.directory / "root"
        assert [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()] == ["etc/kept"]

    def test_a_name_alone_is_the_layer_made_last(self, cache, tmp_path):
        base = tmp_path / "base" / "root"
        base.mkdir(parents=True)
        first, second = (self.keep(cache, key, at, (str(base),)) for key, at in (("k1", 2.0), ("k2", 1.0)))
        assert images.resolve("engine") == (str(first.directory / "root"), str(base))
        assert images.resolve("engine:k2") == (str(second.directory / "root"), str(base))
        with pytest.raises(LabError, match="there is no base engine:k3; there are bookworm, trixie, engine:k1"):
            images.resolve("engine:k3")
        base.rmdir()
        with pytest.raises(LabError, match="which is gone: bake it again"):
            images.resolve("engine")

    def test_pruning_spares_the_newest_the_used_and_the_recent(self, cache, monkeypatch):
        layers = {key: self.keep(cache, key, float(key[1:])) for key in ("k1", "k2", "k3", "k4")}
        assert images.prune([]) == []  # all of them are recent
        monkeypatch.setattr(images, "GRACE_SECONDS", -1)
        assert images.prune([str(layers["k1"].directory / "root")]) == [layers["k2"].directory]
        assert sorted(layer.key for layer in images.baked()) == ["k1", "k3", "k4"]


class TestBakeKey:
    def test_changes_with_text_and_name_but_not_with_place(self, tmp_path):
        keys = []
        for place, name, text in (("a", "f", "1"), ("b", "f", "1"), ("c", "f", "2"), ("d", "g", "1")):
            (tmp_path / place / "dir").mkdir(parents=True)
            (tmp_path / place / "dir" / name).write_text(text)
            keys.append(bake.key_of([tmp_path / place / "dir"], ["/cache/bookworm-1/root"]))
        keys.append(bake.key_of([tmp_path / "a" / "dir"], ["/cache/bookworm-2/root"]))
        assert keys[0] == keys[1]
        assert len(set(keys)) == 4
        assert all(len(key) == 12 for key in keys)

    def test_missing_file(self, tmp_path):
        with pytest.raises(LabError, match="no such file"):
            bake.key_of([tmp_path / "nothing"], [])


class TestRequirements:
    def test_file_system_of_a_path_that_does_not_exist_yet(self):
        mounts = "1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / /var/lib rw shared:1 - fuse.x d rw\n"
        assert requirements.file_system(Path("/var/lib/new/lab"), mounts) == "fuse.x"
        assert requirements.file_system(Path("/var/cache"), mounts) == "ext4"

    def test_every_missing_package_is_named_once(self, monkeypatch):
        monkeypatch.setattr(requirements.shutil, "which", lambda program: None if program.startswith("ssh") else "/x")
        monkeypatch.setattr(requirements, "KEYRING", Path("/nowhere"))
        assert requirements.missing_packages() == ["debian-archive-keyring", "openssh-client"]
        assert requirements.install_command(["a", "b"]).endswith("apt-get install --yes --no-install-recommends a b")

    def test_a_full_disk_is_named_with_the_way_out(self, monkeypatch, tmp_path):
        monkeypatch.setenv("TESTHOST_STATE", str(tmp_path / "state"))
        monkeypatch.setattr(requirements, "NEEDED_GIB", 10**9)
        found = [problem for problem in requirements.problems() if "GiB free" in problem]
        assert len(found) == 2
        assert "set TESTHOST_STATE" in found[0]
        assert "set LLM_SERVING_CACHE" in found[1]

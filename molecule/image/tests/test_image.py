"""The execution environment works for the user that it runs as, without anything of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLAYBOOKS = sorted(path.stem for path in ROOT.glob("playbooks/*.yml") if not path.name.endswith(".meta.yml"))


@pytest.fixture
def run(host):
    """Run a command inside of a container of the image, as its entry point does."""
    container = host.check_output("buildah from --pull-never localhost/llm-serving-ee")
    inside = f"buildah run --isolation chroot {container} -- /opt/builder/bin/entrypoint"
    yield lambda command: host.run(f"{inside} {command}")
    host.check_output(f"buildah rm {container}")


def test_it_is_no_root(run):
    assert run("id -u").stdout.strip() == "1000"


def test_every_playbook_is_found_by_its_full_name(run):
    for name in PLAYBOOKS:
        done = run(f"ansible-playbook --syntax-check -i localhost, llm.serving.{name}")
        assert done.rc == 0, done.stderr


def test_a_module_runs(run):
    here = "-i here, -c local -e ansible_become=false -e ansible_python_interpreter=/usr/bin/python3"
    done = run(f"ansible-playbook {here} llm.serving.gpu")
    assert done.rc == 0, done.stdout + done.stderr
    assert "No usable GPU" in done.stdout


def test_hosts_are_reached_by_ssh(run):
    assert run("ssh -V").rc == 0


def test_what_playbooks_need_of_python_is_there(run):
    assert run("python3 -c 'import cryptography'").rc == 0

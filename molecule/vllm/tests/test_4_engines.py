"""Engines come and go: superfluous ones are removed, and at the end everything is."""

from __future__ import annotations

testinfra_hosts = ["ansible://vllm"]
CURRENT = "0.32.0-cpu"


def test_engines_beyond_those_to_keep_are_removed(host, play, models):
    for age, name in enumerate(["0.31.0-cpu", "0.30.0-cpu"]):
        host.check_output(f"mkdir /opt/vllm/{name} && echo built > /opt/vllm/{name}/.complete")
        host.check_output(f"touch -d '{age + 1} days ago' /opt/vllm/{name}/.complete")
    host.check_output("mkdir /opt/vllm/0.29.0-cpu")  # a build that was interrupted and given up
    run = play(vllm_models=models[1:])
    assert run.ok, run.output
    assert set(host.check_output("ls /opt/vllm").split()) == {"current", CURRENT, "0.31.0-cpu"}
    assert host.file("/opt/vllm/current").linked_to == f"/opt/vllm/{CURRENT}"


def test_everything_goes_when_the_state_is_absent(host, play):
    run = play(vllm_state="absent")
    assert run.ok, run.output
    assert host.run("systemctl list-units --all --no-legend 'vllm@*'").stdout == ""
    for path in ("/opt/vllm", "/etc/vllm", "/var/lib/vllm", "/etc/systemd/system/vllm@.service"):
        assert not host.file(path).exists
    assert host.file("/srv/models/local/first/config.json").exists
    assert "changed=0" in play(vllm_state="absent").output

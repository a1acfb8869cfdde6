"""What the roles derive from their variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.template import trust_as_template

from .roles import ROLES, derive, load, task

AGENT, MONITOR = "monitoring_agent", "monitoring"


def agent(text: Any, address: str, ollama: bool = True) -> Any:
    return derive(
        AGENT,
        text,
        monitoring_agent_address=address,
        monitoring_agent_ollama=ollama,
        monitoring_agent_ollama_url="http://127.0.0.1:11434",
        ansible_managed="",
        inventory_hostname="nas",
    )


@pytest.mark.parametrize(("address", "shown"), [("10.0.0.5", "10.0.0.5"), ("fd00::5", "[fd00::5]")])
def test_agents_are_told_an_address_that_they_can_read(address: str, shown: str) -> None:
    arguments = task(AGENT, "node", "Write the node exporter's arguments")["ansible.builtin.copy"]["content"]
    assert f'"--web.listen-address={shown}:9100 ' in agent(arguments, address)
    unit = trust_as_template((ROLES / AGENT / "templates" / "llm-ollama-exporter.service.j2").read_text())
    assert f"ollama_exporter {shown}:9435 http://127.0.0.1:11434\n" in agent(unit, address)


@pytest.mark.parametrize(
    ("address", "reached"),
    [("fd00::5", "fd00::5"), ("10.0.0.5", "10.0.0.5"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")],  # noqa: S104 - nothing is bound
)
def test_agents_that_do_not_listen_are_told(address: str, reached: str) -> None:
    wait = task(AGENT, "main", "Wait until the agents answer")
    assert wait["when"] == "not ansible_check_mode"
    assert [item["port"] for item in agent(wait["loop"], address)] == [9100, 9435]
    assert [item["port"] for item in agent(wait["loop"], address, ollama=False)] == [9100]
    options = wait["ansible.builtin.wait_for"]
    assert agent(options["host"], address) == reached
    item = {"unit": "prometheus-node-exporter", "port": 9100}
    message = derive(AGENT, options["msg"], monitoring_agent_address="fd00::5", item=item, inventory_hostname="nas")
    assert message.startswith("prometheus-node-exporter does not listen on [fd00::5]:9100: «journalctl -u prometheus-")


class Servers:
    """The servers' files, and a systemctl that notes what it is told to do."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.bin = folder / "etc", folder / "bin"
        self.etc.mkdir()
        self.bin.mkdir()
        for name in ("alerts", "extra", "prometheus", "alertmanager", "blackbox"):
            self.write(name)
        self.let_systemctl("exit 0")

    def write(self, name: str) -> None:
        """Put a new file in the place of an old one, as Ansible does."""
        new = self.etc / "new"
        new.write_text(name)
        new.replace(self.etc / f"{name}.yml")

    def let_systemctl(self, end: str) -> None:
        program = self.bin / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >>{self.bin}/told\n{end}\n')
        program.chmod(0o755)

    def told(self) -> list[str]:
        """Return what systemctl was told since this was asked last."""
        notes = self.bin / "told"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def run(self) -> tuple[int, str]:
        """Do what the role does after writing."""
        shell = task(MONITOR, "configure", "Have them read what changed")["ansible.builtin.shell"]
        text = derive(MONITOR, shell["cmd"], monitoring_url="https://gate")
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", text], cwd=self.etc, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.strip()


RELOAD = ["reload-or-restart prometheus prometheus-alertmanager prometheus-blackbox-exporter"]


def test_servers_read_what_any_run_wrote_and_nothing_twice(tmp_path: Path) -> None:
    servers = Servers(tmp_path)
    assert (servers.run(), servers.told()) == ((0, "reloaded"), RELOAD)
    assert (servers.run(), servers.told()) == ((0, ""), [])
    # A run wrote this and ended, and the next finds nothing to write.
    servers.write("extra")
    assert (servers.run(), servers.told()) == ((0, "reloaded"), RELOAD)
    assert (servers.run(), servers.told()) == ((0, ""), [])


def test_a_reload_that_failed_is_done_again(tmp_path: Path) -> None:
    servers = Servers(tmp_path)
    servers.let_systemctl("exit 1")
    assert servers.run() == (1, "")
    servers.let_systemctl("exit 0")
    assert servers.run() == (0, "reloaded")


MADE = [{"changed": True}, {"changed": True}]
THERE = [{"changed": False, "state": "directory"}] * 2


def on_monitor(text: Any, check: bool, installed: bool = True, folders: Any = THERE, **variables: Any) -> Any:
    packages = ("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter")
    lines = [f"{name} ii " for name in packages] if installed else [f"{packages[0]} un "]
    return derive(
        MONITOR,
        text,
        ansible_check_mode=check,
        __monitoring_dpkg={"stdout_lines": lines},
        __monitoring_folders={"results": folders},
        **variables,
    )


def test_check_mode_shows_what_a_run_would_write_unless_the_host_is_bare() -> None:
    can_write = trust_as_template("{{ __monitoring_can_write }}")
    assert on_monitor(can_write, check=False, installed=False, folders=MADE)
    assert on_monitor(can_write, check=True)
    assert not on_monitor(can_write, check=True, installed=False)
    assert not on_monitor(can_write, check=True, folders=MADE)
    waiting = [
        entry["name"] for entry in load(MONITOR, "tasks/configure.yml") if entry.get("when") == "__monitoring_can_write"
    ]
    assert len(waiting) == 4


def test_check_mode_asks_for_the_group_that_the_folders_have() -> None:
    group = task(MONITOR, "configure", "Make the folders")["ansible.builtin.file"]["group"]
    assert on_monitor(group, check=True) == "prometheus"
    assert on_monitor(group, check=True, installed=False) == "root"
    assert on_monitor(group, check=False, installed=False) == "prometheus"


def test_what_promtool_says_is_told_and_secrets_are_not_shown() -> None:
    write = task(MONITOR, "configure", "Write the servers' configurations")

    def shown(**variables: Any) -> dict[str, tuple[bool, bool]]:
        """Return whether what comes of a file is hidden, and whether its differences are shown."""
        items = on_monitor(write["loop"], check=False, **variables)
        return {
            item["name"]: tuple(on_monitor(write[word], check=False, item=item) for word in ("no_log", "diff"))
            for item in items
        }

    assert shown() == {"prometheus": (False, True), "alertmanager": (True, False), "blackbox": (False, True)}
    assert shown(monitoring_extra_jobs=[{"job_name": "dcgm"}])["prometheus"] == (False, False)

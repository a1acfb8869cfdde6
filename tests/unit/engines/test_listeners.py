"""Who listens on a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.listeners import listeners

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F4A 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4242 1 0 100 0 0 10 0
   1: 0100007F:1F4A 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   998        0 4243 1 0 20 4 0 10 -1
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TABLE)
    process = tmp_path / "711"
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "3").symlink_to("socket:[4242]")
    (process / "comm").write_text("vllm\n")
    (process / "cgroup").write_text("1:name=systemd:/system.slice/system-vllm.slice/vllm@tiny.service\n")
    return tmp_path


def test_the_unit_is_told(proc: Path) -> None:
    (found,) = listeners([8010], proc)
    assert (found.port, found.unit, found.process, found.pid) == (8010, "vllm@tiny.service", "vllm", 711)


def test_other_ports_are_of_no_interest(proc: Path) -> None:
    assert listeners([8011], proc) == []


def test_a_listener_that_cannot_be_looked_at_is_a_listener_all_the_same(proc: Path) -> None:
    (proc / "711" / "fd" / "3").unlink()
    (found,) = listeners([8010], proc)
    assert (found.port, found.unit, found.pid) == (8010, "", 0)


def test_a_real_socket_of_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = listeners([server.getsockname()[1]])
    assert found.pid == os.getpid()

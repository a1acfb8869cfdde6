"""HAProxy's answers, as version 2.6 gives them, and waiting on them."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gateway.errors import GatewayError
from ansible_collections.llm.serving.plugins.module_utils.gateway.runtime import (
    ServerStatus,
    connect,
    former_workers,
    servers,
    set_state,
    wait,
)

PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
1763            master          2 [failed: 0]   0d00h00m27s     2.6.12-1+deb12u4
# workers
1801            worker          0               0d00h00m02s     2.6.12-1+deb12u4
# old workers
1765            worker          1               0d00h00m26s     2.6.12-1+deb12u4
1770            worker          2               0d00h00m29s     2.6.12-1+deb12u4
# programs

"""
STATES = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
5 model-a 1 gpu1 198.18.0.12 2 0 1
5 model-a 2 gpu2 198.18.0.13 2 8 1
6 model-b 1 gpu1 198.18.0.12 2 1 1

"""


def statistics(gpu1: int, gpu2: int) -> str:
    return (
        "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,\n"
        f"model-a,gpu1,0,0,{gpu1},9,,99,UP,\n"
        f"model-a,gpu2,0,0,{gpu2},9,,99,DRAIN,\n"
        "model-b,gpu1,0,0,,9,,99,MAINT,\n\n"
    )


class Socket:
    """Answers as the master's socket does."""

    def __init__(self, former: list[str] | None = None) -> None:
        self.commands: list[str] = []
        self.former = former or [statistics(2, 0), statistics(0, 3)]

    def __call__(self, command: str) -> str:
        self.commands.append(command)
        if command.startswith("@!"):
            return self.former[0] if command.startswith("@!1765 ") else self.former[1]
        answers = {
            "show proc": PROCESSES,
            "@1 show servers state": STATES,
            "@1 show stat -1 4 -1": statistics(1, 0),
            "@1 set server model-a/gpu1 state drain": "\n",
        }
        return answers.get(command, "No such server.\n")


def test_former_workers() -> None:
    assert former_workers(PROCESSES) == [1765, 1770]
    assert former_workers(PROCESSES.replace("# old workers\n", "")) == []


def test_requests_in_former_workers_count() -> None:
    assert servers(Socket()) == [
        ServerStatus("model-a", "gpu1", "ready", "UP", 3),
        ServerStatus("model-a", "gpu2", "drain", "DRAIN", 3),
        ServerStatus("model-b", "gpu1", "maint", "MAINT", 0),
    ]


def test_servers_of_one_host() -> None:
    assert [found.backend for found in servers(Socket(), "gpu1")] == ["model-a", "model-b"]


@pytest.mark.parametrize(
    ("state", "status", "up"),
    [("ready", "UP", True), ("ready", "UP 1/2", True), ("ready", "DOWN", False), ("drain", "UP", False)],
)
def test_what_takes_requests(state: str, status: str, up: bool) -> None:
    assert ServerStatus("b", "s", state, status, 0).is_up is up


def test_a_refusal_names_haproxys_words() -> None:
    set_state(Socket(), ServerStatus("model-a", "gpu1", "ready", "UP", 0), "drain")
    with pytest.raises(GatewayError, match=r"model-a/x to drain: No such server"):
        set_state(Socket(), ServerStatus("model-a", "x", "ready", "UP", 0), "drain")


def test_waiting_ends_when_done_or_over() -> None:
    moments = iter(range(100))
    slept: list[float] = []

    def clock() -> float:
        return float(next(moments))

    found = wait(Socket(), "gpu1", lambda now: len(slept) == 2, 60, sleep=slept.append, clock=clock)
    assert (len(slept), len(found)) == (2, 2)
    wait(Socket(), "gpu1", lambda now: False, 3, sleep=slept.append, clock=clock)
    assert len(slept) == 4


def test_a_socket_that_is_not_there(tmp_path: object) -> None:
    with pytest.raises(GatewayError, match=r"does not answer on .*none\.sock"):
        connect(f"{tmp_path}/none.sock")("show proc")

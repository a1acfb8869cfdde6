"""Two hosts are changed one after the other under a stream of requests, and go back when a change is bad."""

from __future__ import annotations

import json
import re

HOSTS = ("left", "right")
testinfra_hosts = ["ansible://door"]


def current(guest):
    return [guest(name).file("/opt/ollama/current").linked_to.rpartition("/")[2] for name in HOSTS]


def lives(guest):
    return [guest(name).check_output("systemctl show -P InvocationID ollama") for name in HOSTS]


def test_an_upgrade_loses_no_request(guest, play, requests, versions):
    second = versions[1]
    run = play("ollama", ollama_version=second)
    assert run.ok, run.output
    assert current(guest) == [second, second]
    assert set(requests()) == {"200"}
    # Both releases were there before the first host was taken out, and each host was taken out by itself.
    tasks = re.findall(r"^TASK \[(.*?)\]", run.output, re.MULTILINE)
    assert tasks.index("llm.serving.ollama : Install the release beside the others") < tasks.index("Drain")
    assert tasks.count("llm.serving.gateway : Send this host no new requests, and wait for those under way") == len(
        HOSTS
    )


def test_a_run_without_changes_takes_no_host_out(guest, play, versions):
    before = lives(guest)
    run = play("ollama", ollama_version=versions[1])
    assert run.ok, run.output
    assert "Drain" not in run.output
    assert "changed=0" in run.output and not re.search(r"changed=[1-9]", run.output)
    assert lives(guest) == before


def test_a_change_that_fails_is_undone_and_the_other_host_left_alone(guest, play, requests, versions):
    before = lives(guest)
    # The server does not start: it cannot tell what that number is.
    run = play("ollama", ollama_version=versions[1], ollama_unit_settings={"ExecStartPre": "/bin/false"})
    assert not run.ok
    assert "The change of left failed. The host was put back to generation 2" in run.words
    after = lives(guest)
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert set(requests()) == {"200"}
    assert play("status", ollama_version=versions[1], fail_on_drift=True).ok


def test_a_change_that_breaks_the_promise_gets_no_request(guest, play, requests, versions, tmp_path):
    before = lives(guest)
    measured = {
        "rolling_benchmark": True,
        "benchmark_dest": str(tmp_path),
        "benchmark_concurrency": [1],
        "benchmark_requests": 4,
        "benchmark_output_tokens": 4,
        "benchmark_warmup_requests": 1,
        "benchmark_client_ceiling_seconds": 0,
        # No server keeps this.
        "benchmark_slo": {"e2e_seconds": 0.000001},
    }
    run = play("ollama", ollama_version=versions[1], ollama_max_queue=77, **measured)
    assert not run.ok
    assert "The change of left failed. The host was put back to generation 2" in run.words
    assert "1 at a time: expected 95 % of requests (slo.share) with whole answer" in run.words
    assert list(tmp_path.glob("left/*/report.html"))
    tasks = re.findall(r"^TASK \[(?:\S+ : )?(.*?)\]", run.output, re.MULTILINE)
    measured_at = tasks.index("Measure")
    assert "Send this host no new requests, and wait for those under way" in tasks[:measured_at]
    assert "Send this host requests again, and wait until its engines are seen to be well" in tasks[measured_at:]
    assert "Send this host requests again, and wait until its engines are seen to be well" not in tasks[:measured_at]
    assert lives(guest)[1] == before[1]
    assert set(requests()) == {"200"}
    assert play("status", ollama_version=versions[1], fail_on_drift=True).ok


def test_both_go_back_by_hand_without_losing_a_request(guest, play, requests, versions):
    first = versions[0]
    run = play("rollback")
    assert run.ok, run.output
    assert current(guest) == [first, first]
    assert set(requests()) == {"200"}


def test_the_state_says_what_differs_from_the_inventory(play, tmp_path, versions):
    first, second = versions
    assert play("status", fail_on_drift=True).ok
    path = tmp_path / "status.json"
    run = play("status", ollama_version=second, fail_on_drift=True, status_path=str(path))
    assert not run.ok
    states = {state["host"]: state for state in json.loads(path.read_text())}
    assert {state["generation"] for state in states.values()} == {1}
    assert f"runs {first}, the inventory asks for {second}" in states["left"]["differences"]


def test_what_a_killed_run_wrote_is_put_to_work_by_the_next(guest, play):
    """Written and not restarted: what is in force is older than what is on the disk."""
    guest("right").check_output("sleep 3; touch /etc/ollama/ollama.env")
    before = lives(guest)
    run = play("ollama")
    assert run.ok, run.output
    after = lives(guest)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)

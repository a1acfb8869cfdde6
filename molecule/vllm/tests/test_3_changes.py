"""A change restarts its own instance; a start that fails says why at once; nobody else notices either."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

testinfra_hosts = ["ansible://vllm"]
KEY = "sk-molecule-not-to-be-seen"
LOAD = {
    "benchmark_concurrency": [2],
    "benchmark_requests": 8,
    "benchmark_output_tokens": 8,
    "benchmark_input_tokens": 8,
    "benchmark_warmup_requests": 2,
    "benchmark_client_ceiling_seconds": 0,
}


def test_a_start_that_fails_says_why_and_is_undone(play, models, lives, ask):
    before = lives()
    # The engine alone can find this out: the variable overrides the size that was planned.
    models[0]["environment"] = {"VLLM_CPU_KVCACHE_SPACE": "4000"}
    started = time.monotonic()
    run = play(vllm_models=models)
    assert not run.ok
    words = " ".join(run.output.split())
    assert "less than requested memory for kv (4000.0 GiB)" in words
    assert "What to do: The host has less free memory than the KV cache asks for" in words
    assert "The host was put back to generation 1 (0.32.0-cpu" in words
    assert KEY not in run.output
    assert time.monotonic() - started < 590  # the wait alone would have been 600
    assert lives()["second"] == before["second"]
    assert lives()["first"] != before["first"]
    assert ask(8010, "/v1/models")[0] == 200


def test_a_run_that_is_killed_before_the_restart_is_finished_by_the_next(
    host, play, start, models, lives, ask, tmp_path
):
    """And nobody else may change the host meanwhile. The next one also measures, and finds the promise kept."""
    before = lives()
    models[0]["max_num_seqs"] = 6
    # systemd does not answer any more, just when it is asked to restart the instance.
    stub = "/usr/local/sbin/systemctl"
    script = '#!/bin/sh\n[ "$1" = restart ] && exec sleep 1000\nexec /usr/bin/systemctl "$@"\n'
    host.check_output(f"printf '%s' '{script}' > {stub} && chmod 755 {stub}")
    try:
        killed = start(vllm_models=models)
        deadline = time.monotonic() + 60
        while "max-num-seqs: 6" not in host.file("/etc/vllm/first.yaml").content_string:
            assert time.monotonic() < deadline
            time.sleep(1)
        other = play(vllm_models=models)
        assert not other.ok
        assert "this host is being changed by" in " ".join(other.output.split())
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        host.run("pkill -x -f 'sleep 1000'")
        time.sleep(1)
    finally:
        host.check_output(f"rm {stub}")
    assert lives() == before
    promise = {"rolling_benchmark": True, "benchmark_slo": {"e2e_seconds": 60}, "benchmark_dest": str(tmp_path)}
    run = play(vllm_models=models, **LOAD, **promise)
    assert run.ok, run.output
    pages = [path.read_text("utf-8") for path in tmp_path.glob("twin/*/report.html")]
    assert len(pages) == 2
    assert all("The promise is kept" in page for page in pages)
    assert "taken over from a run that ended without giving its lock back" in " ".join(run.output.split())
    assert KEY not in run.output
    assert lives()["second"] == before["second"]
    assert lives()["first"] != before["first"]
    assert ask(8010, "/v1/models")[0] == 200


def test_the_plan_and_the_engine_agree_on_a_cpu(play, models, lives):
    models[0]["max_num_seqs"] = 6
    before = lives()
    run = play(vllm_models=models)
    assert run.ok, run.output
    assert "changed=0" in run.output
    assert run.output.count("exact") == 4  # tokens and bytes of two models
    assert lives() == before


def test_what_was_measured_is_noted_once(host, play, models, lives):
    """On a CPU the plan decides the size of the cache: the second run reads the note and changes nothing by it."""
    models[0]["max_num_seqs"] = 6
    before = lives()
    runs = [play(vllm_models=models, vllm_recalibrate=True) for _ in range(3)]
    assert [run.ok for run in runs] == [True] * 3, runs[0].output
    assert ["changed=0" in run.output for run in runs] == [False, True, True]
    measured = json.loads(host.file("/etc/vllm/.measured.json").content_string)
    assert sorted(values["kv_cache_bytes"] for values in measured.values()) == [1 << 30, 1 << 30]
    assert host.file("/etc/vllm/.measured.json").mode == 0o600
    assert lives() == before


# With a host, as pytest runs tests of no host after those of one, when the first instance is gone.
@pytest.mark.usefixtures("host")
def test_the_state_of_the_fleet_is_told(play, models, tmp_path):
    path = tmp_path / "status.json"
    models[0]["max_num_seqs"] = 6
    same = play("status", vllm_models=models, fail_on_drift=True, status_path=str(path))
    assert same.ok, same.output
    assert "Nothing differs." in same.output
    first, second = json.loads(path.read_text())
    assert (first["instance"], first["engine"], first["healthy"]) == ("first", "0.32.0-cpu", True)
    assert first["generation"] == second["generation"] == 2
    other = play("status", fail_on_drift=True, format="json")  # the inventory's own 4 sequences
    assert not other.ok
    assert "these differ from the inventory: twin first" in " ".join(other.output.split())
    assert "runs with another configuration than the next run would write" in other.output


def test_one_goes_back_by_hand(host, play, models, lives, ask):
    before = lives()
    run = play("rollback")
    assert run.ok, run.output
    assert lives()["second"] == before["second"]
    assert lives()["first"] != before["first"]
    assert "max-num-seqs: 4" in host.file("/etc/vllm/first.yaml").content_string
    assert ask(8010, "/v1/models")[0] == 200
    assert "no generation is older than the current one, 1" in " ".join(play("rollback").output.split())
    assert host.file("/var/lib/llm-serving/generations/vllm").mode == 0o700
    assert not host.file("/run/llm-serving/lock").exists


@pytest.mark.deep
def test_the_better_setting_is_found_and_served(host, play, lives, tmp_path):
    """Of four at a time, an engine that takes one at a time keeps three waiting."""
    before = lives()
    files = {"tune_dest": str(tmp_path / "tuned.yml"), "tune_report": str(tmp_path / "tune.html")}
    run = play(
        "tune",
        tune_host="twin",
        tune_model="first",
        tune_candidates=[{"max_num_seqs": 4}, {"max_num_seqs": 1}],
        benchmark_slo={"e2e_seconds": 60},
        **{**LOAD, "benchmark_concurrency": [4], "benchmark_requests": 24},
        **files,
    )
    assert run.ok, run.output
    assert "max_num_seqs 1: not measured" not in run.output
    page = (tmp_path / "tune.html").read_text("utf-8")
    assert "Tuning of first on twin" in page
    assert "did not serve" not in page
    assert lives()["second"] == before["second"]
    assert lives()["first"] != before["first"]
    assert "max-num-seqs: 4" in host.file("/etc/vllm/first.yaml").content_string
    assert not (tmp_path / "tuned.yml").exists()
    assert KEY not in run.output


def test_a_model_that_is_listed_no_more_goes(host, play, models, lives, ask):
    before = lives()
    run = play(vllm_models=models[1:])
    assert run.ok, run.output
    assert lives()["second"] == before["second"]
    assert not host.service("vllm@first").is_running
    assert not host.service("vllm@first").is_enabled
    assert host.check_output("ls -A /etc/vllm /etc/vllm/.started").split() == [
        "/etc/vllm:",
        ".measured.json",
        ".started",
        "second.env",
        "second.yaml",
        "/etc/vllm/.started:",
        "second",
    ]
    assert ask(8011, "/v1/models")[0] == 200

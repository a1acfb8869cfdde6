"""A change restarts its own instance; a start that fails says why at once; nobody else notices either."""

from __future__ import annotations

import time

testinfra_hosts = ["ansible://vllm"]
KEY = "sk-molecule-not-to-be-seen"


def test_a_start_that_fails_says_why(play, models, lives):
    before = lives()
    # The engine alone can find this out: the variable overrides the size that was planned.
    models[0]["environment"] = {"VLLM_CPU_KVCACHE_SPACE": "4000"}
    started = time.monotonic()
    run = play(vllm_models=models)
    assert not run.ok
    words = " ".join(run.output.split())
    assert "less than requested memory for kv (4000.0 GiB)" in words
    assert "What to do: The host has less free memory than the KV cache asks for" in words
    assert KEY not in run.output
    assert time.monotonic() - started < 590  # the wait alone would have been 600
    assert lives()["second"] == before["second"]


def test_what_failed_is_mended_by_the_next_run(play, models, lives, ask):
    before = lives()
    models[0]["max_num_seqs"] = 6
    run = play(vllm_models=models)
    assert run.ok, run.output
    assert "max-num-seqs: 6" in run.output
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


def test_a_model_that_is_listed_no_more_goes(host, play, models, lives, ask):
    before = lives()
    run = play(vllm_models=models[1:])
    assert run.ok, run.output
    assert lives()["second"] == before["second"]
    assert not host.service("vllm@first").is_running
    assert not host.service("vllm@first").is_enabled
    assert host.check_output("ls -A /etc/vllm /etc/vllm/.started").split() == [
        "/etc/vllm:",
        ".started",
        "second.env",
        "second.yaml",
        "/etc/vllm/.started:",
        "second",
    ]
    assert ask(8011, "/v1/models")[0] == 200

"""What cannot work is refused with a sentence that says what to do, and what runs keeps running."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://vllm"]

# What is changed in the first model, or in the host's variables, and what the refusal says.
MODEL_MISTAKES = {
    "wrong path": (
        {"model": "/srv/models/local/frist"},
        "expected a model in /srv/models/local/frist, found no such directory",
    ),
    "truncated shard": ({"model": "/srv/models/local/truncated"}, "model-00002-of-00002.safetensors"),
    "impossible length": ({"max_model_len": 1000000}, "max_model_len"),
    "misspelt key": ({"max_modl_len": 512}, "no key 'max_modl_len'; did you mean 'max_model_len'?"),
    "misspelt option": ({"extra_args": {"chat_templat": "x"}}, "did you mean 'chat-template'?"),
    "same port twice": ({"port": 8011}, "both have the port 8011"),
    "name of no unit": ({"name": "First Model"}, "correct name"),
    "hidden folder": ({"model": "/root/model"}, "services may not look into /root/model"),
}
HOST_MISTAKES = {
    "misspelt variable": ({"vllm_modles": []}, "there is no variable vllm_modles; did you mean 'vllm_models'?"),
    "version without a lock": ({"vllm_version": "9.9.9"}, "set vllm_requirements"),
}


@pytest.mark.parametrize("mistake", MODEL_MISTAKES)
def test_mistakes_in_a_model(play, models, lives, mistake):
    change, message = MODEL_MISTAKES[mistake]
    models[0].update(change)
    before = lives()
    run = play(vllm_models=models)
    assert not run.ok
    assert message in " ".join(run.output.split())
    assert lives() == before


@pytest.mark.parametrize("mistake", HOST_MISTAKES)
def test_mistakes_in_the_hosts_variables(play, lives, mistake):
    change, message = HOST_MISTAKES[mistake]
    before = lives()
    run = play(**change)
    assert not run.ok
    assert message in " ".join(run.output.split())
    assert lives() == before


def test_a_port_that_somebody_else_has(host, play, models, lives):
    host.check_output("systemd-run --quiet --unit=squatter python3 -m http.server 8019")
    try:
        models[0]["port"] = 8019
        before = lives()
        run = play(vllm_models=models)
        assert not run.ok
        assert "expected port 8019 to be free, found squatter.service" in " ".join(run.output.split())
        assert lives() == before
    finally:
        host.check_output("systemctl stop squatter")


def test_a_model_that_the_service_may_not_read(host, play, models, lives):
    path = "/srv/models/local/second/model.safetensors"
    host.check_output(f"chmod 600 {path}")
    try:
        before = lives()
        models[1]["max_num_seqs"] = 3
        run = play(vllm_models=models)
        assert not run.ok
        assert f"expected files that the user vllm can read, found {path}" in " ".join(run.output.split())
        assert lives() == before
    finally:
        host.check_output(f"chmod 644 {path}")

"""What starts an engine, in all the ways that people have of starting one."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.adopt.commands import Shell, recognise, shown

# As in the notes of the team that this collection comes from, comments after continued lines included.
SCRIPT = """#!/usr/bin/env bash
set -e
export CUDA_VISIBLE_DEVICES=0,1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True,max_split_size_mb:256
MODEL_DIR="/home/ps/vllm/models/Qwen2.5-32B-Instruct"
SERVED_NAME=qwen32b
PORT=${1:-8010}
cd /home/ps/vllm
source venv/bin/activate || exit 1
if [ -n "$DEBUG" ]; then echo debugging; fi
nohup python -m vllm.entrypoints.openai.api_server \\
  --model "${MODEL_DIR}" \\
  --served-model-name "${SERVED_NAME}" \\
  --port "${PORT}" \\
  --tensor-parallel-size 2 \\  # two cards
  --trust-remote-code > log.txt 2>&1 &
"""
SHELL = Shell("/home/ps")


@pytest.mark.parametrize(
    ("words", "engine", "arguments"),
    [
        (["/usr/local/bin/ollama", "serve"], "ollama", ()),
        (["vllm", "serve", "m", "--port", "1"], "vllm", ("m", "--port", "1")),
        (
            ["/v/bin/python3", "-u", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"],
            "vllm",
            ("--model", "m"),
        ),
        (["/v/bin/python", "/v/bin/vllm", "serve", "m"], "vllm", ("m",)),
        (["env", "A=1", "nice", "-n", "5", "vllm", "serve", "m"], "vllm", ("m",)),
        (["conda", "run", "-n", "v", "--no-capture-output", "vllm", "serve", "m"], "vllm", ("m",)),
        (["numactl", "-N", "0", "--membind=0", "vllm", "serve", "m"], "vllm", ("m",)),
        (["taskset", "-c", "0-7", "vllm", "serve", "m"], "vllm", ("m",)),
        (["/bin/bash", "-lc", "exec vllm serve m --port 1"], "vllm", ("m", "--port", "1")),
    ],
)
def test_command_lines(words: list[str], engine: str, arguments: tuple[str, ...]) -> None:
    found = recognise(words, {}, SHELL)
    assert found is not None
    assert (found.engine, found.arguments, found.in_container) == (engine, arguments, False)


@pytest.mark.parametrize(
    "words",
    [
        ["/usr/bin/nginx"],
        ["ollama", "run", "m"],
        ["vllm", "bench", "serve"],
        ["python", "-m", "http.server"],
        ["bash"],
        ["/bin/sh", "/absent.sh"],
        [],
    ],
)
def test_other_programs(words: list[str]) -> None:
    assert recognise(words, {}, SHELL) is None


def test_a_container_is_told_as_one() -> None:
    found = recognise(["docker", "run", "--gpus", "all", "vllm/vllm-openai:v0.9", "--model", "m"], {}, SHELL)
    assert found is not None
    assert (found.engine, found.in_container, found.arguments) == ("vllm", True, ("--model", "m"))


def test_a_script_is_read_as_a_shell_would(tmp_path: Path) -> None:
    path = tmp_path / "home/ps/start.sh"
    path.parent.mkdir(parents=True)
    path.write_text(SCRIPT)
    found = recognise(["/home/ps/start.sh"], {"HOME": "/home/ps"}, Shell("/home/ps", tmp_path))
    assert found is not None
    assert found.script == "/home/ps/start.sh"
    assert found.arguments == (
        *("--model", "/home/ps/vllm/models/Qwen2.5-32B-Instruct", "--served-model-name", "qwen32b"),
        *("--port", "8010", "--tensor-parallel-size", "2", "--trust-remote-code"),
    )
    assert found.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert found.environment.get("PWD") == "/home/ps/vllm"
    assert found.environment["VIRTUAL_ENV"] == "venv"
    # What is not exported is the script's own.
    assert "MODEL_DIR" not in found.environment


def test_arguments_of_a_script(tmp_path: Path) -> None:
    path = tmp_path / "s.sh"
    path.write_text('vllm serve "$1" --port $2\n')
    found = recognise(["bash", "/s.sh", "m", "9"], {}, Shell("/root", tmp_path))
    assert found is not None
    assert found.arguments == ("m", "--port", "9")


def test_scripts_that_call_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("bash /b.sh\n")
    (tmp_path / "b.sh").write_text("bash /a.sh\n")
    assert recognise(["bash", "/a.sh"], {}, Shell("/root", tmp_path)) is None


def test_secrets_are_not_shown() -> None:
    words = ["--api-key", "sk-1", "--hf-token=t", "--api_key=2", "--port", "8000"]
    assert shown(words) == "--api-key … --hf-token=… --api_key=… --port 8000"

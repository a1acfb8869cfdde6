"""The examples, as somebody would run them who was given an address, a key and the CA's certificate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "examples"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            [sys.executable, EXAMPLES / "client.py", "Hello"],
            ["models: ", "tiny", "answer: ", "stream: ", "continued: "],
        ),
        (["bash", EXAMPLES / "curl.sh"], ['"object":"list"', '"chat.completion"', "data: [DONE]", '"text_completion"']),
        ([sys.executable, EXAMPLES / "requests_client.py", "Hello"], ["models: ", "tiny", "answer: ", "stream: "]),
        ([sys.executable, EXAMPLES / "openai_client.py", "Hello"], ["models: ", "tiny", "answer: ", "stream: "]),
        ([sys.executable, EXAMPLES / "stress_test.py", "4", "8"], ["status 200", "8 of 8 answered", "4 at a time"]),
    ],
    ids=["client", "curl", "requests", "openai", "aiohttp"],
)
def test_example(command: list[str | Path], expected: list[str], client_environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=client_environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout
    assert client_environment["OPENAI_API_KEY"] not in done.stdout + done.stderr


def test_a_wrong_key_is_told(client_environment: dict[str, str]) -> None:
    environment = {**client_environment, "OPENAI_API_KEY": "wrong"}
    done = subprocess.run(
        ["bash", EXAMPLES / "curl.sh"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode
    assert "invalid_api_key" in done.stdout

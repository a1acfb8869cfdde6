"""Modelfiles and parameters."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.modelfile import parse, same_parameters
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError

TEXT = '''
# a comment
FROM qwen2.5:7b
PARAMETER temperature 0.5
PARAMETER num_ctx 4096
PARAMETER stop "<|end|>"
PARAMETER stop User:
SYSTEM """You are brief.
Always."""
TEMPLATE "{{ .Prompt }}"
MESSAGE user Is the sky blue?
MESSAGE assistant yes
ADAPTER /srv/lora.gguf
LICENSE MIT
'''
# As /api/show of Ollama 0.32.15 has it.
SHOWN = "\n".join(
    f"{name:<30} {value}"
    for name, value in (("num_ctx", "2048"), ("stop", '"a"'), ("stop", '"b c"'), ("temperature", "0.5"))
)


def test_every_instruction() -> None:
    found = parse(TEXT)
    assert found.source == "qwen2.5:7b"
    assert found.parameters == {"temperature": 0.5, "num_ctx": 4096, "stop": ["<|end|>", "User:"]}
    assert found.system == "You are brief.\nAlways."
    assert found.template == "{{ .Prompt }}"
    assert found.messages == [
        {"role": "user", "content": "Is the sky blue?"},
        {"role": "assistant", "content": "yes"},
    ]
    assert (found.adapters, found.licenses) == (["/srv/lora.gguf"], ["MIT"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PARAMETER num_ctx 1", "expected FROM"),
        ("FROM x\nRUN rm", "line 2: expected FROM, PARAMETER.* found RUN"),
        ('FROM x\nSYSTEM """never closed', 'line 2: expected """ to close'),
        ("FROM", "line 1: expected an instruction and its value"),
    ],
)
def test_mistakes_name_their_line(text: str, message: str) -> None:
    with pytest.raises(OllamaError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("wanted", "same"),
    [
        ({"num_ctx": 2048}, True),
        ({"num_ctx": "2048", "temperature": 0.50}, True),
        ({"stop": ["b c", "a"]}, True),
        ({"stop": "a"}, False),
        ({"num_ctx": 4096}, False),
        ({"num_gpu": 1}, False),
        ({"num_gpu": None}, True),
    ],
)
def test_parameters_are_compared_by_value(wanted: dict[str, Any], same: bool) -> None:
    assert same_parameters(wanted, SHOWN) is same


@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        ("\n\n", r'"\n\n"'),
        ('"', r'"\""'),
        ("\\n", r'"\\n"'),
        (" User:", '" User:"'),
        ("\a\v\x00\x7f", r'"\a\v\x00\x7f"'),
        ("\u200b\U000e0001", r'"\u200b\U000e0001"'),
        ("</s>", '"</s>"'),
        ("«ende»", '"«ende»"'),
        ('a"b', '"a"b"'),  # no quoting of Go's
    ],
)
def test_stop_sequences_are_read_as_the_server_quotes_them(stop: str, shown: str) -> None:
    table = f"{'stop':<30} {shown}"
    assert same_parameters({"stop": [stop]}, table)
    assert not same_parameters({"stop": [f"{stop} "]}, table)

#!/usr/bin/env python3
"""Talk to an OpenAI-compatible endpoint with nothing but Python.

OPENAI_BASE_URL=http://gpu1:8010/v1 OPENAI_MODEL=qwen32b OPENAI_API_KEY=… python3 examples/client.py "Your question"
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8010/v1")
MODEL = os.environ.get("OPENAI_MODEL", "qwen32b")
API_KEY = os.environ.get("OPENAI_API_KEY", "")


def send(path: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request; return the open response."""
    headers = {"Content-Type": "application/json"}
    if API_KEY:
        headers["Authorization"] = f"Bearer {API_KEY}"
    data = json.dumps(body).encode() if body is not None else None
    return urllib.request.urlopen(urllib.request.Request(BASE_URL + path, data, headers), timeout=300)


def models() -> list[str]:
    """Ask what is served."""
    return [model["id"] for model in json.load(send("/models"))["data"]]


def chat(question: str) -> str:
    """Ask a question and wait for the whole answer."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 256}
    reply: str = json.load(send("/chat/completions", body))["choices"][0]["message"]["content"]
    return reply


def chat_stream(question: str) -> Iterator[str]:
    """Ask a question and take the answer as it grows."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 256, "stream": True}
    for line in send("/chat/completions", body):
        text = line.decode().strip()
        if text.startswith("data: ") and text != "data: [DONE]":
            for choice in json.loads(text[6:])["choices"]:
                yield choice["delta"].get("content") or ""


def complete(beginning: str) -> str:
    """Have a text continued."""
    body = {"model": MODEL, "prompt": beginning, "max_tokens": 64}
    text: str = json.load(send("/completions", body))["choices"][0]["text"]
    return text


def main() -> None:
    """Show all of it."""
    question = " ".join(sys.argv[1:]) or "What is a language model?"
    print("models:", ", ".join(models()))
    print("answer:", chat(question))
    print("stream:", end=" ")
    for piece in chat_stream(question):
        print(piece, end="", flush=True)
    print("\ncontinued:", complete("A language model is"))


if __name__ == "__main__":
    main()

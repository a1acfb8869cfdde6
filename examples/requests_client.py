#!/usr/bin/env python3
"""Talk to an OpenAI-compatible endpoint by requests (pip install requests).

OPENAI_BASE_URL=https://llm.example.org/v1 OPENAI_MODEL=qwen32b OPENAI_API_KEY=… python3 examples/requests_client.py

With a private CA, REQUESTS_CA_BUNDLE=ca.pem makes it trusted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import requests

BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8010/v1")
MODEL = os.environ.get("OPENAI_MODEL", "qwen32b")
# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (5, 300)


def chat_stream(session: requests.Session, body: dict[str, object]) -> Iterator[str]:
    """Ask a question and take the answer as it grows."""
    with session.post(
        f"{BASE_URL}/chat/completions", json={**body, "stream": True}, stream=True, timeout=TIMEOUT
    ) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                for choice in json.loads(line[6:])["choices"]:
                    yield choice["delta"].get("content") or ""


def main() -> None:
    """List the models, ask a question, and ask it again to see the answer grow."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"
    question = " ".join(sys.argv[1:]) or "What is a language model?"
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 64}
    models = session.get(f"{BASE_URL}/models", timeout=TIMEOUT)
    models.raise_for_status()
    print("models:", ", ".join(model["id"] for model in models.json()["data"]))
    reply = session.post(f"{BASE_URL}/chat/completions", json=body, timeout=TIMEOUT)
    reply.raise_for_status()
    print("answer:", reply.json()["choices"][0]["message"]["content"])
    print("stream:", end=" ")
    for piece in chat_stream(session, body):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main()

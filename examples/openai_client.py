#!/usr/bin/env python3
"""Talk to an OpenAI-compatible endpoint by OpenAI's own client (pip install openai).

OPENAI_BASE_URL=https://llm.example.org/v1 OPENAI_MODEL=qwen32b OPENAI_API_KEY=… python3 examples/openai_client.py

The client reads address and key from these variables. With a private CA, SSL_CERT_FILE=ca.pem makes it trusted.
"""

from __future__ import annotations

import os
import sys

from openai import OpenAI


def main() -> None:
    """List the models, ask a question, and ask it again to see the answer grow."""
    client = OpenAI()
    model = os.environ.get("OPENAI_MODEL", "qwen32b")
    question = " ".join(sys.argv[1:]) or "What is a language model?"
    messages = [{"role": "user", "content": question}]
    print("models:", ", ".join(served.id for served in client.models.list()))
    reply = client.chat.completions.create(model=model, messages=messages, max_tokens=64)
    print("answer:", reply.choices[0].message.content)
    print("stream:", end=" ")
    for chunk in client.chat.completions.create(model=model, messages=messages, max_tokens=64, stream=True):
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main()

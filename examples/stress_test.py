#!/usr/bin/env python3
"""Ask an OpenAI-compatible endpoint many questions at once; print the status and the latency of every one.

OPENAI_BASE_URL=http://gpu1:8010/v1 OPENAI_MODEL=qwen32b OPENAI_API_KEY=… python3 examples/stress_test.py 32 200

asks 200 questions, 32 at a time. Needs aiohttp. For percentiles, loads that rise, and a report, use
playbooks/benchmark.yml, which needs nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator

import aiohttp

BASE_URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8010/v1")
MODEL = os.environ.get("OPENAI_MODEL", "qwen32b")
API_KEY = os.environ.get("OPENAI_API_KEY", "")
# The default of 64 KiB slows long streams down.
READ_BUFFER_BYTES = 1 << 20


async def ask(session: aiohttp.ClientSession, number: int) -> bool:
    """Ask one question, print what came of it, and return whether it was answered."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Question {number}: what is {number} times 7?"}],
        "max_tokens": 64,
        "stream": True,
    }
    began = time.monotonic()
    first = status = "–"
    try:
        async with session.post(f"{BASE_URL}/chat/completions", json=body) as response:
            status = str(response.status)
            async for line in response.content:
                if first == "–" and line.startswith(b"data:"):
                    first = f"{time.monotonic() - began:.3f} s"
    except (aiohttp.ClientError, TimeoutError) as error:
        status = type(error).__name__
    print(f"{number:5}  status {status}  first token {first}  whole answer {time.monotonic() - began:.3f} s")
    return status == "200"


async def user(session: aiohttp.ClientSession, numbers: Iterator[int]) -> int:
    """Ask one question after the other; return how many were answered."""
    return sum([await ask(session, number) for number in numbers])


async def main(users: int, questions: int) -> int:
    """Let the users ask, and sum up."""
    headers = {"Authorization": f"Bearer {API_KEY}"} if API_KEY else {}
    limits = {"connector": aiohttp.TCPConnector(limit=0), "timeout": aiohttp.ClientTimeout(total=300)}
    numbers = iter(range(1, questions + 1))
    began = time.monotonic()
    async with aiohttp.ClientSession(headers=headers, read_bufsize=READ_BUFFER_BYTES, **limits) as session:
        answered = sum(await asyncio.gather(*(user(session, numbers) for dummy in range(users))))
    print(f"{answered} of {questions} answered in {time.monotonic() - began:.1f} s, {users} at a time")
    return 0 if answered == questions else 1


if __name__ == "__main__":
    USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    QUESTIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    sys.exit(asyncio.run(main(USERS, QUESTIONS)))

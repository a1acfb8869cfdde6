"""The model that is fetched, and the Hub that it is fetched from."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REPO = "bench/model"
SHARDS = 8


def make_model(folder: Path, gigabytes: float) -> int:
    """Make a model of that size in shards; return its size in bytes."""
    make = [sys.executable, str(ROOT / "tools/tiny_model.py"), str(folder), "--shards", str(SHARDS)]
    subprocess.run([*make, "--pad-bytes", str(int(gigabytes * 1e9))], check=True, stdout=subprocess.DEVNULL)
    return sum(path.stat().st_size for path in folder.iterdir())


@contextlib.contextmanager
def server(work: Path, model: Path, *options: str, listen: str = "127.0.0.1") -> Iterator[dict[str, Any]]:
    """Serve the model by a Hub in a process of its own; its state and its log are in `work`/hub."""
    command = [sys.executable, str(ROOT / "tools/hub_server.py"), "serve", "--listen", f"{listen}:0"]
    (work / "hub").mkdir(parents=True, exist_ok=True)
    command += ["--state", str(work / "hub"), "--model", f"{REPO}={model}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()

"""Environments of programs beside the control node's own, made once from a lock and kept outside of the checkout."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def locked(name: str) -> Path:
    """Return the folder of programs of .config/<name>.txt; raises CalledProcessError when it cannot be installed."""
    lock = ROOT / ".config" / f"{name}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-serving"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("LLM_SERVING_CACHE") or cache) / name / digest
    if not (folder / "complete").exists():
        uv = ROOT / ".venv" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--python",
            folder / "bin" / "python",
            "-r",
            lock,
        ]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return folder / "bin"

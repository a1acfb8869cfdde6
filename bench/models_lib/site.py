"""A site in one machine: a Hub behind a line, a mirror, and hosts that all want the same model at once.

A host is a process with a models' root of its own that runs hf_model's work. They share the machine's cores and disk
with the Hub and the mirror, which real ones do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_THE_MIRROR = 3  # a host's exit code
DIRECT, MIRROR, FIRST = "straight from the Hub", "through the mirror", "from the first host"
HOST = """
import sys
from pathlib import Path
from ansible_collections.llm.serving.plugins.module_utils.hub.client import HubClient
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import Keeper, Wish
endpoint, commit, root, *mirrors = sys.argv[1:]
wish = Wish("bench/model", commit, Path(root), endpoint, mirrors=tuple(mirrors))
outcome = Keeper(wish, lambda url: HubClient(url, None, xet=True, cache=Path(root) / "cache")).keep()
for warning in outcome.warnings:
    print(warning, file=sys.stderr)
sys.exit(LEFT if outcome.warnings else 0)
""".replace("LEFT", str(LEFT_THE_MIRROR))


@dataclass(frozen=True)
class Measured:
    """What one fetch by all hosts together took; `copies` is what the Hub sent, in sizes of the model."""

    way: str
    hosts: int
    seconds: float
    copies: float


@dataclass(frozen=True)
class Site:
    """Where its parts are."""

    work: Path
    endpoint: str
    near: str  # the same Hub without the line: a first host that serves what it has
    commit: str
    size_bytes: int
    environment: dict[str, str]

    def measure(self, way: str, hosts: int) -> Measured:
        """Let that many hosts fetch at once, with nothing there yet."""
        roots = [self.work / f"host{number}" for number in range(hosts)]
        for root in roots:
            shutil.rmtree(root, ignore_errors=True)
        with mirror(self) if way == MIRROR else contextlib.nullcontext("") as url:
            before_bytes = self._sent_bytes()
            started = time.perf_counter()
            if way == FIRST:
                self._fetch(roots[:1])
                self._fetch(roots[1:], self.near)
            else:
                self._fetch(roots, *([url] if url else []))
            seconds = time.perf_counter() - started
        for root in roots:
            shutil.rmtree(root)
        return Measured(way, hosts, seconds, (self._sent_bytes() - before_bytes) / self.size_bytes)

    def _fetch(self, roots: Sequence[Path], *mirrors: str) -> None:
        command = [sys.executable, "-c", HOST, self.endpoint, self.commit]
        running = [subprocess.Popen([*command, str(root), *mirrors], env=self.environment) for root in roots]
        codes = [process.wait() for process in running]
        if any(codes):
            raise SystemExit("A host failed, or left its mirror: the measurement would be of something else.")

    def _sent_bytes(self) -> int:
        time.sleep(0.5)
        lines = (self.work / "hub/requests.jsonl").read_text().splitlines()
        return sum(entry["bytes"] for entry in map(json.loads, lines))


@contextlib.contextmanager
def mirror(site: Site) -> Iterator[str]:
    """Run what the role mirror runs, with an empty cache."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    cache, config = site.work / "mirror", site.work / "olah.toml"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    hub = site.endpoint.removeprefix("http://")
    lines = [f"port = {port}", f"repos-path = {json.dumps(str(cache))}", 'cache-block-size = "8MB"']
    lines += ['hf-scheme = "http"', f'hf-netloc = "{hub}"', f'hf-lfs-netloc = "{hub}"']
    config.write_text("\n".join(["[basic]", *lines]) + "\n")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "roles/mirror/files")]
    command += ["--workers", "2", "--port", str(port), "--log-level", "error", "--no-access-log", "llm_mirror:app"]
    with (site.work / "mirror.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, "OLAH_CONFIG": str(config)}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        # The first worker listens before the second one does.
        time.sleep(3)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()

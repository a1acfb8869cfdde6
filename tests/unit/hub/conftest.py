"""A real Hub server on loopback, a tiny model on it, and faults between the two ends on demand."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub.client import HubClient
from ansible_collections.llm.serving.plugins.module_utils.hub.patience import Patience
from ansible_collections.llm.serving.plugins.module_utils.hub.progress import Progress
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import Keeper, Outcome, Wish

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "hf_of_a_reader"  # noqa: S105 - opens nothing but the fixture
REPO = "acme/tiny"
SHARDS = 3


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hub_server = load_tool("hub_server")
tiny_model = load_tool("tiny_model")


@dataclass
class Faults:
    """What goes wrong at the CDN; counted down to nothing."""

    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cut_after_bytes: list[int] = field(default_factory=list)
    stall_seconds: list[float] = field(default_factory=list)
    flip_byte_at: int | None = None
    ignore_ranges: bool = False
    bytes_per_second: int | None = None


class FaultyHandler(hub_server.Handler):
    faults = Faults()

    def answer(self) -> None:
        if self.path.startswith("/cdn/") and self.command == "GET":
            if self.faults.ignore_ranges:
                del self.headers["Range"]
            if self.faults.statuses:
                self.send_plain(*self.faults.statuses.pop(0))
                return
        super().answer()

    def send_body(self, path: Path, first: int, count: int) -> None:
        content = bytearray(path.read_bytes()[first : first + count])
        if self.faults.flip_byte_at is not None:
            content[self.faults.flip_byte_at] ^= 1
        if self.faults.stall_seconds:
            time.sleep(self.faults.stall_seconds.pop(0))
        cut = self.faults.cut_after_bytes.pop(0) if self.faults.cut_after_bytes else len(content)
        step = (self.faults.bytes_per_second or 10 * len(content) or 1) // 10 or 1
        for start in range(0, cut, step):
            piece = content[start : min(start + step, cut)]
            self.wfile.write(piece)
            self.sent_bytes += len(piece)
            if self.faults.bytes_per_second:
                time.sleep(0.1)
        if cut < len(content):
            self.close_connection = True
            self.connection.shutdown(2)


@dataclass
class Hub:
    """The server as the tests use it."""

    front: Any
    model: Path
    commit: str
    faults: Faults

    @property
    def endpoint(self) -> str:
        return self.front.url

    def publish(self, source: Path, repo: str = REPO) -> str:
        return hub_server.publish(self.front.state, repo, source)

    def requests(self) -> list[dict[str, Any]]:
        log = Path(self.front.log.name)
        return [json.loads(line) for line in log.read_text().splitlines()]

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[dict[str, Any]]]:
        """Yields a list that holds the requests of the block once it is left."""
        before, seen = len(self.requests()), []
        yield seen
        # An answer is logged when its thread ends, which may be after the client has it.
        time.sleep(0.1)
        seen += self.requests()[before:]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    with contextlib.redirect_stdout(io.StringIO()):
        tiny_model.main([str(folder), "--shards", str(SHARDS), "--pad-bytes", "6000000"])
    return folder


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[tuple[Any, str]]:
    state = tmp_path_factory.mktemp("hub")
    rules = hub_server.Rules(frozenset({TOKEN}), frozenset({"acme/gated"}), {"acme/old": REPO})
    for repo in (REPO, "acme/gated"):
        commit = hub_server.publish(state, repo, model)
    with hub_server.serving(state, ("127.0.0.1", 0), rules, FaultyHandler) as front:
        yield front, commit


@pytest.fixture
def hub(running_hub: tuple[Any, str], model: Path) -> Hub:
    front, commit = running_hub
    FaultyHandler.faults = Faults()
    return Hub(front, model, commit, FaultyHandler.faults)


Keep = Callable[..., Outcome]


@pytest.fixture
def keep(hub: Hub, tmp_path: Path) -> Keep:
    """Runs what the module runs, with few attempts. A busy machine may take long for each."""

    def run(token: str | None = None, *, attempts: int = 3, stall_seconds: float = 30.0, **wishes: Any) -> Outcome:
        wish = Wish(
            **{
                "repo": REPO,
                "revision": hub.commit,
                "root": tmp_path / "models",
                "endpoint": hub.endpoint,
                "lock_wait_seconds": 0.5,
                **wishes,
            }
        )
        patience = Patience(attempts=attempts, first_wait_seconds=0.05, stall_seconds=stall_seconds)

        def connect(url: str) -> HubClient:
            return HubClient(url, token, xet=True, cache=tmp_path / "cache", patience=patience)

        return Keeper(wish, connect, Progress(), patience).keep()

    return run

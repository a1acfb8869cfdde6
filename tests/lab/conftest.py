"""Real labs, in a network namespace and a state directory of their own: nothing that runs beside disturbs them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "testhost"


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        raise pytest.UsageError("tests/lab boots hosts and needs root")


@dataclass(frozen=True)
class Machine:
    """A place where labs run: `namespace` is the pid that holds its network."""

    namespace: int
    state: Path
    cache: Path

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.namespace}/ns/net", "--", *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "TESTHOST_STATE": str(self.state), "LLM_SERVING_CACHE": str(self.cache)}

    def run(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def tool(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(TOOL), *words, check=check, **environment)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A verb in the background; its pid is the tool's own, as nsenter becomes it."""
        return subprocess.Popen(
            self.command(str(TOOL), *words),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def labs(self) -> dict[str, dict[str, object]]:
        return {row["lab"]: row for row in json.loads(self.tool("list", "--json").stdout)}

    def exec(self, lab: str, host: str, line: str) -> str:
        return self.tool("exec", lab, host, "--", line).stdout.strip()

    def traces(self) -> dict[str, object]:
        """All that a lab could leave on a machine."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "links": sorted(link["ifname"] for link in json.loads(self.run("ip", "-json", "link").stdout)),
            "tables": self.run("nft", "list", "tables").stdout,
            "forwarding": self.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout,
            "state": self.state.exists(),
            "mounts": [line for line in mounts if str(self.state) in line or "overlay" in line],
            "processes": self.processes(),
            "cgroups": sorted(str(p) for p in cgroup_root().glob("llm-serving-labs/th-*")),
            "run": run_entries(),
        }

    def command_lines(self) -> list[str]:
        """What runs on this machine."""
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return lines

    def processes(self) -> list[str]:
        """Processes that name the state directory, or whose network is a guest's of this machine."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                group = (path / "cgroup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if not line:
                continue  # dead already, and PID 1 has not noticed
            if str(self.state) in line or "/llm-serving-labs/th-" in group:
                found.append(f"{path.name} {line}")
        return found


def cgroup_root() -> Path:
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.exists() else Path("/sys/fs/cgroup")


def run_entries() -> list[str]:
    """What nspawn and mount would write below /run, were it not hidden from them."""
    places = [Path("/run"), Path("/run/systemd"), Path("/run/lock"), Path("/run/systemd/nspawn")]
    return sorted(str(entry) for place in places if place.exists() for entry in place.iterdir())


def wait_for(condition: Callable[[], object], timeout_seconds: float = 30) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def base() -> Path:
    """The cached base that all of them start from."""
    return Path(
        subprocess.run([TOOL, "base", "bookworm"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    )


@pytest.fixture
def machine(base: Path) -> Iterator[Machine]:
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    top = Path(tempfile.mkdtemp(prefix="th-", dir="/var/tmp"))  # short, for sockets
    own = Machine(holder.pid, top / "state", top / "cache")
    try:
        wait_for(lambda: Path(f"/proc/{holder.pid}/comm").read_text().strip() == "sleep")
        copy = own.cache / "testhost" / "bases" / base.parent.name
        copy.parent.mkdir(parents=True)
        subprocess.run(["cp", "--archive", "--link", base.parent, copy], check=True)
        own.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward && ip link set lo up")
        yield own
        for lab in own.labs():
            own.tool("down", "--lab", lab)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        shutil.rmtree(top)

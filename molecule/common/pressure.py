"""Puts a service under a stream of requests while a test changes or harms it, and says what became of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("stream.py")
LIFE_SECONDS = 3600
SIDE_BY_SIDE = 2
WARM_SECONDS = 120
FINE, BROKEN = "200", "broken"
ROWS: list[str] = []


@dataclass
class Pressure:
    """A stream from a gateway's host; `door` is that host by testinfra."""

    door: Any
    key: str
    unit: str = "stream"
    since: float = 0.0

    def start(self) -> None:
        """Begin, and wait for the first reply."""
        self.stop()  # of tests that were interrupted
        self.door.check_output("printf %%s %s > /root/stream.py", PROGRAM.read_text("utf-8"))
        run = f"systemd-run --quiet --unit={self.unit} --property=StandardOutput=truncate:/root/stream.log"
        self.door.check_output(
            f"{run} python3 /root/stream.py %s %s %s", self.key, str(LIFE_SECONDS), str(SIDE_BY_SIDE)
        )
        self._wait(lambda: any(item["outcome"] == FINE for item in self.requests()))
        self.since = time.time()

    def settle(self) -> float:
        """Wait until all that was sent before now has an outcome: each asks again when it has its reply. Return now."""
        now = time.time()
        self._wait(lambda: len({item["asker"] for item in self.requests() if item["at"] > now}) == SIDE_BY_SIDE)
        return now

    def stop(self) -> None:
        """End it."""
        self.door.run(f"systemctl stop {self.unit}")

    def requests(self) -> list[dict[str, Any]]:
        """Return what became of each request that was sent since the last report."""
        lines = self.door.file("/root/stream.log").content_string.split("\n")[:-1]
        return [item for item in map(json.loads, lines) if item["at"] > self.since]

    def report(self, what: str, recovery_seconds: float | None = None) -> Counter[str]:
        """Say how many requests came to what since the last report, and begin anew."""
        until = self.settle()
        found = [item for item in self.requests() if item["at"] <= until]
        self.since = until
        outcomes = Counter(item["outcome"] for item in found)
        lost = [item for item in found if item["outcome"] != FINE]
        slowest = max(item["seconds"] for item in found)
        recovered = "-" if recovery_seconds is None else f"{recovery_seconds:.0f} s"
        never = never_begun(outcomes)
        ROWS.append(f"{what:<44} {len(found):>8} {never:>13} {outcomes[BROKEN]:>11} {slowest:>8.1f} s {recovered:>9}")
        ROWS.extend(f"    {item['outcome']}: {item['detail']}" for item in lost[:5])
        return outcomes

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + WARM_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"no reply within {WARM_SECONDS} seconds: {self.requests()[-3:]}")
            time.sleep(1)


def never_begun(outcomes: Counter[str]) -> int:
    """Return how many requests were lost without a byte of their reply."""
    return sum(count for outcome, count in outcomes.items() if outcome not in (FINE, BROKEN))


def summarise(terminal: Any) -> None:
    """Print every report at the end of the tests."""
    if ROWS:
        terminal.section("requests under change and faults")
        head = ("requests", "never begun", "broken off", "slowest", "recovery")
        terminal.write_line(f"{'':<44} {head[0]:>8} {head[1]:>13} {head[2]:>11} {head[3]:>10} {head[4]:>9}")
        for row in ROWS:
            terminal.write_line(row)

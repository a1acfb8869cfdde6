"""Runs a playbook by ansible-runner and says what it cost."""

from __future__ import annotations

import json
import os
import resource
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ansible_runner

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "playbooks" / "vllm.yml"


@dataclass(frozen=True)
class Cost:
    """What a run took: of the clock, and of the control node's processors, ssh and forks included."""

    wall_seconds: float
    cpu_seconds: float
    ran: float
    skipped: float
    tasks: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Tasks of a host, skipped ones included."""
        return self.ran + self.skipped


class Runner:
    """Runs of one inventory. Keeps what every module returned last, by its name."""

    def __init__(self, folder: Path, inventory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.inventory = inventory
        self.environment = dict(environment or {})
        self.results: dict[str, Any] = {}

    def play(self, hosts: Sequence[str] = (), playbook: Path = PLAYBOOK, **variables: Any) -> Cost:
        """Run it on these hosts, or all. Raises SystemExit when it fails."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = ansible_runner.run(
            private_data_dir=str(self.folder),
            project_dir=str(ROOT),
            playbook=str(playbook),
            inventory=str(self.inventory),
            limit=",".join(hosts) or None,
            extravars=variables,
            envvars={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **self.environment},
            # The runner reads files of variables again that it wrote for an earlier run.
            suppress_env_files=True,
            # Under one name the runner would add the events of this run to those of the last.
            ident=str(uuid.uuid4()),
            rotate_artifacts=1,
            quiet=True,
        )
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.status != "successful":
            raise SystemExit(f"{playbook.name} failed: {done.stdout.read()[-4000:]}")
        events = list(done.events)
        self._note_results(events)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(wall, cpu, *_counts(events), tasks=_seconds_by_task(events))

    def _note_results(self, events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            if event["event"] in ("runner_on_ok", "runner_item_on_ok"):
                data = event["event_data"]
                result = data.get("res") or {}
                if "results" not in result:
                    self.results[str(data["task_action"]).rpartition(".")[2]] = result

    def keep_results(self, path: Path) -> None:
        """Write what modules returned, for hosts that are not there."""
        path.write_text(json.dumps(self.results), "utf-8")


def _counts(events: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the tasks that ran and that were skipped, on a host in the mean."""
    stats = next(event["event_data"] for event in reversed(events) if event["event"] == "playbook_on_stats")
    hosts = max(1, len(stats["processed"]))
    return sum(stats["ok"].values()) / hosts, sum(stats["skipped"].values()) / hosts


def _seconds_by_task(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how long each task had the clock, until the next one began."""
    starts = [event for event in events if event["event"] in ("playbook_on_task_start", "playbook_on_stats")]
    found: dict[str, float] = {}
    for event, following in zip(starts, starts[1:]):
        name = event["event_data"]["task"]
        found[name] = found.get(name, 0.0) + _seconds(following) - _seconds(event)
    return found


def _seconds(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["created"]).timestamp()

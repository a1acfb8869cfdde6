"""Twenty random misfortunes in a row: each run ends proved or with a message, and nothing half-written is served."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import ModelError

from .conftest import REPO, ROOT, Hub, Keep
from .test_snapshot import CHILD, content, flip_bit

ROUNDS = 20


@pytest.mark.parametrize("seed", [1, 2])
def test_every_run_ends_proved_or_with_a_message(keep: Keep, hub: Hub, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    home = tmp_path / "models" / REPO
    final = home / hub.commit
    whole = content(hub.model)

    def files() -> list[Path]:
        found = [*home.rglob("*.safetensors"), *home.rglob("*.json")]
        return sorted(p for p in found if not p.name.startswith(".") and p.stat().st_size)

    def kill() -> None:
        hub.faults.bytes_per_second = 4_000_000
        command = [sys.executable, "-c", CHILD, hub.endpoint, hub.commit, str(tmp_path / "models")]
        with subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")}, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(chance.uniform(0.3, 1.5))
            process.send_signal(signal.SIGKILL)
        hub.faults.bytes_per_second = None

    def cut() -> None:
        path = chance.choice(files())
        os.truncate(path, chance.randrange(path.stat().st_size))

    def flip() -> None:
        path = chance.choice(files())
        flip_bit(path, chance.randrange(path.stat().st_size))

    def lose() -> None:
        chance.choice(files()).unlink()

    def forget() -> None:
        shutil.rmtree(final, ignore_errors=True)

    def drop() -> None:
        forget()
        hub.faults.cut_after_bytes += [chance.randrange(1, 1_500_000) for _ in range(chance.randrange(1, 12))]

    def refuse() -> None:
        forget()
        hub.faults.statuses += [(chance.choice([429, 500, 502, 503]), {})] * chance.randrange(1, 12)

    def alter() -> None:
        forget()
        hub.faults.flip_byte_at = chance.randrange(1000)

    ends = []
    for _ in range(ROUNDS):
        misfortunes = [kill, drop, refuse, alter, forget] + ([cut, flip, lose] * 2 if files() else [])
        misfortune = chance.choice(misfortunes)
        was_there = final.exists()
        misfortune()
        if not was_there and final.exists():
            assert content(final) == whole, misfortune.__name__
        try:
            keep(verify="full", max_workers=chance.choice([1, 2, 8]))
            assert content(final) == whole, misfortune.__name__
            ends.append("proved")
        except ModelError as error:
            assert str(error)
            # A snapshot that is new has not got its name; one that was damaged keeps its manifest's proofs void.
            assert was_there or not final.exists(), misfortune.__name__
            ends.append("told")
        hub.faults.__init__()
    keep(verify="full")
    assert content(final) == whole
    assert not list(home.rglob("*.part"))
    assert "proved" in ends

"""Twenty random misfortunes in a row: each run ends proved or with a message, and nothing half-written is served.

Every kind comes at least twice for each seed. SOAK_SEEDS says how many seeds there are, from 1 on:
`SOAK_SEEDS=60 pytest -rA tests/unit/hub/test_soak.py` takes about a quarter of an hour and shows what happened.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import ModelError

from .conftest import REPO, ROOT, Hub, Keep
from .test_snapshot import CHILD, content, flip_bit

ROUNDS = 20
SEEDS = range(1, int(os.environ.get("SOAK_SEEDS", "3")) + 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The models' root, on a file system that can be filled where the tests may mount one."""
    root = tmp_path / "models"
    root.mkdir()
    if os.geteuid() != 0:
        yield root
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(root)], check=True)
    yield root
    subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_ends_proved_or_with_a_message(keep: Keep, hub: Hub, small_disk: Path, seed: int) -> None:
    chance = random.Random(seed)
    home = small_disk / REPO
    final = home / hub.commit
    whole = content(hub.model)

    def files() -> list[Path]:
        found = [*home.rglob("*.safetensors"), *home.rglob("*.json")]
        return sorted(p for p in found if not p.name.startswith(".") and p.stat().st_size)

    def kill() -> None:
        hub.faults.bytes_per_second = 4_000_000
        command = [sys.executable, "-c", CHILD, hub.endpoint, hub.commit, str(small_disk)]
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

    def fill() -> None:
        """Take the room away: before the fetch, or in the middle of it."""
        forget()
        ballast = small_disk / "ballast"

        def take() -> None:
            deadline = time.monotonic() + 2
            while in_the_middle and not list(home.rglob("*.safetensors")) and time.monotonic() < deadline:
                time.sleep(0.01)
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 1_000_000)

        in_the_middle = chance.random() < 0.7
        hub.faults.bytes_per_second = 2_000_000
        takers.append(threading.Thread(target=take))
        takers[-1].start()
        if not in_the_middle:
            takers[-1].join()

    def alter() -> None:
        forget()
        shutil.rmtree(home / f".{hub.commit}.part", ignore_errors=True)
        hub.faults.flip_byte_at = chance.randrange(1000)

    takers: list[threading.Thread] = []
    kinds = [kill, cut, flip, lose, forget, drop, refuse, alter]
    kinds += [fill] * small_disk.is_mount()
    rounds = kinds * 2 + chance.choices(kinds, k=ROUNDS - 2 * len(kinds))
    chance.shuffle(rounds)
    told = 0
    for number, misfortune in enumerate(rounds, 1):
        if not files():
            keep()
        was_there = final.exists()
        misfortune()
        if not was_there and final.exists():
            assert content(final) == whole, misfortune.__name__
        try:
            keep(verify="full", max_workers=chance.choice([1, 2, 8]))
            assert content(final) == whole, misfortune.__name__
            end = "proved"
        except ModelError as error:
            # A snapshot that is new has not got its name; one that was damaged keeps its manifest's proofs void.
            assert was_there or not final.exists(), misfortune.__name__
            end = str(error)
            assert end
            told += 1
        print(f"seed {seed}, {number} of {len(rounds)}: {misfortune.__name__}: {end}")
        for taker in takers:
            taker.join()
        (small_disk / "ballast").unlink(missing_ok=True)
        hub.faults.__init__()
    keep(verify="full")
    assert content(final) == whole
    assert not list(home.rglob("*.part"))
    # Altered content at least has to be told.
    assert told >= rounds.count(alter)

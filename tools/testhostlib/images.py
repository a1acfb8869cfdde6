"""Root file systems in the cache: bases from the distribution's packages, and layers baked onto them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .system import cache_dir, locked, remove_tree, run, write_atomically

SUITES = ("bookworm", "trixie")
# What a minimal cloud image of Debian has that matters to a role, and no more: roles must bring what they need.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# A machine whose registry is a frozen mirror needs these; on others they change nothing that a test sees.
APT_OPTIONS = ('Acquire::Check-Valid-Until "false"', 'Acquire::Check-Date "false"')
CUSTOMIZE = (
    'rm -f "$1"/etc/ssh/ssh_host_*',
    ': > "$1"/etc/machine-id',
    'systemctl --root="$1" enable systemd-networkd.service',
)
# Named after the machine that made them, or written by its boot.
MACHINE_FILES = (
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/environment",
    "etc/ssl/certs/ca-certificates.crt",
    "etc/systemd/network/10-host0.network",
    "root/.ssh/authorized_keys",
    "root/.ansible",
    "var/lib/systemd/random-seed",
)
MACHINE_GLOBS = (
    "etc/ssh/ssh_host_*",
    "usr/local/share/ca-certificates/*",
    "tmp/*",
    "tmp/.*",
    "var/tmp/*",
    "var/log/journal/*",
    "var/cache/apt/archives/*.deb",
)
KEEP_LAYERS = 2
GRACE_SECONDS = 3600


def recipe(suite: str) -> str:
    """What the base of a suite is made from; another recipe is another base."""
    return json.dumps([suite, PACKAGES, APT_OPTIONS, CUSTOMIZE])


def base_name(suite: str) -> str:
    """Name of a suite's base in the cache."""
    return f"{suite}-{hashlib.sha256(recipe(suite).encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Layer:
    """A baked layer; `below` are the roots it stands on, the topmost first."""

    name: str
    key: str
    base: str
    below: tuple[str, ...]
    created: float

    @property
    def directory(self) -> Path:
        """Where it lies in the cache."""
        return layer_dir(self.name, self.key)

    @property
    def roots(self) -> tuple[str, ...]:
        """Root file systems of a host that starts from it."""
        return (str(self.directory / "root"), *self.below)


def resolve(reference: str) -> tuple[str, ...]:
    """Layers of `SUITE`, `NAME:KEY` or `NAME` (the last one baked), the topmost first. Builds a suite."""
    roots = (str(ensure_base(reference)),) if reference in SUITES else _baked_roots(reference)
    _mark_used(roots)
    return roots


def _baked_roots(reference: str) -> tuple[str, ...]:
    name, _, key = reference.partition(":")
    found = [layer for layer in baked() if layer.name == name and key in ("", layer.key)]
    if not found:
        known = ", ".join([*SUITES, *(f"{layer.name}:{layer.key}" for layer in baked())])
        raise LabError(f"there is no base {reference}; there are {known}. `testhost bake` makes one")
    newest = max(found, key=lambda layer: layer.created)
    gone = [path for path in newest.roots if not Path(path).is_dir()]
    if gone:
        raise LabError(f"base {reference} stands on {gone[0]}, which is gone: bake it again")
    return newest.roots


def ensure_base(suite: str) -> Path:
    """Root of a suite's base, built if it is not there yet."""
    if suite not in SUITES:
        raise LabError(f"suite {suite!r}: known are {', '.join(SUITES)}")
    bases = cache_dir() / "bases"
    root = bases / base_name(suite) / "root"
    if root.is_dir():
        return root
    with locked(bases):
        if not root.is_dir():
            _build(suite, root)
    return root


def _build(suite: str, root: Path) -> None:
    """Build beside, then rename: whatever is under its final name is whole."""
    print(f"building the base {suite}: a minute or two, once", file=sys.stderr)
    building = root.parent.parent / "building"
    remove_tree(building)
    building.mkdir()
    started = time.monotonic()
    options: list[str | Path] = [f"--include={','.join(PACKAGES)}", *(f"--aptopt={option}" for option in APT_OPTIONS)]
    hooks = [f"--customize-hook={hook}" for hook in CUSTOMIZE]
    # A process namespace that dies with this process, so that a killed build leaves nothing running.
    boxed: list[str | Path] = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    command = ["mmdebstrap", "--variant=minbase", *options, *hooks, suite, building / "root"]
    try:
        run([*boxed, *command])
    except LabError as error:
        reasons = [f"  {line[3:]}" for line in str(error).splitlines() if line.startswith("E: ")]
        raise LabError("\n".join([f"mmdebstrap could not build the base {suite}:", *reasons])) from error
    building.rename(root.parent)
    print(f"built {root.parent.name} in {time.monotonic() - started:.0f} s", file=sys.stderr)


def baked() -> list[Layer]:
    """What was baked."""
    found = (json.loads(path.read_text()) for path in sorted((cache_dir() / "layers").glob("*/*/layer.json")))
    return [Layer(**{**data, "below": tuple(data["below"])}) for data in found]


def layer_dir(name: str, key: str) -> Path:
    """Where a baked layer lies in the cache."""
    return cache_dir() / "layers" / name / key


def keep_layer(upper: Path, name: str, key: str, base: str, below: tuple[str, ...]) -> Layer:
    """Move a stopped host's upper layer into the cache, without what belonged to that host alone."""
    for path in [*(upper / file for file in MACHINE_FILES), *_matches(upper)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    layer = Layer(name, key, base, below, time.time())
    partial = layer.directory.with_name(f".{key}.{os.getpid()}")
    partial.mkdir(parents=True)
    shutil.move(str(upper), partial / "root") if _same_device(upper, partial) else run(
        ["cp", "--archive", upper, partial / "root"]
    )
    write_atomically(partial / "layer.json", json.dumps(dataclasses.asdict(layer), indent=1))
    partial.rename(layer.directory)
    return layer


def _matches(upper: Path) -> Iterable[Path]:
    return [path for pattern in MACHINE_GLOBS for path in upper.glob(pattern)]


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def prune(in_use: Iterable[str]) -> list[Path]:
    """Delete bases of other recipes and all but the newest layers of each name.

    What a lab stands on stays, and so does what was used lately: another checkout may be about to.
    """
    kept = {str(cache_dir() / "bases" / base_name(suite)) for suite in SUITES}
    kept |= {str(Path(root).parent) for root in in_use}
    per_name: dict[str, int] = {}
    for layer in sorted(baked(), key=lambda layer: layer.created, reverse=True):
        per_name[layer.name] = per_name.get(layer.name, 0) + 1
        if per_name[layer.name] <= KEEP_LAYERS or not _idle(layer.directory):
            kept |= {str(Path(root).parent) for root in layer.roots}
    found = [*(cache_dir() / "bases").glob("*-*"), *(cache_dir() / "layers").glob("*/[!.]*")]
    superseded = [path for path in found if str(path) not in kept and _idle(path)]
    for path in superseded:
        remove_tree(path)
    return superseded


def _idle(directory: Path) -> bool:
    return time.time() - directory.stat().st_mtime > GRACE_SECONDS


def _mark_used(roots: Iterable[str]) -> None:
    for root in roots:
        os.utime(Path(root).parent)

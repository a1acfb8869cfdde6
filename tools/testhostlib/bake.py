"""Baking: a playbook's work on one host, kept as a layer that other hosts start from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import lab as labs
from .errors import LabError
from .images import SUITES, Layer, baked, keep_layer, layer_dir, prune
from .model import LAB_NAME, Setup
from .system import cache_dir, locked, state_dir


def key_of(paths: Iterable[Path], roots: Iterable[str]) -> str:
    """Key that changes with the text or the name of any file at or below the paths, and with the roots below."""
    digest = hashlib.sha256("\0".join(Path(root).parent.name for root in roots).encode())
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not path.exists():
            raise LabError(f"--key-of {path}: no such file or directory")
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path.parent)}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def bake(
    name: str,
    key: str,
    base: str,
    command: Sequence[str],
    setup: Setup,
) -> Layer | None:
    """Boot a host from a base, run a command against it, keep what it changed; None if the command fails.

    The command finds the host by ANSIBLE_INVENTORY. Baking what is baked already does nothing.
    """
    for what, text in (("layer name", name), ("key", key)):
        if not LAB_NAME.fullmatch(text):
            raise LabError(f"{what} {text!r}: use 1 to 32 of a-z, 0-9 and -, not starting with -")
    if name in SUITES:
        raise LabError(f"{name} is a suite: give the layer another name")
    with locked(cache_dir() / "baking" / f"{name}-{key}"):
        if not (layer_dir(name, key) / "layer.json").exists():
            return _bake(name, key, base, command, setup)
    return next(layer for layer in baked() if (layer.name, layer.key) == (name, key))


def _bake(
    name: str,
    key: str,
    base: str,
    command: Sequence[str],
    setup: Setup,
) -> Layer | None:
    lab_name = f"bake-{name}"[:24].rstrip("-") + f"-{key[:6]}"
    labs.down(lab_name)  # the lock is ours: what there is was left by one that died
    lab = labs.up(lab_name, [(name, base)], setup, owner_pid=os.getpid())
    try:
        print(f"baking {name}:{key} on {base}", file=sys.stderr)
        directory = state_dir() / lab.name
        environ = {**os.environ, "ANSIBLE_INVENTORY": str(directory / "inventory.yml")}
        if subprocess.run(command, env=environ, stdout=sys.stderr, check=False).returncode != 0:
            return None
        labs.power_off(lab)
        layer = keep_layer(directory / "hosts" / name / "upper", name, key, base, lab.hosts[0].layers)
    finally:
        labs.down(lab.name)
    prune(root for other in labs.labs() for host in other.hosts for root in host.layers)
    return layer

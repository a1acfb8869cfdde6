"""A release on a host: archives fetched, held against their checksums, unpacked beside the others.

A release gets its folder's name only once it is complete, so that a run that is cut off leaves nothing that
looks installed.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .values import OllamaError

CHUNK_BYTES = 1 << 20
CHECKSUM_FILE = "sha256sum.txt"
PROGRAM = Path("bin/ollama")

Open = Callable[[str], BinaryIO]
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]


@dataclass(frozen=True)
class Source:
    """Where archives come from: a folder by HTTP or one of this host. `open_url` raises OSError."""

    folder: str
    open_url: Open

    def open(self, name: str) -> BinaryIO:
        """Open a file of the folder. Raises OllamaError, which names it."""
        address = f"{self.folder.rstrip('/')}/{name}"
        try:
            return self.open_url(address) if "://" in address else Path(address).open("rb")
        except OSError as error:
            raise OllamaError(
                f"{address} cannot be read: {error}. Check ollama_base_url and ollama_version."
            ) from error

    def checksums(self) -> dict[str, str]:
        """Read the file of checksums beside the archives. Raises OllamaError."""
        with self.open(CHECKSUM_FILE) as file:
            pairs = (
                line.split(None, 1) for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()
            )
            return {name.strip().lstrip("*").rpartition("/")[2]: digest for digest, name in pairs}


@dataclass(frozen=True)
class Release:
    """A version, its archives and the SHA-256 of each."""

    version: str
    archives: Sequence[str]
    checksums: Mapping[str, str]


def installed(root: Path) -> list[str]:
    """The releases of a root, those installed last at the end."""
    found = [path.parent.parent for path in root.glob(f"*/{PROGRAM}") if not path.parent.parent.is_symlink()]
    complete = [path for path in found if not path.name.startswith(".")]
    return [path.name for path in sorted(complete, key=lambda path: path.stat().st_mtime_ns)]


def install(root: Path, release: Release, source: Source, run: Run) -> None:
    """Put a release into its folder. Raises OllamaError, and leaves nothing behind then."""
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        for name in release.archives:
            archive = stage / name
            _fetch(source, name, archive, release.checksums)
            _unpack(archive, stage, run)
            archive.unlink()
        if not (stage / PROGRAM).is_file():
            raise OllamaError(f"expected {PROGRAM} in {', '.join(release.archives)}, found none")
        stage.chmod(0o755)
        stage.rename(root / release.version)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _fetch(source: Source, name: str, target: Path, checksums: Mapping[str, str]) -> None:
    if name not in checksums:
        raise OllamaError(f"expected a checksum of {name} in {CHECKSUM_FILE}, found {', '.join(checksums) or 'none'}")
    state = hashlib.sha256()
    try:
        with source.open(name) as remote, target.open("wb") as file:
            piece = remote.read(CHUNK_BYTES)
            while piece:
                state.update(piece)
                file.write(piece)
                piece = remote.read(CHUNK_BYTES)
    except OSError as error:
        raise OllamaError(f"{source.folder}/{name} was cut off: {error}") from error
    wanted = checksums[name].lower()
    wanted = wanted[len("sha256:") :] if wanted.startswith("sha256:") else wanted
    if state.hexdigest() != wanted:
        raise OllamaError(
            f"{source.folder}/{name} is not what it should be: expected SHA-256 {wanted}, found {state.hexdigest()}. "
            "Nothing was installed."
        )


def _unpack(archive: Path, target: Path, run: Run) -> None:
    """By tar: Python learnt zstd in 3.14 only."""
    packer = "--gzip" if archive.suffix == ".tgz" else "--zstd"
    code, _out, err = run(["tar", "--extract", packer, "--no-same-owner", f"--file={archive}", f"--directory={target}"])
    if code:
        raise OllamaError(f"{archive.name} cannot be unpacked: {err.strip()}")

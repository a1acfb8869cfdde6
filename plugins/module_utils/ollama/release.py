"""A release on a host: archives fetched, held against their checksums, unpacked beside the others.

A release gets its folder's name only once it is complete, so that a run that is cut off leaves nothing that
looks installed.
"""

from __future__ import annotations

import hashlib
import http.client
import re
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
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
CHECKSUM_LINE = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(\S+)[ \t\r]*$", re.MULTILINE)

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
        except (OSError, http.client.HTTPException) as error:
            raise OllamaError(
                f"{address} cannot be read: {error}. Check ollama_base_url and ollama_version."
            ) from error

    def checksums(self) -> dict[str, str]:
        """Read the file of checksums beside the archives. Raises OllamaError."""
        with self.open(CHECKSUM_FILE) as file:
            text = file.read().decode("utf-8", "replace")
        found = {match[2].rpartition("/")[2]: match[1].lower() for match in CHECKSUM_LINE.finditer(text)}
        if not found:
            raise OllamaError(f"{self.folder}/{CHECKSUM_FILE} holds no SHA-256: expected lines of digest and file name")
        return found


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
    for name in (release.version, *release.archives):
        if not PLAIN_NAME.fullmatch(name):
            raise OllamaError(f"expected a version or the name of an archive, without folders, found {name!r}")
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
    wanted = _digest(name, checksums[name])
    state = hashlib.sha256()
    try:
        with source.open(name) as remote, target.open("wb") as file:
            piece = remote.read(CHUNK_BYTES)
            while piece:
                state.update(piece)
                file.write(piece)
                piece = remote.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise OllamaError(f"{source.folder}/{name} was cut off: {error}") from error
    if state.hexdigest() != wanted:
        raise OllamaError(
            f"{source.folder}/{name} is not what it should be: expected SHA-256 {wanted}, found {state.hexdigest()}. "
            "Nothing was installed."
        )


def _digest(name: str, value: object) -> str:
    match = SHA256.fullmatch(str(value).strip())
    if not match:
        raise OllamaError(
            f"expected the SHA-256 of {name} as 64 hexadecimal digits in ollama_checksums, found {value!r}"
        )
    return match[1].lower()


def _unpack(archive: Path, target: Path, run: Run) -> None:
    """By tar: Python learnt zstd in 3.14 only."""
    packer = "--gzip" if archive.suffix == ".tgz" else "--zstd"
    code, _out, err = run(["tar", "--extract", packer, "--no-same-owner", f"--file={archive}", f"--directory={target}"])
    if code:
        raise OllamaError(f"{archive.name} cannot be unpacked: {err.strip()}")

"""Leave beside a model's files what a download of the Hub's client leaves there, or make its cache of them.

usage: note_download.py local FOLDER COMMIT | note_download.py cache FOLDER CACHE REPOSITORY COMMIT
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path


def etag(path: Path) -> str:
    """The hash by which the Hub states a file: SHA-256 of weights, git's SHA-1 of anything else."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - what git uses


def main() -> None:
    """Entry point."""
    kind, folder, *rest = sys.argv[1:]
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    if kind == "local":
        notes = Path(folder) / ".cache/huggingface/download"
        notes.mkdir(parents=True)
        for path in files:
            (notes / f"{path.name}.metadata").write_text(f"{rest[0]}\n{etag(path)}\n{time.time()}\n")
        return
    home = Path(rest[0]) / f"models--{rest[1].replace('/', '--')}"
    snapshot = home / "snapshots" / rest[2]
    for place in (snapshot, home / "blobs", home / "refs"):
        place.mkdir(parents=True)
    (home / "refs/main").write_text(rest[2])
    for path in files:
        blob = home / "blobs" / etag(path)
        path.rename(blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")


if __name__ == "__main__":
    main()

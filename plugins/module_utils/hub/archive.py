# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of models in the place of the Hub: a disk that was filled where the Hub can be reached.

It has the layout that models have on every host, so filling it and emptying it are the same work in two directions.
Its manifests say what the Hub stated, and every byte is held against that.
"""

from __future__ import annotations

from pathlib import Path

from .client import Listing, RemoteFile
from .errors import AbsentError, CorruptError
from .manifest import read_manifest
from .names import is_commit, short
from .routes import FolderRoute
from .store import Home


class Archive:
    """Answers as a Hub does, from the snapshots below a directory."""

    xet = None

    def __init__(self, root: Path) -> None:
        self._root = root

    def listing(self, repo: str, revision: str) -> Listing:
        """List a snapshot by its manifest; raises AbsentError, and CorruptError when files are not there in full."""
        home = Home(self._root, repo)
        commit = revision if is_commit(revision) else home.known_commit(revision)
        folder = home.snapshot(commit) if commit else None
        manifest = read_manifest(folder) if folder else None
        if not commit or not folder or not manifest:
            there = ", ".join(short(name) for name in home.commits()) or "none"
            raise AbsentError(
                f"{repo} at {revision} is not below {self._root}, which the option source names (revisions there:"
                f" {there}). Fill it where the Hub can be reached, by hf_model with root={self._root}."
            )
        short_files = [entry.path for entry in manifest.files if not entry.right_size_in(folder)]
        if short_files:
            raise CorruptError(
                f"{folder}: {', '.join(short_files)} missing or cut short. Copy it again from where it came from."
            )
        files = tuple(RemoteFile(entry.unproved(), in_xet=False) for entry in manifest.files)
        return Listing(repo, commit, files, manifest.endpoint)

    def route(self, repo: str, commit: str) -> FolderRoute:
        """Offer the files of a snapshot."""
        return FolderRoute(Home(self._root, repo).snapshot(commit))

    def check_access(self, repo: str, commit: str, path: str) -> None:
        """Everything may be read."""

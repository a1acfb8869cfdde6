# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling in milliseconds that nothing has to be done for a model, so that a run needs not even ask."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from .errors import ModelError
from .manifest import read_manifest
from .names import is_commit
from .snapshot import QUICK, Hub, Keeper, Outcome, Wish, check_folder
from .store import Home


def glance_at_snapshot(wish: Wish, keep: int | None = None, keep_revisions: Collection[str] = ()) -> Outcome | None:
    """Return what hf_model would say without changing anything; None when it has to look, to ask or to act itself."""
    if not is_commit(wish.revision) or wish.verify != QUICK:
        return None
    home = Home(wish.root, wish.repo)
    if keep is not None:
        wanted = {wish.revision, *(home.known_commit(revision) or revision for revision in keep_revisions)}
        if home.superfluous(wanted, keep):
            return None
    folder = home.snapshot(wish.revision)
    return _settled(folder, lambda: Keeper(wish, _ask_nobody).keep())


def glance_at_folder(folder: Path, verify: str) -> Outcome | None:
    """Return what hf_model would say of a directory of the operator's own; None when that takes more than a look."""
    return _settled(folder, lambda: check_folder(folder, verify)) if verify == QUICK else None


def _settled(folder: Path, look: Callable[[], Outcome]) -> Outcome | None:
    try:
        manifest = read_manifest(folder)
        if manifest and not all(entry.unchanged_in(folder) for entry in manifest.files):
            return None  # to be hashed
        outcome = look()
    except (ModelError, OSError):
        return None
    return None if outcome.changed or outcome.warnings else outcome


def _ask_nobody(url: str) -> Hub:
    raise ModelError(f"{url} would have to be asked")

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a repository's snapshot to a host, whole and proved, and keeping it so."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Callable, Protocol

from . import completeness
from .digests import GIT_SHA1, Digest, find_corrupt
from .errors import (
    AbsentError,
    AccessDeniedError,
    CorruptError,
    DiskFullError,
    HubUnavailableError,
    HubUnreachableError,
    IncompleteError,
    ModelError,
    StoppedError,
    TokenRejectedError,
)
from .manifest import FileEntry, Manifest, read_manifest
from .names import (
    MANIFEST_NAME,
    Selection,
    check_repo,
    check_revision,
    is_commit,
    is_pickle,
    is_transformers_weight,
    short,
)
from .progress import Progress
from .space import DISK_FULL, require_space
from .store import Home

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from .client import Listing
    from .patience import Patience
    from .routes import Route

FULL = "full"  # every file hashed
QUICK = "quick"  # every file looks as it did when it was hashed
STRUCTURE = "structure"  # all files are there and consistent; nothing says what their content should be
FILE_MODE = 0o644
FOLDER_MODE = 0o755
UNKNOWN_DIGEST = Digest(GIT_SHA1, "")


class Hub(Protocol):
    """What this module asks of the Hub; client.HubClient is one, and archive.Archive."""

    xet: Callable[[str, str, str, Path], Path] | None  # fetches a repository's commit's file below a folder

    def route(self, repo: str, commit: str) -> Route:
        """Offer the files of a repository."""

    def listing(self, repo: str, revision: str) -> Listing:
        """List a repository's files."""

    def check_access(self, repo: str, commit: str, path: str) -> None:
        """Raise unless a file may be fetched."""


@dataclass(frozen=True)
class Wish:
    """What is to be on the host. Files come from the first of the `mirrors` that works, or from the endpoint."""

    repo: str
    revision: str
    root: Path
    endpoint: str
    mirrors: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    verify: str = QUICK
    offline: bool = False
    check_model: bool = True
    max_workers: int = 8
    lock_wait_seconds: float = 600.0
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What is on the host now, or would be."""

    manifest: Manifest
    path: Path
    verified: str | None
    changed: bool = False
    download_bytes: int = 0
    downloaded_bytes: int = 0
    fetched: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    before: tuple[FileEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    fetched_from: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Survey:
    """What a folder holds of the files wanted."""

    proved: dict[str, FileEntry] = field(default_factory=dict)
    missing: list[FileEntry] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    hashed: int = 0


class Keeper:
    """Keeps one wish fulfilled."""

    def __init__(
        self,
        wish: Wish,
        connect: Callable[[str], Hub],
        progress: Progress | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Nothing is asked yet; `connect` makes a Hub of a URL when it is needed."""
        check_repo(wish.repo)
        check_revision(wish.revision)
        self._wish = wish
        self._connect = connect
        self._progress = progress or Progress()
        self._patience = patience
        self._home = Home(wish.root, wish.repo)
        self._hashed_all = False
        self._bad: list[FileEntry] = []
        self._remarks: list[str] = []
        self._xet_left = ""  # why

    def keep(self) -> Outcome:
        """Make the wish true, or say what it would take. Raises ModelError's kinds and OSError.

        What is there, pinned and proved costs neither the Hub nor a hash.
        """
        try:
            return self._keep()
        except OSError as error:
            if error.errno in DISK_FULL:
                raise DiskFullError(
                    f"{error.filename or self._home.path}: the file system filled up ({error.strerror}); something else"
                    " writes to it. What came is kept: free room and run again."
                ) from error
            raise

    def _keep(self) -> Outcome:
        wish = self._wish
        commit = wish.revision if is_commit(wish.revision) else None
        if wish.offline:
            commit = commit or self._home.known_commit(wish.revision)
            return self._check_offline(commit)
        if commit:
            outcome = self._check_present(commit)
            if outcome:
                return outcome
        hub, listing = self._ask()
        if not commit:
            outcome = self._check_present(listing.commit)
            if outcome:
                return self._with_remarks(outcome, listing)
        if wish.dry_run:
            return self._with_remarks(self._predict(listing), listing)
        with self._home.locked(wish.lock_wait_seconds):
            # Another run may have brought it while this one waited.
            outcome = self._check_present(listing.commit) or self._bring(hub, listing)
        return self._with_remarks(outcome, listing)

    def _ask(self) -> tuple[Hub, Listing]:
        """Let the Hub state what the files are; a mirror may, when the Hub gives no answer at all."""
        wish = self._wish
        hub = self._connect(wish.endpoint)
        try:
            return hub, self._list(hub)
        except (HubUnreachableError, HubUnavailableError) as error:
            for url in self._mirrors():
                mirror = self._connect(url)
                with contextlib.suppress(HubUnreachableError, HubUnavailableError):
                    listing = mirror.listing(wish.repo, wish.revision)
                    self._remarks.append(f"The mirror {url} states the files' hashes instead of the Hub: {error}")
                    return mirror, listing
            raise

    def _mirrors(self) -> list[str]:
        """Name the mirrors that can be reached."""
        from .routes import is_listening  # noqa: PLC0415 - a check of what is there must not load a TLS library

        reachable = [url for url in self._wish.mirrors if is_listening(url)]
        dead = [url for url in self._wish.mirrors if url not in reachable]
        if dead:
            self._remarks.append(f"No connection to {', '.join(dead)}: the mirror is down, or a firewall is between.")
        return reachable

    def _list(self, hub: Hub) -> Listing:
        try:
            return hub.listing(self._wish.repo, self._wish.revision)
        except HubUnreachableError as error:
            known = self._home.known_commit(self._wish.revision)
            if not known or not self._home.snapshot(known).is_dir():
                raise
            raise HubUnreachableError(
                f"{error} What {self._wish.revision} meant last, {short(known)}, is on this host: set offline"
                " to use it, or pin the option revision to that commit."
            ) from error

    def _with_remarks(self, outcome: Outcome, listing: Listing) -> Outcome:
        remarks = list(dict.fromkeys(self._remarks))
        if listing.repo != self._wish.repo:
            remarks.append(
                f"{self._wish.repo} is named {listing.repo} on the Hub now. It is still found by its old name; write"
                " the new one before that ends."
            )
        return replace(outcome, warnings=(*outcome.warnings, *remarks))

    # What is there

    def _check_present(self, commit: str) -> Outcome | None:
        """Hold a snapshot against its own manifest; None when something has to be fetched for it."""
        wish, folder = self._wish, self._home.snapshot(commit)
        manifest = read_manifest(folder)
        if not manifest or manifest.selection != wish.selection:
            return None
        survey = self._survey(folder, manifest.files, manifest.files, full=wish.verify == FULL)
        # What was hashed need not be hashed again; what is wrong must not be taken for proved again.
        entries = [*survey.proved.values(), *(entry.unproved() for entry in survey.missing)]
        checked = manifest.with_entries(entries)
        self._hashed_all = survey.hashed + len(survey.missing) >= len(manifest.files)
        if checked != manifest and not wish.dry_run:
            checked.write(folder)
        self._bad = survey.missing
        if survey.missing:
            return None
        if not wish.dry_run:
            self._home.note_commit(wish.revision, commit)
        return Outcome(
            checked,
            folder,
            FULL if self._hashed_all else QUICK,
            changed=bool(protect(folder, checked.files, dry_run=wish.dry_run)),
            before=manifest.files,
            warnings=strays(folder, manifest),
        )

    def _check_offline(self, commit: str | None) -> Outcome:
        wish = self._wish
        folder = self._home.snapshot(commit) if commit else None
        manifest = read_manifest(folder) if folder else None
        if not commit or not folder or not manifest:
            there = ", ".join(short(name) for name in self._home.commits()) or "none"
            raise AbsentError(
                f"{wish.repo} at {wish.revision} is not below {wish.root} (revisions there: {there}), and the option"
                " offline forbids to fetch it. Fetch it once online, or import it."
            )
        if manifest.selection != wish.selection:
            raise AbsentError(
                f"{folder} was fetched with other patterns than are asked for now, and the option offline forbids to"
                " fetch the difference. Run once online, or set the patterns back."
            )
        outcome = self._check_present(commit)
        if outcome:
            return outcome
        names = [entry.path for entry in self._bad]
        raise CorruptError(
            f"{folder}: {', '.join(names)} {'is' if len(names) == 1 else 'are'} missing or not what the Hub stated."
            " Run without the option offline: only that will be fetched again."
        )

    def _survey(self, folder: Path, wanted: Sequence[FileEntry], known: Iterable[FileEntry], *, full: bool) -> _Survey:
        """See which files are there as they should be; hash those whose proof is missing, or all of them."""
        proofs = {entry.path: entry for entry in known}
        survey = _Survey()
        to_hash = []
        for entry in wanted:
            proof = proofs.get(entry.path)
            if not full and proof and proof.digest == entry.digest and proof.unchanged_in(folder):
                survey.proved[entry.path] = proof
            elif entry.right_size_in(folder):
                to_hash.append(entry)
            else:
                survey.missing.append(entry)
                if (folder / entry.path).exists():
                    survey.corrupt.append(entry.path)
        survey.hashed = len(to_hash)
        self._progress.begin("checking", len(to_hash), sum(entry.size_bytes for entry in to_hash))
        bad = set(find_corrupt([(folder / e.path, e.digest) for e in to_hash], self._progress.add_checked))
        for entry in to_hash:
            if folder / entry.path in bad:
                survey.missing.append(entry)
                survey.corrupt.append(entry.path)
            else:
                survey.proved[entry.path] = entry.proved_in(folder)
        return survey

    # What is to come

    def _wanted(self, listing: Listing) -> Manifest:
        """Choose the files of a listing; raises IncompleteError when no weights would be among them."""
        wish = self._wish
        by_name = {file.entry.path: file.entry for file in listing.files}
        chosen = wish.selection.pick(by_name)
        if not chosen:
            raise IncompleteError(
                f"{wish.repo} holds no file that allow_patterns and ignore_patterns let through; it holds:"
                f" {', '.join(sorted(by_name)[:20])}."
            )
        pickles = [name for name in by_name if is_pickle(name)]
        weights = any(is_transformers_weight(name) or name.endswith((".gguf", ".safetensors")) for name in chosen)
        if wish.check_model and pickles and not weights and not wish.selection.allow_pickle:
            raise IncompleteError(
                f"{wish.repo} has its weights as pickles only ({', '.join(sorted(pickles)[:3])}), which run code when"
                " they are loaded. Choose a revision with safetensors, or set the option allow_pickle if you trust it."
            )
        entries = tuple(by_name[name] for name in chosen)
        return Manifest(wish.repo, listing.commit, listing.stated_by, wish.selection, entries)

    def _base(self, commit: str) -> Path:
        """Where files are put: beside the snapshot until there is one, into it to mend it."""
        final = self._home.snapshot(commit)
        return final if final.is_dir() else self._home.staging(commit)

    def _known(self, base: Path) -> Manifest | None:
        with contextlib.suppress(CorruptError):
            return read_manifest(base)
        return None

    def _predict(self, listing: Listing) -> Outcome:
        manifest = self._wanted(listing)
        base, final = self._base(listing.commit), self._home.snapshot(listing.commit)
        known = self._known(base)
        survey = self._survey(base, manifest.files, known.files if known else (), full=self._wish.verify == FULL)
        linkable = self._elsewhere(base)
        to_fetch = [entry for entry in survey.missing if entry.digest not in linkable]
        needed_bytes = sum(entry.size_bytes - self._part_bytes(listing.commit, entry) for entry in to_fetch)
        require_space(base, needed_bytes)
        return Outcome(
            manifest,
            final,
            None,
            changed=True,
            download_bytes=needed_bytes,
            corrupt=tuple(survey.corrupt),
            before=known.files if known and base == final else (),
        )

    def _part(self, commit: str, entry: FileEntry) -> Path:
        return self._home.staging(commit) / ".part" / entry.path

    def _part_bytes(self, commit: str, entry: FileEntry) -> int:
        try:
            return min(self._part(commit, entry).stat().st_size, entry.size_bytes)
        except OSError:
            return 0

    def _bring(self, hub: Hub, listing: Listing) -> Outcome:
        """Fetch what is missing, prove all of it, and only then let it be seen."""
        wish, commit = self._wish, listing.commit
        manifest = self._wanted(listing)
        base, final = self._base(commit), self._home.snapshot(commit)
        base.mkdir(parents=True, exist_ok=True)
        known = self._known(base)
        # A whole snapshot was hashed just before; what an earlier run began was not.
        full = wish.verify == FULL and base != final
        survey = self._survey(base, manifest.files, known.files if known else (), full=full)
        linked = self._link(base, survey)
        needed_bytes = sum(entry.size_bytes - self._part_bytes(commit, entry) for entry in survey.missing)
        require_space(base, needed_bytes)
        manifest = manifest.with_entries(survey.proved.values())
        fetched_from: Mapping[str, int] = {}
        if survey.missing:
            largest = max(survey.missing, key=lambda entry: entry.size_bytes)
            hub.check_access(listing.repo, commit, largest.path)
            manifest, fetched_from = self._fetch_all(hub, listing, base, manifest, survey.missing)
        self._drop_unwanted(base, known, manifest)
        if wish.check_model:
            completeness.check_model(base)
        manifest.write(base)
        staging = self._home.staging(commit)
        shutil.rmtree(staging / ".part", ignore_errors=True)
        protect(base, manifest.files)
        if base != final:
            base.rename(final)
        else:
            shutil.rmtree(staging, ignore_errors=True)
        sync_folder(final.parent)
        self._home.note_commit(wish.revision, commit)
        return Outcome(
            manifest,
            final,
            FULL if self._hashed_all or survey.hashed + len(survey.missing) >= len(manifest.files) else QUICK,
            changed=True,
            download_bytes=needed_bytes,
            downloaded_bytes=self._progress.fetched_bytes,
            fetched=tuple(entry.path for entry in survey.missing),
            corrupt=tuple(survey.corrupt),
            linked=linked,
            before=known.files if known and base == final else (),
            warnings=strays(final, manifest),
            fetched_from=fetched_from,
        )

    def _elsewhere(self, base: Path) -> dict[Digest, Path]:
        """Where other revisions have proved files, by their content."""
        proved_elsewhere = {}
        for commit in self._home.commits():
            folder = self._home.snapshot(commit)
            known = self._known(folder) if folder != base else None
            for entry in known.files if known else ():
                if entry.unchanged_in(folder):
                    proved_elsewhere[entry.digest] = folder / entry.path
        return proved_elsewhere

    def _link(self, base: Path, survey: _Survey) -> tuple[str, ...]:
        """Take files that another revision has, too, from there: the same content, neither fetched nor stored twice."""
        proved_elsewhere = self._elsewhere(base)
        linked = []
        for entry in list(survey.missing):
            source = proved_elsewhere.get(entry.digest)
            if source:
                target = base / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                os.link(source, target)
                survey.missing.remove(entry)
                survey.proved[entry.path] = entry.proved_in(base)
                linked.append(entry.path)
        return tuple(linked)

    def _routes(self, hub: Hub, listing: Listing) -> list[Route]:
        """Order the ways to the files: the mirrors first, and last who stated what the files are."""
        routes = [self._connect(url).route(listing.repo, listing.commit) for url in self._mirrors()]
        last = hub.route(listing.repo, listing.commit)
        return [*(route for route in routes if route.name != last.name), last]

    def _fetch_all(
        self, hub: Hub, listing: Listing, base: Path, manifest: Manifest, missing: Sequence[FileEntry]
    ) -> tuple[Manifest, Mapping[str, int]]:
        """Fetch files in parallel, the largest first, noting each as soon as it is proved."""
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait  # noqa: PLC0415 - see _mirrors

        from .transfer import Fetcher  # noqa: PLC0415 - see _mirrors

        routes = self._routes(hub, listing)
        # Xet would go past the mirror.
        by_xet = hub.xet if len(routes) == 1 else None
        in_xet = {file.entry.path for file in listing.files if file.in_xet}
        fetcher = Fetcher(routes, self._progress, self._patience)
        self._progress.begin("fetching", len(missing), sum(entry.size_bytes for entry in missing))

        def fetch(entry: FileEntry) -> FileEntry:
            part = self._part(listing.commit, entry)
            xet = by_xet if entry.path in in_xet else None
            if not (xet and self._fetch_xet(xet, listing, entry, part)):
                fetcher.fetch(entry, part)
            part.chmod(FILE_MODE)
            target = base / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
            return entry.proved_in(base)

        with ThreadPoolExecutor(self._wish.max_workers) as pool:
            ordered = sorted(missing, key=lambda entry: entry.size_bytes, reverse=True)
            running = {pool.submit(fetch, entry) for entry in ordered}
            try:
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    manifest = self._note(base, manifest, done)
            except BaseException:
                fetcher.stop()
                for future in running:
                    future.cancel()
                raise
        self._remarks += fetcher.warnings()
        if self._xet_left:
            self._remarks.append(
                f"Xet was left, and the rest came over plain HTTP: {self._xet_left.rstrip('.')}. Where its"
                " servers cannot be reached, set the option xet to false (models_xet of the role)."
            )
        return manifest, fetcher.fetched_from

    def _note(self, base: Path, manifest: Manifest, done: Iterable[Future[FileEntry]]) -> Manifest:
        """Write down what is proved, so that a run that ends here leaves nothing to be hashed again."""
        entries, errors = [], []
        for future in done:
            error = future.exception()
            if error:
                errors.append(error)
            else:
                entries.append(future.result())
                self._progress.file_done()
        manifest = manifest.with_entries(entries)
        manifest.write(base)
        # A stopped fetch is another one's consequence.
        for error in sorted(errors, key=lambda e: isinstance(e, StoppedError)):
            raise error
        return manifest

    def _fetch_xet(
        self, xet: Callable[[str, str, str, Path], Path], listing: Listing, entry: FileEntry, part: Path
    ) -> bool:
        """Fetch by Xet, which works in parallel by itself, and prove the file; false when plain HTTP has to do it.

        That continues what it had begun, and is left to work where Xet does not: its servers are others than the Hub.
        """
        if self._xet_left or part.exists():
            return False
        part.parent.mkdir(parents=True, exist_ok=True)
        folder = self._home.staging(listing.commit) / ".xet" / entry.path  # its own: it is removed as a whole
        try:
            with self._progress.watching(folder):
                found = xet(listing.repo, listing.commit, entry.path, folder)
            if find_corrupt([(found, entry.digest)]):
                raise CorruptError(f"{entry.path}: Xet delivered another content than the Hub states ({entry.digest}).")
            self._progress.add_fetched(found.stat().st_size)
            found.replace(part)
        except (AccessDeniedError, DiskFullError, TokenRejectedError):
            raise
        except ModelError as error:
            self._xet_left = str(error)
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _drop_unwanted(self, base: Path, known: Manifest | None, manifest: Manifest) -> None:
        """Remove what an earlier selection brought and this one does not want."""
        wanted = {entry.path for entry in manifest.files}
        for entry in known.files if known else ():
            if entry.path not in wanted:
                (base / entry.path).unlink(missing_ok=True)
        shutil.rmtree(base / ".xet", ignore_errors=True)
        # What a run that was killed while it wrote a manifest left.
        for part in base.glob(f"{MANIFEST_NAME}.*.part"):
            part.unlink()


def check_folder(folder: Path, verify: str) -> Outcome:
    """Check a model that lies in a folder of its own: by its manifest when it has one, else by its structure.

    Raises IncompleteError, CorruptError and OSError.
    """
    completeness.check_model(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        files = tuple(FileEntry(name, (folder / name).stat().st_size, UNKNOWN_DIGEST) for name in visible_files(folder))
        return Outcome(Manifest("", "", "", Selection(), files), folder, STRUCTURE)
    to_hash = [entry for entry in manifest.files if verify == FULL or not entry.unchanged_in(folder)]
    bad = [entry.path for entry in to_hash if not entry.right_size_in(folder)]
    hashed = find_corrupt([(folder / entry.path, entry.digest) for entry in to_hash if entry.path not in bad])
    bad += [path.relative_to(folder).as_posix() for path in hashed]
    if bad:
        raise CorruptError(
            f"{folder}: {', '.join(sorted(bad))} missing or not what the Hub stated when it was fetched."
        )
    return Outcome(manifest, folder, FULL if len(to_hash) == len(manifest.files) else QUICK)


def visible_files(folder: Path) -> list[str]:
    """Name the files below a folder, without those in the places that tools keep for themselves."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith("."))


def strays(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Warn of files that the Hub did not bring: engines load what they find."""
    known = {entry.path for entry in manifest.files}
    found = [name for name in visible_files(folder) if name not in known]
    if not found:
        return ()
    return (f"{folder} holds files that are not of the repository: {', '.join(found[:10])}.",)


def protect(folder: Path, files: Iterable[FileEntry], *, dry_run: bool = False) -> list[str]:
    """Let files and folders be this user's, and everybody else read only; return the names that were not so."""
    owner = os.geteuid()
    names = {entry.path for entry in files}
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    loose = []
    for name, mode in [*((n, FILE_MODE) for n in sorted(names)), *((n, FOLDER_MODE) for n in sorted(folders))]:
        path = folder / name
        status = path.stat()
        if status.st_uid != owner or stat.S_IMODE(status.st_mode) != mode:
            loose.append(name)
            if not dry_run:
                os.chown(path, owner, -1)
                path.chmod(mode)
    return loose


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a rename outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

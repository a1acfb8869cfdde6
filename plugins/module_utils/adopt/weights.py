"""Where models lie on a host that was set up by hand, and where the roles keep them.

Nothing is moved by copying gigabytes: a file gets a second name in the new place (a hard link), with the digest that it
must have. The old name stays until the adoption is settled.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..hub.completeness import check_model
from ..hub.digests import GIT_SHA1, SHA256, Digest
from ..hub.errors import ModelError
from ..hub.manifest import FileEntry, Manifest
from ..hub.names import Selection, check_repo, is_commit, is_pickle
from ..ollama.store import full_name
from ..support.hidden import is_hidden
from .errors import AdoptError

HUB = "https://huggingface.co"
METADATA = ".cache/huggingface/download"
CACHE_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)$")
TAG_SEPARATOR = ":"


@dataclass(frozen=True)
class Sought:
    """What `--model` was, and what it was read with. `directory` is where relative paths start."""

    model: str
    directory: Path
    environment: Mapping[str, str]
    home: Path
    revision: str = ""


@dataclass(frozen=True)
class Places:
    """Where models come to lie, by directory which repository it holds, and where the host's files are."""

    models_root: Path
    repos: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")

    def stays(self, path: Path) -> bool:
        """Whether services can read a directory where it is, and nothing is won by naming it anew."""
        hidden = is_hidden(path, self.root)
        return self.models_root in path.parents or not (hidden or same_filesystem(path, self.models_root))

    def repo(self, path: Path) -> str:
        """The repository that a directory holds; empty where nobody said."""
        return self.repos.get(self.shown(path)) or ""

    def shown(self, path: Path) -> str:
        """A path as the host has it."""
        return "/" + path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Placement:
    """A file that gets a second name. `digest` is what its content must be; None where nothing states it."""

    source: Path
    target: Path
    digest: Digest | None = None

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.source.stat().st_size


@dataclass(frozen=True)
class StoredModel:
    """A model of an Ollama store: the name and the digest that the server lists, and its size in bytes."""

    name: str
    digest: str
    size_bytes: int


@dataclass
class OllamaStore:
    """An Ollama store, and how it gets where the role keeps it. No placements: it stays where it is."""

    source: Path
    target: Path
    models: list[StoredModel] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        """Whether the store is served from where it is."""
        return self.source == self.target


@dataclass
class Weights:
    """A model for vLLM, and how it gets where the role models keeps it.

    `manifest` is what a download would have left, where the old one noted the Hub's commit and hashes.
    """

    source: Path
    target: Path
    model: str  # what the entry names: a repository or a directory
    revision: str = ""
    allow_pickle: bool = False
    placements: list[Placement] = field(default_factory=list)
    manifest: Manifest | None = None

    @property
    def stays(self) -> bool:
        """Whether the model is served from where it is."""
        return self.source == self.target

    @property
    def size_bytes(self) -> int:
        """Size of the files that get a second name."""
        return sum(placement.size_bytes for placement in self.placements)


def same_filesystem(one: Path, other: Path) -> bool:
    """Whether a hard link can lead from one to the other; the nearest folder that exists stands for each."""
    return _nearest(one).stat().st_dev == _nearest(other).stat().st_dev


# Ollama


def read_ollama_store(source: Path, wanted: Path, root: Path = Path("/")) -> OllamaStore:
    """Look through a store. It moves only when it lies in a person's home and a hard link can lead out of it."""
    moves = source != wanted and is_hidden(source, root) and same_filesystem(source, wanted)
    store = OllamaStore(source, wanted if moves else source)
    seen: dict[str, Placement] = {}
    for manifest in sorted(path for path in (source / "manifests").rglob("*") if path.is_file()):
        try:
            model, blobs = _read_model(source, manifest)
        except AdoptError as error:
            store.problems.append(str(error))
            continue
        store.models.append(model)
        for digest in blobs:
            name = f"blobs/{SHA256}-{digest}"
            seen[name] = Placement(source / name, store.target / name, Digest(SHA256, digest))
        name = manifest.relative_to(source).as_posix()
        seen[name] = Placement(manifest, store.target / name, Digest(SHA256, model.digest))
    store.placements = [seen[name] for name in sorted(seen)]
    return store


def _read_model(source: Path, manifest: Path) -> tuple[StoredModel, list[str]]:
    """Return a model and the digests of its blobs. Raises AdoptError when it is not whole."""
    from hashlib import sha256  # noqa: PLC0415 - beside its only use

    parts = manifest.relative_to(source / "manifests").parts
    name = full_name("/".join(parts[:-1]) + TAG_SEPARATOR + parts[-1]) if len(parts) == 4 else "/".join(parts)
    text = manifest.read_bytes()
    try:
        content = json.loads(text)
        layers: list[Mapping[str, Any]] = [*content["layers"], content["config"]]
        blobs = sorted({str(layer["digest"]).partition(":")[2] for layer in layers if layer.get("digest")})
        size_bytes = sum(int(layer.get("size") or 0) for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdoptError(f"{name}: {manifest} cannot be read ({error!r}): delete it, or pull {name} again") from error
    for layer in layers:
        digest = str(layer.get("digest", "")).partition(":")[2]
        blob = source / "blobs" / f"{SHA256}-{digest}"
        if digest and (not blob.is_file() or blob.stat().st_size != int(layer.get("size") or 0)):
            raise AdoptError(
                f"{name}: expected {blob} with {layer.get('size')} bytes, found it missing or of another size: pull"
                f" {name} again, or delete it (ollama rm)"
            )
    return StoredModel(name, sha256(text).hexdigest(), size_bytes), blobs


# The Hub's models


def find_weights(sought: Sought, places: Places) -> Weights | None:
    """Find a directory, or a repository in the Hub client's cache. None where nothing is there. Raises AdoptError."""
    path = Path(os.path.normpath(_inside(places.root, sought.directory / sought.model)))
    if path.is_dir():
        repo, commit = _cached_snapshot(path)
        if repo and not places.stays(path):
            return _snapshot(path, repo, commit, places, _cache_digests(path))
        return _directory(path, places)
    for cache in _caches(sought.environment, sought.home):
        found = _in_cache(_inside(places.root, cache), sought.model, sought.revision)
        if found and places.stays(found):
            return _directory(found, places)
        if found:
            return _snapshot(found, sought.model, found.name, places, _cache_digests(found))
    return None


def _inside(root: Path, path: Path) -> Path:
    return root / str(path).lstrip("/")


def _caches(environment: Mapping[str, str], home: Path) -> list[Path]:
    named = [environment.get(name) for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")]
    hub_home = environment.get("HF_HOME")
    places = [Path(name) for name in named if name] + ([Path(hub_home) / "hub"] if hub_home else [])
    return [*places, home / ".cache/huggingface/hub"]


def _in_cache(cache: Path, repo: str, revision: str) -> Path | None:
    folder = cache / f"models--{repo.replace('/', '--')}"
    wanted = revision or "main"
    if not is_commit(wanted):
        try:
            wanted = (folder / "refs" / wanted).read_text("utf-8").strip()
        except OSError:
            return None
    snapshot = folder / "snapshots" / wanted
    return snapshot if is_commit(wanted) and snapshot.is_dir() else None


def _cached_snapshot(path: Path) -> tuple[str, str]:
    match = CACHE_FOLDER.search(str(path.parent.parent)) if path.parent.name == "snapshots" else None
    return (f"{match[1]}/{match[2]}", path.name) if match and is_commit(path.name) else ("", "")


def _files(folder: Path) -> dict[str, Path]:
    """Names of a model's files and where their content is, which in the Hub client's cache is behind a link."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("."):
            found[name] = path.resolve()
    return found


def _cache_digests(folder: Path) -> dict[str, Digest]:
    """The cache names its blobs by their hashes."""
    return {name: digest for name, path in _files(folder).items() for digest in _digest(path.name)}


def _metadata(folder: Path) -> tuple[set[str], dict[str, Digest]]:
    """What `--local-dir` downloads note beside the files: the commits, and each file's hash."""
    commits: set[str] = set()
    digests: dict[str, Digest] = {}
    base = folder / METADATA
    for path in base.rglob("*.metadata"):
        lines = path.read_text("utf-8", errors="replace").split()
        name = path.relative_to(base).as_posix()[: -len(".metadata")]
        for digest in _digest(lines[1]) if len(lines) > 1 else ():
            commits.add(lines[0])
            digests[name] = digest
    return commits, digests


def _digest(text: str) -> list[Digest]:
    if re.fullmatch("[0-9a-f]{64}", text):
        return [Digest(SHA256, text)]
    return [Digest(GIT_SHA1, text)] if re.fullmatch("[0-9a-f]{40}", text) else []


def _directory(path: Path, places: Places) -> Weights:
    """A directory of somebody's own. With a repository's name and what the download noted, it becomes a snapshot."""
    stays, repo = places.stays(path), places.repo(path)
    commits, digests = _metadata(path)
    if repo and not stays and len(commits) == 1 and is_commit(next(iter(commits))):
        return _snapshot(path, repo, next(iter(commits)), places, digests)
    _check(path)
    target = path if stays else places.models_root / "local" / path.name
    files = {} if stays else _files(path)
    placements = [Placement(files[name], target / name, digests.get(name)) for name in sorted(files)]
    return Weights(path, target, places.shown(target), placements=placements)


def _wanted(folder: Path) -> tuple[Sequence[str], bool]:
    """What of a repository's files the role would have fetched, and whether pickles had to be among them."""
    names = sorted(_files(folder))
    chosen = Selection().pick(names)
    if any(name.endswith((".safetensors", ".gguf")) for name in chosen) or not any(map(is_pickle, names)):
        return chosen, False
    return Selection(allow_pickle=True).pick(names), True


def _snapshot(folder: Path, repo: str, commit: str, places: Places, digests: Mapping[str, Digest]) -> Weights:
    try:
        target = places.models_root.joinpath(*check_repo(repo).split("/")) / commit
    except ModelError as error:
        raise AdoptError(f"{folder}: {error}") from error
    names, allow_pickle = _wanted(folder)
    files = _files(folder)
    unstated = [name for name in names if name not in digests]
    if unstated:
        raise AdoptError(
            f"{folder}: nothing says what {', '.join(unstated[:3])} should be: leave {repo} out of adopt_repos"
        )
    _check(folder)
    entries = tuple(FileEntry(name, files[name].stat().st_size, digests[name]) for name in names)
    return Weights(
        folder,
        target,
        repo,
        revision=commit,
        allow_pickle=allow_pickle,
        placements=[Placement(files[name], target / name, digests[name]) for name in names],
        manifest=Manifest(repo, commit, HUB, Selection(allow_pickle=allow_pickle), entries),
    )


def _check(folder: Path) -> None:
    try:
        check_model(folder)
    except ModelError as error:
        raise AdoptError(str(error)) from error


def _nearest(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path

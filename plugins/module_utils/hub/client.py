# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the Hub, by its own client: the only module that knows huggingface_hub, and imports it when it is used."""

from __future__ import annotations

import importlib.util
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..support.certificates import certificate_remedy
from .digests import GIT_SHA1, SHA256, Digest
from .errors import (
    AccessDeniedError,
    DiskFullError,
    HubUnavailableError,
    HubUnreachableError,
    ModelError,
    RepositoryMissingError,
    RevisionMissingError,
    TokenRejectedError,
)
from .manifest import FileEntry
from .names import check_file
from .patience import RETRIED_STATUS, Patience, retry_after_seconds
from .routes import HttpRoute
from .space import DISK_FULL

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

REQUEST_SECONDS = 20
# Below this hf_xet's high-performance mode would take more memory than it is worth.
HIGH_PERFORMANCE_MIN_BYTES = 64_000_000_000
# hf_xet by itself tries for minutes where its servers cannot be reached, and waits five for a stalled one.
XET_PATIENCE = {
    "HF_XET_CLIENT_CONNECT_TIMEOUT": "10s",
    "HF_XET_CLIENT_READ_TIMEOUT": "60s",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "1s",
}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the Hub lists it."""

    entry: FileEntry
    in_xet: bool


@dataclass(frozen=True)
class Listing:
    """A repository at a commit. `repo` is its name today: the Hub follows renamings. `stated_by`: the Hub's URL."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    stated_by: str


class HubClient:
    """One endpoint, asked with one token or with none."""

    def __init__(self, endpoint: str, token: str | None, *, xet: bool, cache: Path, patience: Patience | None = None):
        """Import huggingface_hub; raises ModelError when this interpreter lacks it.

        `cache` is where it may keep what it wants to keep meanwhile.
        """
        os.environ.update(environment(cache, xet=xet))
        os.environ.pop("HF_HUB_OFFLINE", None)
        try:
            import huggingface_hub  # noqa: PLC0415 - a dependency of this class alone
        except ImportError as error:
            raise ModelError(
                f"huggingface_hub is missing ({error}). The role models installs it: let ansible_python_interpreter"
                " be /opt/llm-serving/tools/bin/python for this task."
            ) from error
        self._hub: Any = huggingface_hub
        self._endpoint = endpoint.rstrip("/")
        # False, not None: a token that somebody left in root's home must not be used unasked.
        self._token: str | bool = token or False
        self._api: Any = huggingface_hub.HfApi(endpoint=self._endpoint, token=self._token)
        self._patience = patience or Patience(attempts=4)
        self.xet = self._fetch_xet if xet and importlib.util.find_spec("hf_xet") is not None else None

    def route(self, repo: str, commit: str) -> HttpRoute:
        """Offer the files of a repository over plain HTTP."""
        headers = self._hub.utils.build_hf_headers(token=self._token, library_name="llm.serving")
        return HttpRoute(self._endpoint, lambda path: self._url(repo, commit, path), headers)

    def _url(self, repo: str, commit: str, path: str) -> str:
        url: str = self._hub.hf_hub_url(repo, path, revision=commit, endpoint=self._endpoint)
        return url

    def listing(self, repo: str, revision: str) -> Listing:
        """List a repository's files with their sizes and hashes. Raises ModelError's kinds."""

        def ask() -> Listing:
            info = self._api.model_info(repo, revision=revision, timeout=REQUEST_SECONDS)
            tree = self._api.list_repo_tree(info.id, revision=info.sha, recursive=True)
            files = tuple(remote_file(item) for item in tree if hasattr(item, "blob_id"))
            return Listing(info.id, info.sha, files, self._endpoint)

        return self._asked(ask, repo, revision)

    def check_access(self, repo: str, commit: str, path: str) -> None:
        """Ask whether a file may be fetched, so that a refusal comes before the first byte."""
        url = self._url(repo, commit, path)

        def ask() -> None:
            self._hub.get_hf_file_metadata(url, token=self._token, timeout=REQUEST_SECONDS, endpoint=self._endpoint)

        self._asked(ask, repo, commit)

    def _fetch_xet(self, repo: str, commit: str, path: str, folder: Path) -> Path:
        """Fetch a file by Xet below a folder; return where it is."""

        def ask() -> Path:
            found = self._hub.hf_hub_download(
                repo, path, revision=commit, local_dir=folder, endpoint=self._endpoint, token=self._token
            )
            return folder / os.path.relpath(found, folder)

        return self._asked(ask, repo, commit)

    def _asked(self, ask: Callable[[], T], repo: str, revision: str) -> T:
        """Ask, and ask again while that may help; raises what the last error means."""
        failures = 0
        while True:
            try:
                return ask()
            except ModelError:
                raise
            except Exception as error:
                failures += 1
                response = getattr(error, "response", None)
                status = getattr(response, "status_code", None)
                hopeless = status not in RETRIED_STATUS if status else not is_transport_error(error)
                if hopeless or failures >= self._patience.attempts:
                    raise self._meaning(error, status, repo, revision) from error
                asked = retry_after_seconds(response.headers.get("Retry-After")) if response is not None else None
                time.sleep(self._patience.wait_seconds(failures, asked))

    def _meaning(self, error: Exception, status: int | None, repo: str, revision: str) -> ModelError:
        """Translate an error of the library into one that says what to do."""
        detail = getattr(error, "server_message", None) or str(error).strip().rpartition("\n")[2]
        refusal = self._refusal(error, repo, revision, detail)
        if refusal:
            return refusal
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return DiskFullError(f"The file system filled up while {repo} was being fetched.")
        if status:
            often = ", however often asked" if status in RETRIED_STATUS else ""
            return HubUnavailableError(f"{self._endpoint} answers {status} for {repo}{often} ({detail}).")
        if is_transport_error(error):
            cannot = f"{self._endpoint} cannot be reached from this host ({detail or type(error).__name__})."
            if "CERTIFICATE_VERIFY_FAILED" in detail:
                return HubUnreachableError(f"{cannot} {certificate_remedy(detail)}")
            return HubUnreachableError(
                f"{cannot} Check the option endpoint and the host's proxy settings (models_environment of the role)."
            )
        return ModelError(f"Asking {self._endpoint} for {repo} failed: {type(error).__name__}: {detail}")

    def _refusal(self, error: Exception, repo: str, revision: str, detail: str) -> ModelError | None:
        """Say what the Hub's no means; None when it is no such answer."""
        errors = self._hub.errors
        at = f"{repo} at {self._endpoint}"
        if isinstance(error, errors.GatedRepoError):
            what = "the token given has no access to it" if self._token else "no token was given"
            return AccessDeniedError(
                f"{at} is gated, and {what}. Accept its licence on the Hub, and set the option token"
                " (models_hub_token of the role) to a read token of that account."
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return RevisionMissingError(f"{at} has no revision {revision}: set the option revision to one that it has.")
        if isinstance(error, errors.RepositoryNotFoundError):
            hint = "" if self._token else ", or it is private and needs the option token"
            return RepositoryMissingError(f"There is no repository {at}{hint}. Check the option repo letter by letter.")
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 403:
            return AccessDeniedError(
                f"{self._endpoint} forbids to read {repo} ({detail}). Set the option token (models_hub_token of the"
                " role) to one with the permission to read it."
            )
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401:
            return TokenRejectedError(
                f"{self._endpoint} does not accept the token ({detail}). Set the option token (models_hub_token of the"
                " role) to a valid one, or leave it out for public repositories."
            )
        return None


def environment(cache: Path, *, xet: bool) -> dict[str, str]:
    """Settings that huggingface_hub and hf_xet read from the environment when they are imported."""
    settings = {
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
    }
    if xet:
        settings.update({name: os.environ.get(name, value) for name, value in XET_PATIENCE.items()})
    if xet and memory_bytes() >= HIGH_PERFORMANCE_MIN_BYTES:
        settings["HF_XET_HIGH_PERFORMANCE"] = "1"
    return settings


def memory_bytes() -> int:
    """How much memory the host has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def remote_file(item: Any) -> RemoteFile:
    """Read an entry of the Hub's file list."""
    digest = Digest(SHA256, item.lfs.sha256) if item.lfs else Digest(GIT_SHA1, item.blob_id)
    return RemoteFile(FileEntry(check_file(item.path), item.size, digest), in_xet=bool(item.xet_hash))


def is_transport_error(error: BaseException) -> bool:
    """Whether no answer came at all; by the package's name, which changed from httpx to httpx2."""
    package = type(error).__module__.partition(".")[0]
    return package in ("httpx", "httpx2") or isinstance(error, (ConnectionError, TimeoutError))

# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of repositories, revisions and files, and which files of a repository are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ..support.addresses import HIGHEST_PORT
from .errors import InvalidNameError

MANIFEST_NAME = ".llm-serving.json"
# Folders of a snapshot under way; what lies in them is ours.
OWN_FOLDERS = (".part", ".xet")
LONGEST_FILE_NAME_BYTES = 255
LONGEST_REVISION = 255
PICKLE_PATTERNS = ("*.bin", "*.ckpt", "*.pickle", "*.pkl", "*.pt", "*.pth")
# The same weights once more, for frameworks that no engine of this collection uses.
OTHER_FRAMEWORKS = (
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data",
    "*.ot",
    "*.tflite",
    "coreml/*",
    "onnx/*",
    "openvino/*",
)
# The same weights once more, beside safetensors in the layout of Transformers.
DUPLICATES = ("*.gguf", "consolidated*.safetensors", "metal/*", "original/*")

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_URL = re.compile(r"https?://(?:[^@/\s]+@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/\S*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_repo(repo: str) -> str:
    """Return a repository's name; raises InvalidNameError unless it is `organisation/name`."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or len(repo) > 193:
        raise InvalidNameError(f"repo: expected organisation/name as on the Hub, found {repo!r}.")
    return repo


def check_revision(revision: str) -> str:
    """Return a branch, tag or commit; raises InvalidNameError when it cannot be one."""
    parts = revision.split("/")
    is_crooked = any(part in ("", ".") or ".." in part or part.endswith(".lock") for part in parts)
    if not _REVISION.fullmatch(revision) or is_crooked or len(revision) > LONGEST_REVISION:
        raise InvalidNameError(f"revision: expected a branch, a tag or a commit, found {revision!r}.")
    return revision


def is_http_url(url: str) -> bool:
    """Whether something is the URL of a server that speaks HTTP."""
    found = _URL.fullmatch(url)
    return found is not None and int(found[1] or 80) <= HIGHEST_PORT


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit: it can never mean anything else later."""
    return bool(_COMMIT.fullmatch(revision))


def check_file(name: str) -> str:
    """Return a file's name in a repository; raises InvalidNameError when it would leave the snapshot."""
    parts = name.split("/")
    unsafe = name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts)
    strange = any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in name)
    is_ours = parts[0] in OWN_FOLDERS or parts[0].startswith(MANIFEST_NAME)
    if unsafe or strange or is_ours or max(map(_name_bytes, parts)) > LONGEST_FILE_NAME_BYTES:
        raise InvalidNameError(f"The repository holds a file named {name!r}, which is not safe to write.")
    return name


def _name_bytes(name: str) -> int:
    return len(name.encode())


@dataclass(frozen=True)
class Selection:
    """Which files of a repository are wanted. Patterns are those of fnmatch, on the whole path."""

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_pickle: bool = False

    def pick(self, names: Iterable[str]) -> tuple[str, ...]:
        """Choose from a repository's files, in the order of their names.

        Without `allow`, what repeats the weights in another format is left out. Pickles run code when they are
        loaded, so they are left out unless `allow_pickle` says otherwise.
        """
        names = sorted(names)
        unwanted = list(self.ignore)
        if not self.allow_pickle:
            unwanted += PICKLE_PATTERNS
        if not self.allow:
            unwanted += OTHER_FRAMEWORKS
            if any(is_transformers_weight(name) for name in names):
                unwanted += DUPLICATES
        wanted = self.allow or ("*",)
        return tuple(name for name in names if matches(name, wanted) and not matches(name, unwanted))


def is_transformers_weight(name: str) -> bool:
    """Whether a file holds weights in safetensors, in the layout of Transformers."""
    return "/" not in name and name.endswith(".safetensors") and not name.startswith("consolidated")


def is_pickle(name: str) -> bool:
    """Whether loading a file may run code that is in it."""
    return matches(name, PICKLE_PATTERNS)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether any pattern fits the path, or the file's own name."""
    base = PurePosixPath(name).name
    return any(fnmatchcase(name, pattern) or fnmatchcase(base, pattern) for pattern in patterns)


def split_repo(repo: str) -> tuple[str, str]:
    """Split `organisation/name`."""
    organisation, name = check_repo(repo).split("/")
    return organisation, name


def short(commit: str | None) -> str:
    """Abbreviate a commit for messages."""
    return commit[:12] if commit else "none"

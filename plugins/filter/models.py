# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role models works out on the control node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.hub.errors import ModelError
from ansible_collections.llm.serving.plugins.module_utils.hub.names import check_repo, check_revision, is_commit
from ansible_collections.llm.serving.plugins.module_utils.support.hidden import is_hidden

KEPT = ("path", "repo", "commit", "size_bytes", "download_bytes", "downloaded_bytes", "fetched", "corrupt", "verified")
DEFAULTS: Mapping[str, Any] = {
    "revision": None,
    "state": "present",
    "verify": None,
    "allow_patterns": [],
    "ignore_patterns": [],
    "check_model": True,
}


def models_wanted(models: Sequence[Mapping[str, Any]], root: str) -> list[dict[str, Any]]:
    """Give every entry of the list all its keys, and the path where that is known beforehand."""
    wanted = []
    for model in models:
        entry = {**DEFAULTS, **{key: value for key, value in model.items() if value is not None}}
        is_path = entry["model"].startswith("/")
        place = {"path": entry["model"], "repo": None} if is_path else {"path": None, "repo": entry["model"]}
        expected = entry["model"]
        if not is_path:
            pinned = is_commit(entry["revision"] or "")
            expected = f"{root}/{entry['model']}/{entry['revision']}" if pinned else None
        wanted.append({"name": entry["model"], **entry, **place, "expected_path": expected})
    return wanted


def models_problems(models: Sequence[Mapping[str, Any]], unpinned: str, root: str = "") -> dict[str, list[str]]:
    """Tell what is wrong with the list and with the folder of all models, and what is risky."""
    errors, warnings = [], []
    if is_hidden(Path(root)):
        errors.append(
            f"models_root: services may not look into {root}: set it to a folder outside of /home, /root and /run/user,"
            " such as /srv/models; where the room is there, mount a folder of it in that place (mount --bind)"
        )
    names = [model.get("name") or model["model"] for model in models]
    errors += [
        f"models_list: two entries are named {name}" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    for name, model in zip(names, models, strict=True):
        revision = model.get("revision") or "main"
        if model["model"].startswith("/"):
            continue
        try:
            check_repo(model["model"])
            check_revision(revision)
        except ModelError as error:
            errors.append(f"models_list, {name}: {error}")
            continue
        if is_commit(revision) or model.get("state") == "absent":
            continue
        if model.get("trust_remote_code"):
            errors.append(
                f"models_list, {name}: trust_remote_code runs code out of the repository, and revision {revision} may"
                " hold other code tomorrow. Set revision to a commit whose code somebody has read."
            )
        elif unpinned != "accept":
            problem = f"models_list, {name}: revision {revision} may hold other files tomorrow. Set it to a commit."
            (errors if unpinned == "refuse" else warnings).append(problem)
    return {"errors": errors, "warnings": warnings}


def models_glances(wanted: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what vllm_facts needs to tell which of these models want nothing done.

    `defaults` has root, verify, allow_pickle and keep as the role has them.
    """
    keys = ("name", "repo", "path", "revision", "allow_patterns", "ignore_patterns", "check_model")
    glances = []
    for model in wanted:
        glance = {key: model[key] for key in keys if model[key] is not None}
        glance["root"] = defaults["root"]
        glance["verify"] = model["verify"] or defaults["verify"]
        glance["allow_pickle"] = model.get("allow_pickle", defaults["allow_pickle"])
        if defaults["keep"] is not None and model["repo"]:
            glance["keep"] = defaults["keep"]
            glance["keep_revisions"] = kept_revisions(model["repo"], wanted)
        glances.append(glance)
    return glances


def kept_revisions(repo: str, wanted: Sequence[Mapping[str, Any]], needed: Sequence[str] = ()) -> list[str]:
    """Return the revisions of a repository that are wanted, or lie in the directories that something else needs."""
    named = [model["revision"] or "main" for model in wanted if model["repo"] == repo]
    return named + [path.rsplit("/", 1)[1] for path in needed if path.rpartition("/")[0].endswith(f"/{repo}")]


def models_result(
    wanted: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Sum up the module's results by the entries' names."""
    summary = {}
    for model, result in zip(wanted, results, strict=True):
        if model["state"] == "present":
            kept = {key: result.get(key) for key in KEPT}
            kept["path"] = kept["path"] or model["expected_path"]
            summary[model["name"]] = {**kept, "present": result.get("verified") is not None}
    return summary


class FilterModule:
    """The filters of the role models."""

    def filters(self) -> dict[str, Any]:
        """Name them."""
        return {
            "models_glances": models_glances,
            "models_kept_revisions": kept_revisions,
            "models_problems": models_problems,
            "models_result": models_result,
            "models_wanted": models_wanted,
        }

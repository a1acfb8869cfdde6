#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_model
short_description: Keep a model of a Hugging Face Hub on a host, whole and verified
version_added: 0.1.0
description:
  - Brings a repository at a revision to C(<root>/<organisation>/<name>/<commit>), where a service that is named that
    path finds the same bytes for ever.
  - Every file is held against the size and the hash that the Hub states. A snapshot gets its name only when all of
    its files are proved and an engine finds in it what it needs; until then nothing can serve it.
  - A fetch that was ended in any way is continued in the middle of the files it had begun. A file that is corrupt or
    missing later is fetched again alone. Files that an earlier revision has, too, are linked from there.
  - What was proved is written to a manifest in the snapshot. With a pinned O(revision) a later run needs neither the
    Hub nor another look at the content.
requirements:
  - On the managed host, Python 3.10 or later with huggingface_hub 1.0 or later, and hf_xet for O(xet). The role
    C(llm.serving.models) installs them for its own use and sets C(ansible_python_interpreter) for this module.
  - Neither is needed when nothing has to be asked of the Hub.
options:
  repo:
    description:
      - The repository, as C(organisation/name).
      - Exactly one of O(repo) and O(path) is needed.
    type: str
    aliases: [repo_id, model]
  path:
    description:
      - A directory with a model that did not come by this module. It is checked only, never changed.
      - Without a manifest in it, the check is of what the files say about themselves, RV(verified) is V(structure).
    type: path
  revision:
    description:
      - A commit, a branch or a tag. Only a commit is the same for ever, and needs no Hub once it is there.
      - With O(state=present) the default is V(main). With O(state=absent) the default is every revision.
    type: str
  root:
    description: Directory of all models.
    type: path
    default: /srv/models
  endpoint:
    description: URL of the Hub or of a mirror.
    type: str
    default: https://huggingface.co
  mirrors:
    description:
      - URLs of mirrors of the Hub. Files are fetched from the first that can be reached. O(endpoint) still states what
        their hashes are; a mirror is asked for them only when O(endpoint) gives no answer, which is warned of.
      - A mirror that dies, refuses or delivers something else is left, also in the middle of a file, for the next one
        and at last for O(endpoint), with a warning. Xet is not used past a mirror.
    type: list
    elements: str
    default: []
  source:
    description:
      - A directory with the layout of O(root) to take the files from instead of the Hub, such as a disk that was filled
        where the Hub can be reached. The manifest in it says what the Hub stated, and every byte is held against that.
      - Neither the Hub nor huggingface_hub is needed then.
      - With O(root) on the disk and O(source) on the host it is the other way round.
    type: path
  token:
    description:
      - Access token for gated and private repositories. It is kept nowhere, and sent to O(endpoint) and to those of
        the O(mirrors) that are C(https).
      - No token is taken from the files of the user that runs the module.
    type: str
  state:
    description:
      - V(absent) removes the snapshots, and fails while a process has a file of them open.
    type: str
    choices: [present, absent]
    default: present
  verify:
    description:
      - V(quick) trusts a proved file as long as its size and modification time stay the same.
      - V(full) hashes every file again, with or without the Hub.
    type: str
    choices: [quick, full]
    default: quick
  offline:
    description:
      - Never ask the Hub. A branch or tag means what it meant when the Hub was last asked.
    type: bool
    default: false
  allow_patterns:
    description:
      - Fetch only files that fit one of these shell patterns, by their path or their name.
      - Without it, what repeats the weights in another format is left out, such as C(original/), C(consolidated*),
        C(*.gguf) beside safetensors, C(*.h5), C(*.msgpack) and C(*.onnx).
    type: list
    elements: str
    default: []
  ignore_patterns:
    description: Do not fetch files that fit one of these shell patterns.
    type: list
    elements: str
    default: []
  allow_pickle:
    description:
      - Fetch C(*.bin), C(*.ckpt), C(*.pickle), C(*.pkl), C(*.pt) and C(*.pth), too. Loading them runs the code in them.
    type: bool
    default: false
  check_model:
    description:
      - Demand what an engine needs, which is C(config.json), a tokenizer, and every shard that the index names.
      - V(false) is for adapters, draft models and anything else that is no model by itself.
    type: bool
    default: true
  max_workers:
    description: Files fetched at the same time.
    type: int
    default: 8
  xet:
    description:
      - Fetch by Xet what the Hub has in Xet, in high-performance mode on hosts with at least 64 GB of memory.
      - V(false) fetches everything over plain HTTP, and continues in the middle of a file.
    type: bool
    default: true
  stall_timeout:
    description: Seconds without a byte after which a connection is given up and made anew.
    type: int
    default: 30
  lock_timeout:
    description: Seconds to wait for another run that works on the same repository on the same host.
    type: int
    default: 600
  keep:
    description:
      - How many other revisions of the repository stay on the host, the newest ones, once this one is there. More are
        removed, and so is what is there of unfinished ones.
      - A revision of which a process has a file open stays for this time. By default nothing is removed.
    type: int
  keep_revisions:
    description: Revisions that stay beside those that O(keep) counts, since somebody else wants them.
    type: list
    elements: str
    default: []
  progress_seconds:
    description:
      - Every how many seconds the play shows how far a fetch is; V(0) for never. With very many hosts it is seldomer.
      - Nothing is shown when the environment of C(ansible-playbook) has C(CI) set, or with C(async).
    type: int
    default: 15
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  action:
    support: partial
    description: The action plugin shows progress. The module does its work without it, too.
  check_mode:
    support: full
    description: Asks the Hub what would be fetched, checks that it would fit, and writes nothing.
  diff_mode:
    support: full
    description: Shows the list of files with their sizes and hashes.
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Keep a model at a commit
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-32B-Instruct
    revision: 5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd
  vars:
    ansible_python_interpreter: /opt/llm-serving/tools/bin/python
  register: model

- name: Hash every byte of it again, without the Hub
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-32B-Instruct
    revision: 5ede1c97bbab6ce5cda5812749b4c0bdf79b18dd
    verify: full
    offline: true

- name: Fetch gently over a bad line
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-7B-Instruct
    xet: false
    max_workers: 1

- name: Fetch through the site's mirror
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-7B-Instruct
    revision: a09a35458c702b33eeacc393d103063234e8bc28
    mirrors: [http://mirror1:8090]

- name: Copy a model to a disk
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-7B-Instruct
    revision: a09a35458c702b33eeacc393d103063234e8bc28
    source: /srv/models
    root: /media/disk/models

- name: Take a model from that disk, on a host that sees no Hub
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-7B-Instruct
    revision: a09a35458c702b33eeacc393d103063234e8bc28
    source: /media/disk/models

- name: Check a model that lies in a directory of its own
  llm.serving.hf_model:
    path: /srv/import/qwen

- name: Remove an old revision
  llm.serving.hf_model:
    repo: Qwen/Qwen2.5-7B-Instruct
    revision: a09a35458c702b33eeacc393d103063234e8bc28
    state: absent
"""

RETURN = r"""
path:
  description: The snapshot's directory.
  returned: state is present
  type: str
  sample: /srv/models/Qwen/Qwen2.5-7B-Instruct/a09a35458c702b33eeacc393d103063234e8bc28
repo:
  description: The repository; null with O(path).
  returned: always
  type: str
commit:
  description: The commit that O(revision) means; null with O(path) when the directory has no manifest.
  returned: state is present
  type: str
files:
  description: The snapshot's files.
  returned: state is present
  type: list
  elements: dict
  contains:
    path:
      description: Path in the snapshot.
      type: str
    size_bytes:
      description: Size.
      type: int
    digest:
      description: Algorithm and hash as the Hub states them; null when nothing states them.
      type: str
      sample: "sha256:4b5ea9e3…"
size_bytes:
  description: Size of all files.
  returned: state is present
  type: int
download_bytes:
  description: What had to be fetched, or in check mode would have to be.
  returned: state is present
  type: int
downloaded_bytes:
  description: What came over the network, or from O(source), in this run.
  returned: state is present
  type: int
fetched_from:
  description: How many of these bytes came from where, by the URL or the directory. Without what came by Xet.
  returned: state is present
  type: dict
  sample: {"http://mirror1:8090": 15231233024}
fetched:
  description: Files fetched in this run.
  returned: state is present
  type: list
  elements: str
linked:
  description: Files taken from another revision on the host.
  returned: state is present
  type: list
  elements: str
corrupt:
  description: Files that were there and were not what the Hub states.
  returned: state is present
  type: list
  elements: str
verified:
  description:
    - V(full) when every file was hashed in this run, V(quick) when every file looks as it did when it was hashed.
    - V(structure) when nothing says what the files' content should be, null in check mode when files are to be fetched.
  returned: state is present
  type: str
removed:
  description: Commits that were removed, with O(state=present) because of O(keep).
  returned: always
  type: list
  elements: str
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import ModelError
from ansible_collections.llm.serving.plugins.module_utils.hub.manifest import FileEntry
from ansible_collections.llm.serving.plugins.module_utils.hub.names import (
    Selection,
    check_repo,
    check_revision,
    is_commit,
    is_http_url,
)
from ansible_collections.llm.serving.plugins.module_utils.hub.patience import Patience
from ansible_collections.llm.serving.plugins.module_utils.hub.progress import Progress
from ansible_collections.llm.serving.plugins.module_utils.hub.snapshot import Hub, Keeper, Outcome, Wish, check_folder
from ansible_collections.llm.serving.plugins.module_utils.hub.store import Home

ARGUMENTS = {
    "repo": {"type": "str", "aliases": ["repo_id", "model"]},
    "path": {"type": "path"},
    "revision": {"type": "str"},
    "root": {"type": "path", "default": "/srv/models"},
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "mirrors": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "path"},
    "token": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "verify": {"type": "str", "choices": ["quick", "full"], "default": "quick"},
    "offline": {"type": "bool", "default": False},
    "allow_patterns": {"type": "list", "elements": "str", "default": []},
    "ignore_patterns": {"type": "list", "elements": "str", "default": []},
    "allow_pickle": {"type": "bool", "default": False},
    "check_model": {"type": "bool", "default": True},
    "max_workers": {"type": "int", "default": 8},
    "xet": {"type": "bool", "default": True},
    "stall_timeout": {"type": "int", "default": 30},
    "lock_timeout": {"type": "int", "default": 600},
    "keep": {"type": "int"},
    "keep_revisions": {"type": "list", "elements": "str", "default": []},
    # The action plugin's.
    "progress_seconds": {"type": "int", "default": 15},
}


def check(params: dict[str, Any]) -> None:
    """Refuse what cannot work; raises ModelError."""
    for option in ("root", "path", "source"):
        if params[option] and not params[option].startswith("/"):
            raise ModelError(f"{option}: expected an absolute path, found {params[option]!r}.")
    for option, url in [("endpoint", params["endpoint"]), *(("mirrors", url) for url in params["mirrors"])]:
        if not is_http_url(url):
            raise ModelError(f"{option}: expected a URL such as https://huggingface.co, found {url!r}.")
    for option in ("max_workers", "stall_timeout"):
        if params[option] < 1:
            raise ModelError(f"{option}: expected at least 1, found {params[option]}.")
    for option in ("keep", "lock_timeout", "progress_seconds"):
        if (params[option] or 0) < 0:
            raise ModelError(f"{option}: expected 0 or more, found {params[option]}.")


def present(params: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    if params["path"]:
        return result(check_folder(Path(params["path"]), params["verify"]))
    home = Home(Path(params["root"]), params["repo"])
    wish = Wish(
        repo=params["repo"],
        revision=params["revision"] or "main",
        root=home.root,
        endpoint=params["endpoint"],
        mirrors=() if params["source"] else tuple(url.rstrip("/") for url in params["mirrors"]),
        selection=Selection(tuple(params["allow_patterns"]), tuple(params["ignore_patterns"]), params["allow_pickle"]),
        verify=params["verify"],
        offline=params["offline"],
        check_model=params["check_model"],
        max_workers=params["max_workers"],
        lock_wait_seconds=params["lock_timeout"],
        dry_run=dry_run,
    )
    progress = Progress(home.repo)
    patience = Patience(stall_seconds=params["stall_timeout"])

    def connect(url: str) -> Hub:
        # Imported when something has to be fetched: a check of what is there is half as long without them.
        if params["source"]:
            from ansible_collections.llm.serving.plugins.module_utils.hub.archive import Archive  # noqa: PLC0415

            return Archive(Path(params["source"]))
        from ansible_collections.llm.serving.plugins.module_utils.hub.client import HubClient  # noqa: PLC0415

        may_have_token = url == params["endpoint"] or url.startswith("https://")
        return HubClient(
            url,
            params["token"] if may_have_token else None,
            xet=params["xet"],
            cache=home.path / ".client",
            # Where there are other ways, one that leads nowhere is not worth minutes.
            patience=Patience(attempts=2 if wish.mirrors else 4),
        )

    with progress.written_to(None if dry_run else home.progress_file()):
        outcome = Keeper(wish, connect, progress, patience).keep()
    answer = result(outcome)
    if params["keep"] is not None:
        answer["removed"] = prune(home, outcome.manifest.commit, params, dry_run=dry_run)
        answer["changed"] = answer["changed"] or bool(answer["removed"])
    return answer


def prune(home: Home, commit: str, params: dict[str, Any], *, dry_run: bool) -> list[str]:
    wanted = {commit, *(home.known_commit(revision) or revision for revision in params["keep_revisions"])}
    superfluous = home.superfluous(wanted, params["keep"])
    if superfluous and not dry_run:
        with home.locked(params["lock_timeout"]):
            # While this run waited, another may have finished what looked unfinished.
            superfluous = home.superfluous(wanted, params["keep"])
            for other in superfluous:
                home.remove(other)
    return superfluous


def result(outcome: Outcome) -> dict[str, Any]:
    return {
        "changed": outcome.changed,
        "path": str(outcome.path),
        "repo": outcome.manifest.repo or None,
        "commit": outcome.manifest.commit or None,
        "files": describe(outcome.manifest.files),
        "size_bytes": outcome.manifest.size_bytes,
        "download_bytes": outcome.download_bytes,
        "downloaded_bytes": outcome.downloaded_bytes,
        "fetched_from": dict(outcome.fetched_from),
        "fetched": list(outcome.fetched),
        "linked": list(outcome.linked),
        "corrupt": list(outcome.corrupt),
        "verified": outcome.verified,
        "removed": [],
        "warnings": list(outcome.warnings),
        "diff": difference(str(outcome.path), outcome.before, outcome.manifest.files),
    }


def describe(files: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    return [
        {"path": e.path, "size_bytes": e.size_bytes, "digest": str(e.digest) if e.digest.hex else None} for e in files
    ]


def difference(path: str, before: tuple[FileEntry, ...], after: tuple[FileEntry, ...]) -> dict[str, str]:
    def lines(files: tuple[FileEntry, ...]) -> str:
        return "".join(f"{entry.path} {entry.size_bytes} {entry.digest}\n" for entry in files)

    return {"before_header": path, "after_header": path, "before": lines(before), "after": lines(after)}


def absent(params: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    home = Home(Path(params["root"]), check_repo(params["repo"]))
    there = sorted({*home.commits(), *home.unfinished()})
    revision = params["revision"]
    if revision:
        commit = revision if is_commit(check_revision(revision)) else home.known_commit(revision)
        there = [name for name in there if name == commit]
    if there and not dry_run:
        with home.locked(params["lock_timeout"]):
            for commit in there:
                home.remove(commit)
    diff = {"before": "".join(f"{home.snapshot(c)}\n" for c in there), "after": ""}
    return {"changed": bool(there), "repo": params["repo"], "removed": there, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("repo", "path")],
        required_one_of=[("repo", "path")],
    )
    params = module.params
    if params["state"] == "absent" and params["path"]:
        module.fail_json(msg="state=absent removes what this module fetched: name it by repo, not by path.")
    if params["revision"] == "":
        module.fail_json(
            msg="revision: expected a branch, a tag or a commit, found nothing: leave it out for the default."
        )
    # What is written is for services of other users to read.
    os.umask(0o022)
    try:
        check(params)
        action = absent if params["state"] == "absent" else present
        answer = action(params, dry_run=module.check_mode)
    except (ModelError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in answer.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()

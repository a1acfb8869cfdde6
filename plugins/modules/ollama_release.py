#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_release
version_added: 0.1.0
short_description: Install a release of Ollama beside those that are there
description:
  - Fetches a release's archives, holds each against its SHA-256 and unpacks them into a folder of the release's own.
  - The folder appears only once everything in it is right. Nothing that is in service is touched.
  - Archives that end in C(.tar.zst) need C(zstd) and GNU tar on the host.
options:
  version:
    description: The release; the name of its folder.
    type: str
    required: true
  archives:
    description: Names of the archives.
    type: list
    elements: str
    required: true
  source:
    description: Folder with the archives, by HTTP, or on the host as an absolute path.
    type: str
    required: true
  checksums:
    description: SHA-256 of each archive by its name.
    type: dict
    default: {}
  trust_sha256sum:
    description: Whether archives without one are held against C(sha256sum.txt) beside them.
    type: bool
    default: false
  root:
    description: Folder with the releases' folders.
    type: path
    default: /opt/ollama
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: Linux
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Install a release
  llm.serving.ollama_release:
    version: "{{ ollama_version }}"
    archives: [ollama-linux-amd64.tar.zst]
    source: https://mirror.example.org/ollama
    checksums:
      ollama-linux-amd64.tar.zst: "{{ ollama_archive_sha256 }}"
"""

RETURN = r"""
path:
  description: Folder of the release.
  returned: success
  type: str
  sample: /opt/ollama/0.32.15
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ..module_utils.ollama.release import Release, Source, install, installed
from ..module_utils.ollama.values import OllamaError

TIMEOUT_SECONDS = 60


def fetch(address: str) -> Any:
    """Open a URL by Ansible's own means, which know proxies. Raises OSError."""
    return open_url(address, timeout=TIMEOUT_SECONDS, follow_redirects="all", http_agent="llm.serving")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "archives": {"type": "list", "elements": "str", "required": True},
            "source": {"type": "str", "required": True},
            "checksums": {"type": "dict", "default": {}},
            "trust_sha256sum": {"type": "bool", "default": False},
            "root": {"type": "path", "default": "/opt/ollama"},
        },
        supports_check_mode=True,
    )
    options = module.params
    root, version = Path(options["root"]), options["version"]
    before = installed(root)
    changed = version not in before
    try:
        if changed and not module.check_mode:
            source = Source(options["source"], fetch)
            beside = source.checksums() if options["trust_sha256sum"] else {}
            release = Release(version, options["archives"], {**beside, **options["checksums"]})
            install(root, release, source, module.run_command)
    except (OllamaError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": {"releases": before}, "after": {"releases": [*before, version] if changed else before}}
    module.exit_json(changed=changed, path=str(root / version), diff=diff)


if __name__ == "__main__":
    main()

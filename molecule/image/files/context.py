#!/usr/bin/env python3
"""Write what ansible-builder needs into a folder, for a machine that reaches no Galaxy.

  context.py PROJECT FOLDER

The project's own definition, and the archives that Galaxy has of the collections that it names, made again from where
the control node has them installed.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import ansible_collections
import yaml


def pack(name: str, folder: Path) -> str:
    """Write a collection's archive and return its file's name. A bundle lacks files that the list in it names."""
    installed = Path(next(iter(ansible_collections.__path__)), *name.split("."))
    listed = json.loads((installed / "FILES.json").read_text("utf-8"))
    listed["files"] = [entry for entry in listed["files"] if (installed / entry["name"]).exists()]
    files = json.dumps(listed).encode()
    manifest = json.loads((installed / "MANIFEST.json").read_text("utf-8"))
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(files).hexdigest()
    archive = f"{name}.tar.gz"
    with tarfile.open(folder / archive, "w:gz") as out:
        for written, content in (("MANIFEST.json", json.dumps(manifest).encode()), ("FILES.json", files)):
            entry = tarfile.TarInfo(written)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
        for file in listed["files"]:
            if file["name"] != ".":
                out.add(installed / file["name"], file["name"], recursive=False)
    return archive


def main(project: Path, folder: Path) -> None:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    build = ("ansible-galaxy", "collection", "build", "--force", "--output-path", folder, project)
    subprocess.run(build, check=True, stdout=sys.stderr)
    wanted = yaml.safe_load((project / "requirements.yml").read_text("utf-8"))["collections"]
    archives = [pack(entry["name"], folder) for entry in wanted]
    found = [{"name": f"/build/dist/{archive}", "type": "file"} for archive in archives]
    (folder / "requirements.yml").write_text(yaml.safe_dump({"collections": found}), "utf-8")
    definition = yaml.safe_load((project / "execution-environment.yml").read_text("utf-8"))
    definition["additional_build_files"] += [{"src": archive, "dest": "dist"} for archive in archives]
    (folder / "execution-environment.yml").write_text(yaml.safe_dump(definition, sort_keys=False), "utf-8")
    shutil.copy(project / "bindep.txt", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

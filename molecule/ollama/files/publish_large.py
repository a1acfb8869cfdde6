"""Push a model of several hundred MB to a registry: a tiny one with zeros after it. Prints its digest.

usage: publish_large.py REGISTRY NAME MEGABYTES STORE
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path


def upload(registry: str, name: str, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    start = urllib.request.Request(f"{registry}/v2/{name}/blobs/uploads/", method="POST", data=b"")
    with urllib.request.urlopen(start) as answer:
        location = urllib.parse.urljoin(registry, answer.headers["Location"])
    separator = "&" if "?" in location else "?"
    headers = {"Content-Type": "application/octet-stream"}
    finish = urllib.request.Request(f"{location}{separator}digest={digest}", method="PUT", data=data, headers=headers)
    with urllib.request.urlopen(finish):
        return digest


def main() -> None:
    registry, name, megabytes, store = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    manifest = json.loads((store / "manifests/registry.ollama.ai/library/tiny/latest").read_text())
    layer = next(layer for layer in manifest["layers"] if layer["mediaType"].endswith("image.model"))

    def blob(digest: str) -> bytes:
        return (store / "blobs" / digest.replace(":", "-")).read_bytes()

    upload(registry, name, blob(manifest["config"]["digest"]))
    data = blob(layer["digest"]) + bytes(megabytes * 1_000_000)
    layer.update(digest=upload(registry, name, data), size=len(data))
    manifest["layers"] = [layer]
    text = json.dumps(manifest).encode()
    headers = {"Content-Type": manifest["mediaType"]}
    url = f"{registry}/v2/{name}/manifests/latest"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT", data=text, headers=headers)):
        print(hashlib.sha256(text).hexdigest())


if __name__ == "__main__":
    main()

"""A Hub that has its large files in Xet: the front of tools/hub_server.py beside the CAS server of hf_xet's own makers.

`local_cas_server` is a program of the crate xet-client, of the same release as hf_xet:

  cargo install xet-client --version 1.8.0 --locked --features simulation --bin local_cas_server
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible_collections.llm.serving.plugins.module_utils.hub.digests import SHA256, digest_file

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20
TOKEN_SECONDS = 3600


def _hub_server() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hub_server", ROOT / "tools/hub_server.py")
    assert spec is not None  # noqa: S101 - it is a file of ours
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_server"] = module
    spec.loader.exec_module(module)
    return module


hub_server = _hub_server()


class XetHandler(hub_server.Handler):  # type: ignore[name-defined,misc]
    """Says of large files what huggingface.co says of those in Xet."""

    cas_url = ""
    hashes: dict[str, str] = {}  # noqa: RUF012 - set by serving(), by SHA-256
    TOKEN = re.compile(r"/api/models/[^/]+/[^/]+/xet-read-token/[^/]+")

    def answer(self) -> None:
        """Hand out tokens for the CAS server; leave the rest to the front."""
        if self.TOKEN.fullmatch(self.path.partition("?")[0]):
            expires = str(int(time.time()) + TOKEN_SECONDS)
            said = {"X-Xet-Cas-Url": self.cas_url, "X-Xet-Access-Token": "any", "X-Xet-Token-Expiration": expires}
            self.send_plain(
                200, said, json.dumps({"casUrl": self.cas_url, "accessToken": "any", "exp": int(expires)}).encode()
            )
            return
        super().answer()

    def send_plain(self, status: int, headers: Any, body: bytes = b"", length: str | None = None) -> None:
        """Name a file's Xet hash where it is listed, and where it is asked for."""
        if "/tree/" in self.path and status == 200 and body:
            listed = json.loads(body)
            for item in listed:
                if item.get("lfs"):
                    item["xetHash"] = self.hashes[item["lfs"]["oid"]]
            body = json.dumps(listed).encode()
            length = str(len(body))
        super().send_plain(status, headers, body, length)

    def start(self, status: int, headers: Any) -> None:
        """Name a file's Xet hash on its way to the CDN, and there, too, since that is the same host."""
        sha256 = headers.get("X-Linked-Etag") or (headers.get("ETag") if self.path.startswith("/cdn/") else None)
        if sha256:
            repo, commit = re.match(r"(?:/cdn)?/([^/]+/[^/]+)/(?:resolve/)?([^/]+)", self.path).groups()  # type: ignore[union-attr]
            route = f"{self.server.url}/api/models/{repo}/xet-read-token/{commit}"
            headers = {**headers, "X-Xet-Hash": self.hashes[sha256.strip('"')], "Link": f'<{route}>; rel="xet-auth"'}
        super().start(status, headers)


@contextlib.contextmanager
def cas_server(program: Path, work: Path) -> Iterator[str]:
    """Run the CAS server on a free port; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(program), "--data-directory", str(work / "cas"), "--port", str(port)]
    with (work / "cas.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit(f"{program} did not start: see {work / 'cas.log'}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.contextmanager
def xet_hub(work: Path, cas_url: str, repo: str, model: Path) -> Iterator[tuple[Any, str]]:
    """Serve a model whose large files are in the CAS server; yields the front and the commit."""
    import hf_xet  # noqa: PLC0415 - wanted by nothing else here

    large = sorted(model.glob("*.safetensors"))
    token = ("any", int(time.time()) + TOKEN_SECONDS)
    sent = hf_xet.upload_files([str(path) for path in large], cas_url, token, None, None, "model")
    XetHandler.cas_url = cas_url
    XetHandler.hashes = {digest_file(path, SHA256).hex: info.hash for path, info in zip(large, sent)}
    commit = hub_server.publish(work / "hub", repo, model)
    with hub_server.serving(work / "hub", ("127.0.0.1", 0), None, XetHandler) as front:
        yield front, commit

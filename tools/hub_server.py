#!/usr/bin/env python3
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve model directories as repositories of a Hugging Face Hub, for tests and the demo.

  hub_server.py serve --state DIR --listen 127.0.0.1:8090 --model acme/tiny=PATH …
  hub_server.py publish --state DIR acme/tiny=PATH          (a new revision, also while it serves)

Both print each repository's commit as JSON. The same files give the same commit. A repository is a git
repository whose large files are LFS pointers. olah, a Hub mirror, answers the Hub's API from it; a small front
adds what olah does not have for local repositories and huggingface.co does: large files by redirect from a CDN
that knows ranges, access tokens, gated and renamed repositories, an error for a missing revision.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS_SUFFIXES = (".bin", ".gguf", ".model", ".pt", ".pth", ".safetensors")
LFS_MIN_BYTES = 10 * 1024**2  # the Hub stores larger files of any kind in LFS
LFS_POINTER = re.compile(rb"version https://git-lfs[^\n]*\noid sha256:([0-9a-f]{64})\nsize (\d+)\n\Z")
START_SECONDS = 60
PR_SET_PDEATHSIG = 1
AUTHOR = "Hub <hub@example.org> 1700000000 +0000"  # a constant: the commit depends on the files alone


class HubError(Exception):
    """The server cannot be started, or a repository cannot be published."""


@dataclass(frozen=True)
class Repository:
    """One published repository: a git repository below the state directory."""

    path: Path

    def git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git in the repository; raises HubError with git's words."""
        command = ["git", "-C", str(self.path), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise HubError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def commit_of(self, revision: str) -> str:
        """Resolve a branch, tag or commit; raises HubError when there is none."""
        return (
            self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        )

    def blob(self, commit: str, path: str) -> bytes:
        """Read a file of a commit; raises HubError when there is none."""
        return self.git("cat-file", "blob", f"{commit}:{path}")

    def lfs_object(self, sha256: str) -> Path:
        """Where git LFS keeps the content behind a pointer."""
        return self.path / ".git/lfs/objects" / sha256[:2] / sha256[2:4] / sha256


def publish(state: Path, repo_id: str, source: Path) -> str:
    """Commit a directory's files to the main branch of a repository; return the commit."""
    if not source.is_dir():
        raise HubError(f"{source} is no directory: a repository is published from a directory of files.")
    repository = Repository(state / "repositories/models" / repo_id)
    if not repository.path.exists():
        repository.path.mkdir(parents=True)
        repository.git("init", "--quiet", "--initial-branch=main")
    parent = repository.git("for-each-ref", "--format=%(objectname)", "refs/heads/main").decode().strip()
    repository.git("fast-import", "--quiet", "--force", stdin=b"".join(import_stream(repository, source, parent)))
    if parent and repository.git("diff", "--name-only", parent, "main") == b"":
        repository.git("update-ref", "refs/heads/main", parent)
    return repository.commit_of("main")


def import_stream(repository: Repository, source: Path, parent: str) -> Iterator[bytes]:
    """Compose a commit of all files below `source`, large ones as LFS pointers, for git fast-import."""
    yield f"commit refs/heads/main\ncommitter {AUTHOR}\ndata 7\nPublish\n".encode()
    if parent:
        yield f"from {parent}\n".encode()
    yield b"deleteall\n"
    for path in sorted(p for p in source.rglob("*") if p.is_file() and ".git" not in p.relative_to(source).parts):
        name = path.relative_to(source).as_posix()
        large = path.suffix in LFS_SUFFIXES or path.stat().st_size >= LFS_MIN_BYTES
        content = store_large(repository, path) if large else path.read_bytes()
        yield f"M 100644 inline {json.dumps(name)}\ndata {len(content)}\n".encode() + content + b"\n"


def store_large(repository: Repository, path: Path) -> bytes:
    """Copy a file into the repository's LFS store; return its pointer."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    target = repository.lfs_object(sha256)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {path.stat().st_size}\n".encode()


def die_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def olah(state: Path) -> Iterator[int]:
    """Run olah on the published repositories on a free loopback port; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"host": "127.0.0.1", "port": port, "repos-path": str(state / "cache")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    lines += [f"mirrors-path = [{json.dumps(str(state / 'repositories'))}]", "[accessibility]", "offline = true"]
    config = state / "olah.toml"
    config.write_text("\n".join(["[basic]", *lines]) + "\n", encoding="utf-8")
    command = [str(Path(sys.executable).parent / "olah-cli"), "-c", str(config), "--log-path", str(state / "log")]
    log_path = state / "olah.log"
    with log_path.open("wb") as log:
        # preexec_fn is safe here: no thread of this process runs yet.
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)  # noqa: PLW1509
    try:
        wait_for_port(port, process, log_path)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until olah accepts connections; raises HubError with its last words when it ends instead."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise HubError(f"olah did not start:\n{log_path.read_text(errors='replace')[-2000:]}")


@dataclass
class Rules:
    """What the front decides itself: `tokens` is who may read `gated` repositories; None is no limit."""

    tokens: frozenset[str] = frozenset()
    gated: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    bytes_per_second: int | None = None
    line_bytes_per_second: int | None = None


class Front(http.server.ThreadingHTTPServer):
    """The address that clients speak to."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], state: Path, olah_port: int, rules: Rules, handler: type[Handler]):
        super().__init__(address, handler)
        self.state = state
        self.olah_port = olah_port
        self.rules = rules
        self.line = threading.Lock()
        self.log = (state / "requests.jsonl").open("a", encoding="utf-8", buffering=1)

    @property
    def url(self) -> str:
        """The value for HF_ENDPOINT."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def repository(self, repo_id: str) -> Repository | None:
        """Find a published repository."""
        path = self.state / "repositories/models" / repo_id
        return Repository(path) if (path / ".git").is_dir() else None


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection to the front."""

    protocol_version = "HTTP/1.1"
    server: Front
    API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?:revision|tree|paths-info)/(?P<revision>[^/?]+))?")
    RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    CDN = re.compile(r"/cdn/(?P<repo>[^/]+/[^/]+)/(?P<commit>[0-9a-f]{40})/(?P<sha256>[0-9a-f]{64})")

    def do_GET(self) -> None:
        """Answer GET."""
        self.sent_bytes = 0
        self.status = 0
        with contextlib.suppress(ConnectionError):
            self.answer()
        entry = {"method": self.command, "path": self.path, "status": self.status, "bytes": self.sent_bytes}
        entry["range"] = self.headers.get("Range")
        self.server.log.write(json.dumps(entry) + "\n")

    # http.server finds them by these names. A mirror asks by POST what some paths hold.
    do_HEAD = do_GET  # noqa: N815
    do_POST = do_GET  # noqa: N815

    def answer(self) -> None:
        """Decide who answers: the CDN, an error, or olah."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if found := self.CDN.fullmatch(path):
            self.send_large(self.server.repository(found["repo"]), found["commit"], found["sha256"])
            return
        found = self.RESOLVE.fullmatch(path) or self.API.match(path)
        if not found:
            self.pass_on(self.path)
            return
        repo_id, revision = found["repo"], found["revision"] or "main"
        repository = self.server.repository(repo_id)
        if new := self.server.rules.renamed.get(repo_id):
            self.send_plain(307, {"Location": self.path.replace(repo_id, new, 1)})
        elif refusal := self.refusal(repo_id, is_file="path" in found.groupdict()):
            self.send_plain(*refusal)
        elif repository is None:
            self.send_plain(401, hub_error("RepoNotFound", "Repository not found"))
        else:
            self.answer_for(repository, found, revision)

    def answer_for(self, repository: Repository, found: re.Match[str], revision: str) -> None:
        """Answer a request for a repository that exists and may be read."""
        try:
            commit = repository.commit_of(revision)
        except HubError:
            self.send_plain(404, hub_error("RevisionNotFound", f"Invalid rev id: {revision}"))
            return
        if "path" not in found.groupdict():
            # olah knows a repository's newest commit only by an explicit revision.
            target = (
                self.path
                if found["revision"]
                else self.path.replace(found["repo"], f"{found['repo']}/revision/main", 1)
            )
            self.pass_on(re.sub(r"(/tree/[^/?]+)(?=\?|$)", r"\1/", target))
            return
        try:
            pointer = LFS_POINTER.match(repository.blob(commit, found["path"]))
        except HubError:
            self.send_plain(404, hub_error("EntryNotFound", "Entry not found"))
            return
        if not pointer:
            self.pass_on(self.path)
            return
        sha256, size_bytes = pointer[1].decode(), pointer[2].decode()
        target = f"http://{self.headers['Host']}/cdn/{found['repo']}/{commit}/{sha256}"
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": size_bytes}
        self.send_plain(302, {"X-Repo-Commit": commit, **linked, "Location": target})

    def refusal(self, repo_id: str, *, is_file: bool) -> tuple[int, dict[str, str]] | None:
        """Say no to a wrong token, and to gated files without a good one, in the Hub's words."""
        rules = self.server.rules
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in rules.tokens:
            return 401, hub_error("", "Invalid credentials in Authorization header")
        if is_file and repo_id in rules.gated and not token:
            return 401, hub_error("GatedRepo", f"Access to model {repo_id} is restricted. Please log in.")
        return None

    def pass_on(self, target: str) -> None:
        """Let olah answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.olah_port, timeout=60)
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content_type = {"Content-Type": self.headers["Content-Type"]} if asked else {}
        with contextlib.closing(connection):
            connection.request(self.command, target, asked or None, content_type)
            response = connection.getresponse()
            body = response.read()
            kept = ("content-type", "etag", "x-repo-commit", "x-error-code", "x-error-message")
            headers = {name: value for name, value in response.getheaders() if name.lower() in kept}
            length = response.getheader("content-length") if self.command == "HEAD" else str(len(body))
            self.send_plain(response.status, headers, body, length)

    def send_plain(self, status: int, headers: Mapping[str, str], body: bytes = b"", length: str | None = None) -> None:
        """Send a short answer."""
        self.start(status, {**headers, "Content-Length": length or str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)
            self.sent_bytes += len(body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers."""
        self.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_large(self, repository: Repository | None, commit: str, sha256: str) -> None:
        """Send an LFS object or the part of it that the Range header names."""
        path = repository.lfs_object(sha256) if repository else None
        if path is None or not path.exists():
            self.send_plain(404, {})
            return
        size_bytes = path.stat().st_size
        # The Hub's client follows a redirect to the same host, and then wants the Hub's headers here.
        headers = {"ETag": f'"{sha256}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        first, last = 0, size_bytes - 1
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                self.send_plain(416, {"Content-Range": f"bytes */{size_bytes}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size_bytes}"
        self.start(206 if asked else 200, {**headers, "Content-Length": str(last + 1 - first)})
        if self.command != "HEAD":
            self.send_body(path, first, last + 1 - first)

    def send_body(self, path: Path, first: int, count: int) -> None:
        """Send `count` bytes of a file from the offset `first`, at the rates of the rules."""
        self.wfile.flush()
        limit, line = self.server.rules.bytes_per_second, self.server.rules.line_bytes_per_second
        step = limit // 10 or 1 if limit else 1 << 20
        with path.open("rb") as file:
            while self.sent_bytes < count:
                size = min(step, count - self.sent_bytes)
                sent = os.sendfile(self.connection.fileno(), file.fileno(), first + self.sent_bytes, size)
                if not sent:
                    break
                self.sent_bytes += sent
                if limit:
                    time.sleep(sent / limit)
                if line:
                    # Whoever sends holds the line for as long as these bytes take on it.
                    with self.server.line:
                        time.sleep(sent / line)

    def log_message(self, *_args: Any) -> None:
        """Keep quiet: requests are in requests.jsonl."""


def hub_error(code: str, message: str) -> dict[str, str]:
    """Name what is wrong as the Hub does, by headers."""
    return {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}


@contextlib.contextmanager
def serving(
    state: Path, address: tuple[str, int], rules: Rules | None = None, handler: type[Handler] = Handler
) -> Iterator[Front]:
    """Serve what is published below `state`, in this process, until the block ends."""
    (state / "repositories/models").mkdir(parents=True, exist_ok=True)
    with olah(state) as port, Front(address, state, port, rules or Rules(), handler) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            front.log.close()


def pair(text: str) -> tuple[str, str]:
    """Split ORG/NAME=VALUE."""
    repo_id, equals, value = text.partition("=")
    if not equals or repo_id.count("/") != 1:
        raise argparse.ArgumentTypeError(f"expected ORG/NAME=VALUE, found {text!r}")
    return repo_id, value


def address(text: str) -> tuple[str, int]:
    """Split HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, found {text!r}")
    return host, int(port)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="publish and serve until interrupted")
    serve.add_argument("--listen", type=address, default=("127.0.0.1", 8090), help="HOST:PORT; port 0 picks one")
    serve.add_argument("--model", type=pair, action="append", default=[], help="ORG/NAME=PATH to publish first")
    serve.add_argument("--gated", action="append", default=[], help="ORG/NAME whose files need a token")
    serve.add_argument("--renamed", type=pair, action="append", default=[], help="OLD/NAME=NEW/NAME")
    serve.add_argument("--token-file", type=Path, help="accepted access tokens, one a line")
    serve.add_argument("--ready-file", type=Path, help="write the printed JSON there, too, once it serves")
    serve.add_argument("--limit-rate", type=int, help="bytes per second and connection for large files")
    serve.add_argument("--line-rate", type=int, help="bytes per second for large files over all connections together")
    serve.add_argument("--while", dest="while_exists", type=Path, help="end when this path is gone")
    publisher = commands.add_parser("publish", help="commit a directory as a new revision")
    publisher.add_argument("models", type=pair, nargs="+", metavar="ORG/NAME=PATH")
    for command in (serve, publisher):
        command.add_argument("--state", type=Path, help="directory of the repositories (default: a temporary one)")
    return parser.parse_args(argv)


def run_server(arguments: argparse.Namespace, state: Path) -> None:
    """Publish, serve and wait for a signal."""
    commits = {repo_id: publish(state, repo_id, Path(path)) for repo_id, path in arguments.model}
    tokens = frozenset(arguments.token_file.read_text().split()) if arguments.token_file else frozenset()
    rules = Rules(
        tokens, frozenset(arguments.gated), dict(arguments.renamed), arguments.limit_rate, arguments.line_rate
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with serving(state, arguments.listen, rules) as front:
        ready = json.dumps({"endpoint": front.url, "commits": commits, "state": str(state)})
        print(ready, flush=True)
        if arguments.ready_file:
            part = arguments.ready_file.with_suffix(".part")
            part.write_text(ready + "\n", encoding="utf-8")
            part.replace(arguments.ready_file)
        while not stop.wait(1.0):
            if arguments.while_exists and not arguments.while_exists.exists():
                break


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse_arguments(argv)
    with contextlib.ExitStack() as stack:
        state = arguments.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-")))
        state.mkdir(parents=True, exist_ok=True)
        try:
            if arguments.command == "publish":
                commits = {repo_id: publish(state, repo_id, Path(path)) for repo_id, path in arguments.models}
                print(json.dumps({"commits": commits}))
            else:
                run_server(arguments, state)
        except (HubError, OSError) as error:
            raise SystemExit(f"hub_server: {error}") from error


if __name__ == "__main__":
    main()

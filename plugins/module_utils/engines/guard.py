"""Starts an engine and sees to it that it works: the main process of every vllm@ unit, and of ollama.service.

  guard.py CONFIG|URL HANG_SECONDS COMMAND…

An engine that hangs neither ends nor says so: its API may even answer /health while nobody computes. So it is asked
for one token when it has not computed for a while; one that owes the token for HANG_SECONDS is killed, and systemd
starts it again. 0 asks for nothing. CONFIG is the instance's file of options, which COMMAND reads as well. An engine
that computes by processes of its own, and looks after them, is only to answer at a URL.

A model that several hosts share (`nnodes`) is loaded by all of them or by none. Members hold a connection to the
first one; when all are there each starts its part, and when one is lost each ends it and waits for all anew. Ranks
that were left behind by a peer never notice by themselves.

This runs on managed hosts as a program of its own, hence without an import of ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Any of them moves with every step of the engine.
PROGRESS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:iteration_tokens_total")
LONGEST_PAUSE_SECONDS = 15.0
STOP_SECONDS = 15.0
RETRY_SECONDS = 1.0
# What an engine's failure and its cause, the loss of a member, may be apart.
BREAK_SECONDS = 10.0
GO = b"go\n"
SIOCGIFADDR = 0x8915
# Members meet beside the port where the ranks do.
LINK_OFFSET = 10000


@dataclass(frozen=True)
class Options:
    """What of an instance's configuration matters here."""

    host: str
    port: int
    tls: bool
    model: str = ""  # that is asked for a token; none where an answer has to do
    nodes: int = 1
    rank: int = 0
    head: str = ""
    head_port: int = 0
    health: str = "/health"

    @classmethod
    def of(cls, source: str) -> Options:
        """Read a file that the collection wrote, or take what a URL says."""
        url = urlsplit(source)
        if url.scheme not in ("http", "https"):
            return cls.read(Path(source))
        return cls(url.hostname or "127.0.0.1", url.port or 80, url.scheme == "https", health=url.path or "/")

    @classmethod
    def read(cls, path: Path) -> Options:
        """Read a file that the collection wrote: a key and a word or a JSON value on each line."""
        found: dict[str, Any] = {}
        for line in path.read_text("utf-8").splitlines():
            key, colon, value = line.partition(": ")
            if colon and not line.startswith("#"):
                found[key] = _value(value)
        served = found.get("served-model-name") or found.get("model") or ""
        host = str(found.get("host") or "127.0.0.1")
        return cls(
            host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host),  # noqa: S104
            port=int(found.get("port") or 8000),
            tls=bool(found.get("ssl-certfile")),
            model=str(served[0] if isinstance(served, list) else served),
            nodes=int(found.get("nnodes") or 1),
            rank=int(found.get("node-rank") or 0),
            head=str(found.get("master-addr") or ""),
            head_port=int(found.get("master-port") or 0) + LINK_OFFSET,
        )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Api:
    """The engine's API, as seen from its own host."""

    def __init__(self, options: Options, key: str = "") -> None:
        self.options = options
        self.headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def is_up(self, timeout_seconds: float) -> bool:
        """Tell whether it says that it is well."""
        return self._ask("GET", self.options.health, None, timeout_seconds)[0] == http.client.OK

    def computed(self, timeout_seconds: float) -> float | None:
        """Return a count that grows with every step of the engine; None when it is not told."""
        status, body = self._ask("GET", "/metrics", None, timeout_seconds)
        lines = body.decode("utf-8", "replace").splitlines() if status == http.client.OK else []
        counts = [line for line in lines if line.startswith(PROGRESS) and "_bucket" not in line]
        values = [float(line.rpartition(" ")[2]) for line in counts]
        return sum(values) if values else None

    def replies(self, timeout_seconds: float) -> bool:
        """Tell whether it generates a token. A model that generates none says so at once, which has to do."""
        body = {"model": self.options.model, "prompt": "a", "max_tokens": 1}
        status = self._ask("POST", "/v1/completions", body, timeout_seconds)[0]
        return status is not None and status < http.client.INTERNAL_SERVER_ERROR

    def _ask(self, method: str, path: str, body: Any, timeout_seconds: float) -> tuple[int | None, bytes]:
        """Return status and body, or None when there is no answer in time."""
        connection = self._connect(timeout_seconds)
        try:
            connection.request(method, path, json.dumps(body) if body else None, self.headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def _connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        where = (self.options.host, self.options.port)
        if not self.options.tls:
            return http.client.HTTPConnection(*where, timeout=timeout_seconds)
        # Only whether it answers is asked, by this very host.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(*where, timeout=timeout_seconds, context=context)


class Pulse:
    """Whether an engine works, judged again and again."""

    def __init__(self, api: Api, hang_seconds: float) -> None:
        self.api = api
        self.hang_seconds = hang_seconds
        self.pause_seconds = min(LONGEST_PAUSE_SECONDS, hang_seconds / 4)
        self._computed: float | None = None

    @property
    def symptom(self) -> str:
        """What an engine that hangs does not do."""
        return "computed" if self.api.options.model else "answered"

    def is_up(self) -> bool:
        """Tell whether the engine has come up: loading may take as long as it takes."""
        return self.api.is_up(self.hang_seconds / 2)

    def beats(self) -> bool:
        """Tell whether it works: it computed since the last look, or answers, or computes for others meanwhile."""
        timeout = self.hang_seconds / 2
        if not self.api.is_up(timeout):
            return False
        if not self.api.options.model:
            return True
        return self._has_computed(timeout) or self.api.replies(timeout) or self._has_computed(timeout)

    def _has_computed(self, timeout_seconds: float) -> bool:
        before, self._computed = self._computed, self.api.computed(timeout_seconds)
        return None not in (before, self._computed) and before != self._computed


class Engine:
    """The engine's processes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(command, env=dict(environment), start_new_session=True)
        self.ended = threading.Event()

    def wait(self) -> int:
        """Return how it ended, once it has."""
        code = self.process.wait()
        self.ended.set()
        return code

    def stop(self) -> None:
        """Ask it to end."""
        self.process.terminate()

    def kill(self) -> None:
        """End all of it, stopped or not."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def watch(engine: Engine, pulse: Pulse) -> None:
    """Kill the engine when it hangs; return when it has ended."""
    while not pulse.is_up():
        if engine.ended.wait(RETRY_SECONDS):
            return
    alive = time.monotonic()
    while not engine.ended.wait(pulse.pause_seconds):
        if pulse.beats():
            alive = time.monotonic()
        elif time.monotonic() - alive > pulse.hang_seconds and not engine.ended.is_set():
            seconds = f"{pulse.hang_seconds:g} seconds"
            say(f"the engine has not {pulse.symptom} for {seconds}, though it was asked to: it is killed")
            engine.kill()
            return


class Link:
    """What members of a model know each other by. Broken once any of them is lost."""

    def __init__(self, sockets: Sequence[socket.socket], address: str) -> None:
        self.sockets = sockets
        self.address = address
        self.broken = threading.Event()

    def watch(self, engine: Engine) -> None:
        """Kill the engine when a member is lost. Returns a while after its end, whose cause may show only then."""
        ended = 0.0
        with selectors.DefaultSelector() as selector:
            for member in self.sockets:
                selector.register(member, selectors.EVENT_READ)
            while not ended or time.monotonic() - ended < BREAK_SECONDS:
                if any(is_lost(key.fileobj) for key, _mask in selector.select(RETRY_SECONDS)):
                    say("a host that shares this model is gone: its part here ends, and starts again with the others")
                    self.broken.set()
                    engine.kill()
                    return
                if engine.ended.is_set():
                    ended = ended or time.monotonic()

    def close(self) -> None:
        """Let the others know that this one has ended."""
        for member in self.sockets:
            member.close()


def is_lost(member: Any) -> bool:
    """Tell whether a connection that became readable has ended; members send nothing while they work."""
    try:
        return not member.recv(64)
    except OSError:
        return True


def keep_alive(member: socket.socket) -> socket.socket:
    """Have a host that is gone without a word noticed within 20 seconds."""
    member.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        member.setsockopt(socket.IPPROTO_TCP, option, value)
    return member


def listen(options: Options) -> socket.socket:
    """The first host's door to the others."""
    try:
        family = socket.getaddrinfo(options.head, options.head_port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((options.head, options.head_port), family=family, backlog=64)
    except OSError as error:
        raise OSError(
            f"expected to listen for other members on {options.head} port {options.head_port}, found: {error}; set "
            "vllm_member_address to an address of this host"
        ) from error


def gather(options: Options, door: socket.socket) -> Link:
    """Wait on the first host until every other one is connected, and let all start."""
    members: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        while len(members) < options.nodes - 1:
            for key, _mask in selector.select():
                if key.fileobj is door:
                    _admit(door.accept()[0], options, members, selector)
                elif members.get(key.data) is key.fileobj and is_lost(key.fileobj):
                    _dismiss(key.data, members, selector)
    for member in members.values():
        with contextlib.suppress(OSError):  # Noticed at once by whoever watches the link.
            member.sendall(GO)
    return Link(list(members.values()), options.head)


def _admit(
    member: socket.socket, options: Options, members: dict[int, socket.socket], selector: selectors.BaseSelector
) -> None:
    keep_alive(member).settimeout(BREAK_SECONDS)
    try:
        rank = int(member.recv(64))
    except (OSError, ValueError):
        rank = -1
    if not 0 < rank < options.nodes:
        member.close()
        return
    if rank in members:
        _dismiss(rank, members, selector)
    members[rank] = member
    selector.register(member, selectors.EVENT_READ, rank)
    say(f"host {rank} of 1 to {options.nodes - 1} is here, {len(members)} altogether")


def _dismiss(rank: int, members: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    member = members.pop(rank)
    selector.unregister(member)
    member.close()


def join(options: Options) -> Link:
    """Wait on another host for the first one, and until it lets all start."""
    while True:
        with contextlib.suppress(OSError):
            member = keep_alive(socket.create_connection((options.head, options.head_port), timeout=BREAK_SECONDS))
            member.settimeout(None)
            member.sendall(b"%d" % options.rank)
            if member.recv(64) == GO:
                return Link([member], str(member.getsockname()[0]))
            member.close()
        time.sleep(RETRY_SECONDS)


def member_environment(address: str) -> Iterator[tuple[str, str]]:
    """What tells the engine by which of its host's addresses and interfaces it reaches the others."""
    yield "VLLM_HOST_IP", address
    interface = interface_of(address)
    if interface:
        yield "GLOO_SOCKET_IFNAME", interface
        yield "NCCL_SOCKET_IFNAME", interface


def interface_of(address: str) -> str:
    """Return the interface that has an IPv4 address; nothing where none is found."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _number, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                found = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return ""


class Guard:
    """Runs the engine until it ends for good."""

    def __init__(self, options: Options, hang_seconds: float, command: Sequence[str]) -> None:
        self.options = options
        self.hang_seconds = hang_seconds
        self.command = command
        self.engine: Engine | None = None
        self.is_stopping = False

    def run(self) -> int:
        """Return how the engine ended: a signal's number is negative."""
        signal.signal(signal.SIGTERM, self._stop)
        if self.options.nodes == 1:
            return self._round(None)
        door = listen(self.options) if self.options.rank == 0 else None
        while True:
            link = gather(self.options, door) if door else join(self.options)
            code = self._round(link)
            is_over = self.is_stopping or not (code and link.broken.wait(BREAK_SECONDS))
            link.close()
            if is_over:
                return 0 if self.is_stopping else code

    def _round(self, link: Link | None) -> int:
        extra = dict(member_environment(link.address)) if link else {}
        self.engine = engine = Engine(self.command, {**extra, **os.environ})
        if self.is_stopping:
            engine.stop()
        if self.hang_seconds and self.options.rank == 0:
            api = Api(self.options, os.environ.get("VLLM_API_KEY", ""))
            threading.Thread(target=watch, args=(engine, Pulse(api, self.hang_seconds)), daemon=True).start()
        if link:
            threading.Thread(target=link.watch, args=(engine,), daemon=True).start()
        code = engine.wait()
        if code == 0 and not self.is_stopping:
            # An API server whose engine has died ends politely; systemd would take that for the end of its work.
            say("the engine has ended without being asked to")
            return 1
        return code

    def _stop(self, _number: int, _frame: Any) -> None:
        self.is_stopping = True
        if self.engine is None or self.engine.ended.is_set():
            raise SystemExit(0)
        self.engine.stop()
        if self.options.nodes > 1:
            # A part whose others are gone does not end by itself.
            timer = threading.Timer(STOP_SECONDS, self.engine.kill)
            timer.daemon = True
            timer.start()


def say(text: str) -> None:
    """Write a line into the journal."""
    sys.stderr.write(f"guard: {text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Run the engine; end as it ended, so that systemd judges by the engine's own end."""
    source, hang_seconds, *command = arguments
    try:
        code = Guard(Options.of(source), float(hang_seconds), command).run()
    except OSError as error:
        say(f"the engine cannot be started: {error}")
        return 1
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL is not to be handled.
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

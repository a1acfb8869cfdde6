"""Models as they are wanted, against models as the server has them.

Identity is the digest that the server lists: a model of a registry is the wanted one when it has the pinned
digest, one that was created is when both its recipe and the digest that came of it are those on record. The
record is a small file on the host; where it is lost the model is created anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..openai.client import ApiError, Server
from . import api
from .modelfile import Modelfile, parse, same_parameters
from .store import full_name
from .values import OllamaError

CHUNK_BYTES = 1 << 20
RETRY_SECONDS = 2.0
RESTART_SECONDS = 60.0
REPORT_STEP_PERCENT = 10
DIGEST = re.compile("[0-9a-f]{12,64}")

# What the server says when a registry fails, and what to do about it.
EXPLANATIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), explanation)
    for pattern, explanation in (
        (
            "file does not exist|manifest unknown",
            "the registry has no such model ({text}). Check its name and tag.",
        ),
        (
            "no such host|connection refused|i/o timeout|no route to host",
            "the registry cannot be reached from this host ({text}). Check the name, the network and HTTPS_PROXY.",
        ),
        (
            "HTTP response to HTTPS client|insecure protocol http",
            "the registry speaks plain HTTP ({text}). Set `insecure: true` for this model if that is meant.",
        ),
        (
            "unauthorized",
            "the registry refuses this host ({text}). Its key is in .ollama/id_ed25519.pub of the service's home.",
        ),
        (
            "no Location header",
            "the registry sends files itself ({text}); this server fetches new ones only from where a registry "
            "redirects it to. Give the registry an object store or a redirect, or bring the file and use `from`.",
        ),
        (
            "certificate has expired or is not yet valid",
            "the registry's certificate is not trusted ({text}). Set the host's clock; if it is right, have the "
            "certificate renewed.",
        ),
        (
            "certificate",
            "the registry's certificate is not trusted ({text}). Add its authority to the host's store.",
        ),
    )
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """A model as the operator wants it."""

    name: str
    state: str = "present"
    digest: str = ""
    source: str = ""
    modelfile: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    system: str = ""
    quantize: str = ""
    insecure: bool = False

    @property
    def created(self) -> bool:
        """Whether it is made on the host instead of pulled under its own name."""
        return bool(self.source or self.modelfile)


@dataclass
class Outcome:
    """What was done to one model, or would be."""

    name: str
    changed: bool
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    transferred_bytes: int = 0
    resumed_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


def wish_from(entry: Mapping[str, Any]) -> Wish:
    """Read an operator's entry. Raises OllamaError."""
    digest = (entry.get("digest") or "").removeprefix("sha256:") if entry.get("digest") else ""
    wish = Wish(
        name=full_name(entry["name"]),
        state=entry.get("state") or "present",
        digest=digest.lower(),
        source=entry.get("from") or "",
        modelfile=entry.get("modelfile") or "",
        parameters={key: value for key, value in (entry.get("parameters") or {}).items() if value is not None},
        template=entry.get("template") or "",
        system=entry.get("system") or "",
        quantize=entry.get("quantize") or "",
        insecure=bool(entry.get("insecure")),
    )
    if entry.get("digest") and not DIGEST.fullmatch(wish.digest):
        raise OllamaError(f"{wish.name}: expected digest as 12 to 64 hexadecimal digits, found {entry['digest']!r}")
    if wish.source and wish.modelfile:
        raise OllamaError(f"{wish.name}: expected either from or modelfile, found both")
    if wish.digest and (wish.created or wish.parameters):
        raise OllamaError(
            f"{wish.name}: a digest pins a model as the registry has it; parameters make another one of it. "
            "Pin the base under its own name and create this one `from` it."
        )
    if (wish.template or wish.system or wish.quantize) and not wish.created:
        raise OllamaError(f"{wish.name}: template, system and quantize need `from` or `modelfile`")
    return wish


class Records:
    """What was created from what, and the hashes of large files, kept on the host."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            data = {}
        self._recipes: dict[str, dict[str, str]] = _part(data, "recipes")
        self._hashes: dict[str, str] = _part(data, "hashes")
        self._dirty = False

    def is_made(self, name: str, recipe: str, digest: str) -> bool:
        """Whether this model came of this recipe and was not changed since."""
        return self._recipes.get(name) == {"recipe": recipe, "digest": digest}

    def made(self, name: str, recipe: str, digest: str) -> None:
        """Remember what came of a recipe."""
        self._recipes[name] = {"recipe": recipe, "digest": digest}
        self._dirty = True

    def forget(self, name: str) -> None:
        """Drop a model."""
        self._dirty |= self._recipes.pop(name, None) is not None

    def sha256(self, path: Path) -> str:
        """Hash a file, unless it is the one hashed before by size and time."""
        stat = path.stat()
        key = f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
        if key not in self._hashes:
            self._hashes = {name: value for name, value in self._hashes.items() if not name.startswith(f"{path} ")}
            self._hashes[key] = _sha256(path)
            self._dirty = True
        return self._hashes[key]

    def save(self) -> None:
        """Write the file when something is new. Raises OSError."""
        if not self._dirty:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"recipes": self._recipes, "hashes": self._hashes}, indent=2, sort_keys=True)
        stage = self._path.with_suffix(".new")
        stage.write_text(text + "\n", "utf-8")
        stage.replace(self._path)


class Manager:
    """Brings models into the wanted state by the server's API."""

    def __init__(self, server: Server, records: Records, check: bool, say: Say, retries: int = 3) -> None:
        self._server = server
        self._records = records
        self._check = check
        self._say = say
        self._retries = retries
        self._tags = api.tags(server)

    def apply(self, wishes: Sequence[Wish]) -> list[Outcome]:
        """Apply wishes in order. Raises ApiError, OllamaError and OSError; what was done before stays done."""
        try:
            return [self._apply(wish) for wish in wishes]
        finally:
            if not self._check:
                self._records.save()

    def _apply(self, wish: Wish) -> Outcome:
        try:
            if wish.state == "absent":
                return self._absent(wish)
            return self._create(wish) if wish.created else self._pull(wish)
        except ApiError as error:
            raise OllamaError(f"{wish.name}: {_explained(error)}") from error

    def _absent(self, wish: Wish) -> Outcome:
        before = self._entry(wish.name)
        if before is None:
            return Outcome(wish.name, False, "absent", None, None)
        if not self._check:
            api.delete(self._server, wish.name)
            self._tags.pop(wish.name, None)
            self._records.forget(wish.name)
        return Outcome(wish.name, True, "deleted", before, None)

    def _pull(self, wish: Wish) -> Outcome:
        before = self._entry(wish.name)
        outcome = Outcome(wish.name, False, "present", before, before)
        pinned = before is not None and (not wish.digest or str(before["digest"]).startswith(wish.digest))
        if not pinned or wish.state == "latest":
            if self._check:
                # Whether the registry has another one can only be told by pulling.
                outcome.changed = not pinned
                outcome.action = "pulled" if outcome.changed else "present"
                outcome.after = before if pinned else {"name": wish.name, "digest": wish.digest or None}
                return outcome
            self._pull_now(wish, wish.name, outcome)
            outcome.after = self._entry(wish.name)
            outcome.changed = outcome.after != before
            outcome.action = "pulled" if outcome.changed else "present"
            self._verify_digest(wish, outcome.after)
        if wish.parameters:
            self._with_parameters(wish, outcome)
        return outcome

    def _with_parameters(self, wish: Wish, outcome: Outcome) -> None:
        """Make the pulled model anew with the parameters, unless it has them."""
        if outcome.after and same_parameters(wish.parameters, api.show(self._server, wish.name).get("parameters", "")):
            return
        outcome.after = {**(outcome.after or {"name": wish.name}), "digest": None}
        if not self._check:
            self._run("/api/create", {"model": wish.name, "from": wish.name, "parameters": dict(wish.parameters)})
            outcome.after = self._entry(wish.name)
        outcome.changed = outcome.after != outcome.before
        if outcome.changed and outcome.action == "present":
            outcome.action = "parameters set"

    def _create(self, wish: Wish) -> Outcome:
        recipe = self._recipe(wish)
        files = self._files(recipe.source) if recipe.source.startswith("/") else {}
        base = "" if files else full_name(recipe.source)
        before = self._entry(wish.name)
        outcome = Outcome(wish.name, True, "created", before, {"name": wish.name, "digest": None})
        base_entry = self._entry(base) if base else None
        body = self._body(wish, recipe, files, base)
        key = _key(body, str(base_entry["digest"]) if base_entry else "")
        if before and (files or base_entry) and self._records.is_made(wish.name, key, str(before["digest"])):
            return Outcome(wish.name, False, "present", before, before)
        if self._check:
            return outcome
        if base and base_entry is None:
            self._pull_now(wish, base, outcome)
            base_entry = self._entry(base)
            key = _key(body, str(base_entry["digest"]) if base_entry else "")
        for path, digest in {**files, **self._files_of(recipe.adapters)}.items():
            self._say(f"{wish.name}: giving {path} to the server")
            if api.upload_blob(self._server, f"sha256:{digest}", Path(path), lambda _count: None):
                outcome.transferred_bytes += Path(path).stat().st_size
        self._run("/api/create", body)
        outcome.after = self._entry(wish.name)
        if outcome.after is None:
            raise ApiError("the server says it was created and does not list it")
        self._records.made(wish.name, key, str(outcome.after["digest"]))
        return outcome

    def _recipe(self, wish: Wish) -> Modelfile:
        recipe = parse(wish.modelfile) if wish.modelfile else Modelfile(source=wish.source)
        recipe.parameters.update(wish.parameters)
        recipe.template = wish.template or recipe.template
        recipe.system = wish.system or recipe.system
        if recipe.source.startswith((".", "~")):
            raise OllamaError(f"{wish.name}: expected FROM as a model or an absolute path, found {recipe.source!r}")
        return recipe

    def _files(self, source: str) -> dict[str, str]:
        path = Path(source)
        if not path.is_file():
            raise OllamaError(f"expected a GGUF file at {source} on this host, found none")
        return {source: self._records.sha256(path)}

    def _files_of(self, sources: Sequence[str]) -> dict[str, str]:
        return {path: digest for source in sources for path, digest in self._files(source).items()}

    def _body(self, wish: Wish, recipe: Modelfile, files: Mapping[str, str], base: str) -> dict[str, Any]:
        def named(digests: Mapping[str, str]) -> dict[str, str]:
            return {Path(path).name: f"sha256:{digest}" for path, digest in digests.items()}

        wanted = {
            "from": base,
            "files": named(files),
            "adapters": named(self._files_of(recipe.adapters)),
            "parameters": recipe.parameters,
            "template": recipe.template,
            "system": recipe.system,
            "messages": recipe.messages,
            "license": recipe.licenses,
            "quantize": wish.quantize,
        }
        return {"model": wish.name, **{key: value for key, value in wanted.items() if value}}

    def _entry(self, name: str) -> dict[str, Any] | None:
        entry = self._tags.get(name)
        return {"name": name, "digest": entry["digest"], "size_bytes": entry["size"]} if entry else None

    def _verify_digest(self, wish: Wish, entry: Mapping[str, Any] | None) -> None:
        found = str(entry["digest"]) if entry else ""
        if wish.digest and not found.startswith(wish.digest):
            raise OllamaError(
                f"{wish.name}: expected the digest {wish.digest}, the registry has {found or 'none'} by that name now. "
                "Pin the new digest, or name a tag that does not move."
            )

    def _run(self, path: str, body: Mapping[str, Any]) -> None:
        last = ""
        for event in api.progress(self._server, path, body):
            status = str(event.get("status", ""))
            if status and status != last:
                self._say(f"{body['model']}: {status}")
            last = status
        self._tags = api.tags(self._server)

    def _pull_now(self, wish: Wish, name: str, outcome: Outcome) -> None:
        """Pull; when it is cut off while bytes came in, go on from there."""
        have: dict[str, int] = {}
        for attempt in range(self._retries + 1):
            meter = Meter(name, self._say, have)
            try:
                for event in api.progress(self._server, "/api/pull", {"model": name, "insecure": wish.insecure}):
                    meter.take(event)
            except ApiError as error:
                outcome.transferred_bytes += meter.transferred_bytes
                outcome.resumed_bytes += meter.resumed_bytes
                if attempt == self._retries or not (meter.transferred_bytes or error.status is None):
                    raise
                have = meter.completed_bytes
                self._say(f"{name}: {error}; going on where it stopped")
                time.sleep(RETRY_SECONDS)
                api.wait(self._server, RESTART_SECONDS)
                continue
            outcome.transferred_bytes += meter.transferred_bytes
            outcome.resumed_bytes += meter.resumed_bytes
            break
        self._tags = api.tags(self._server)


class Meter:
    """Turns the events of a pull into few lines, and counts bytes."""

    def __init__(self, name: str, say: Say, have: Mapping[str, int]) -> None:
        self._name = name
        self._say = say
        self._have = have
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._started = time.monotonic()

    @property
    def completed_bytes(self) -> dict[str, int]:
        """How much of each layer there is."""
        return dict(self._last)

    @property
    def transferred_bytes(self) -> int:
        """What came over the network, with what an earlier run had left: the server does not tell them apart."""
        return sum(max(0, last - self._first[digest]) for digest, last in self._last.items())

    @property
    def resumed_bytes(self) -> int:
        """What was there when this went on."""
        return sum(self._have.get(digest, 0) for digest in self._last)

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        digest, total = event.get("digest"), event.get("total")
        if not digest or not total:
            return
        completed = int(event.get("completed") or 0)
        if digest not in self._first:
            # A layer that the server has is complete in its first event.
            self._first[digest] = completed if completed == total else self._have.get(digest, 0)
            self._told[digest] = -1
        self._last[digest] = completed
        step = completed * 100 // total // REPORT_STEP_PERCENT
        if step > self._told[digest]:
            self._told[digest] = step
            seconds = max(time.monotonic() - self._started, 1e-3)
            rate = self.transferred_bytes / seconds / 1e6
            self._say(
                f"{self._name}: {step * REPORT_STEP_PERCENT} % of {total / 1e6:.0f} MB "
                f"({digest[7:19]}, {rate:.0f} MB/s)"
            )


def _part(data: Any, name: str) -> dict[str, Any]:
    """A part of the record; what is damaged is made anew."""
    part = data.get(name) if isinstance(data, dict) else None
    return part if isinstance(part, dict) else {}


def _explained(error: ApiError) -> str:
    text = str(error)
    for pattern, explanation in EXPLANATIONS:
        if pattern.search(text):
            return explanation.format(text=text)
    return text


def _key(body: Mapping[str, Any], base_digest: str) -> str:
    text = json.dumps({**body, "base": base_digest}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        piece = file.read(CHUNK_BYTES)
        while piece:
            state.update(piece)
            piece = file.read(CHUNK_BYTES)
    return state.hexdigest()

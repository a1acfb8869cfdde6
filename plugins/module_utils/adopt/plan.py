"""What an adoption makes of a host: what was found, what it becomes, variables for the inventory, and the steps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from posixpath import basename
from typing import Any

from ..engines.tables import table
from ..hub.names import MANIFEST_NAME
from ..hub.space import human, require_space
from ..ollama.environment import Gpu
from ..ollama.values import OllamaError
from . import steps
from .commands import OLLAMA, VLLM, Command, Shell, recognise, shown
from .errors import AdoptError
from .host import Host, Process
from .ollama_settings import bound_port, ollama_variables
from .steps import Owner, Step
from .units import UnitFile, find_units
from .vllm_settings import vllm_entry
from .weights import OllamaStore, Placement, Places, Sought, Weights, find_weights, read_ollama_store, same_filesystem

# Files that the collection wrote are no business of an adoption.
OWN_MARKS = ("Written by the llm.serving collection", "/etc/vllm/", "/opt/ollama/current/")
OWN_FOLDERS = ("/opt/vllm/", "/opt/ollama/")
OLLAMA_COMMAND = Path("/usr/local/bin/ollama")  # where the role puts its link
SERVICE_NAME = {OLLAMA: "ollama.service"}
CELL_WIDTH = 56
PUBLIC_FILE, PUBLIC_FOLDER = 0o644, 0o755
UNKNOWN_USER = -1


@dataclass(frozen=True)
class Wanted:
    """Where the roles keep things, and what the operator added."""

    models_root: Path = Path("/srv/models")
    ollama_models_dir: Path = Path("/usr/share/ollama/.ollama/models")
    repos: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    vendor: str | None = None
    gpus: Sequence[Gpu] = ()


@dataclass(frozen=True)
class Engine:
    """An engine that was set up by hand. A unit, a process of nobody's unit, or both."""

    command: Command
    user: str
    directory: str
    unit: UnitFile | None = None
    process: Process | None = None
    active: bool = False
    enabled: bool = False

    @property
    def label(self) -> str:
        """What people call it."""
        return self.unit.name if self.unit else f"process {self.process.pid if self.process else '?'}"


@dataclass
class Plan:
    """Rows are of what, found, and what it becomes."""

    engines: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    units: list[str] = field(default_factory=list)

    def row(self, what: str, found: str, becomes: str) -> None:
        """Add a line of the table."""
        self.rows.append((what, found, becomes))


def find_engines(host: Host, ignore: Sequence[str] = ()) -> tuple[list[Engine], list[str]]:
    """Return the engines that were set up by hand, and what cannot be taken over."""
    remarks: list[str] = []
    found: list[Engine] = []
    processes = host.processes()
    units = [unit for unit in find_units(host.root) if unit.name not in ignore and not _is_own(unit)]
    for unit in units:
        user = unit.last("User")
        command = recognise(unit.command(), unit.environment(host.root), Shell(str(host.home(user)), host.root))
        if command is None:
            continue
        if command.in_container:
            remarks.append(f"{unit.name} runs a container: note its settings, stop it by hand, and write the inventory")
            continue
        directory = unit.last("WorkingDirectory").lstrip("-").replace("~", str(host.home(user)))
        found.append(Engine(command, user, directory or command.environment.get("PWD", ""), unit))
    if found:
        states = host.states([engine.label for engine in found])
        running = {process.pid: process for process in processes}
        found = [_with_state(engine, states[engine.label], running) for engine in found]
    found += _by_hand(host, processes, ignore)
    return [engine for engine in found if engine.active or engine.enabled or engine.unit is None], remarks


def _is_own(unit: UnitFile) -> bool:
    return any(mark in unit.text for mark in OWN_MARKS)


def _with_state(engine: Engine, state: Any, running: Mapping[int, Process]) -> Engine:
    process = running.get(state.main_pid)
    engine = replace(engine, active=state.is_active or state.has_died, enabled=state.enabled == "enabled")
    if process is None or not engine.command.script:
        return replace(engine, process=process)
    # A script is only read; what runs is the truth.
    command = recognise(process.words, process.environment, Shell("", depth=0))
    if command:
        engine = replace(engine, command=replace(command, script=engine.command.script))
    return replace(engine, process=process)


def _by_hand(host: Host, processes: Sequence[Process], ignore: Sequence[str]) -> list[Engine]:
    """Engines that run in somebody's session: started by a script in a terminal, with nohup, in tmux."""
    found: dict[int, Engine] = {}
    for process in processes:
        if process.unit or str(process.pid) in ignore or process.words[0].startswith(OWN_FOLDERS):
            continue
        command = recognise(process.words, process.environment, Shell(str(host.home(process.user)), depth=0))
        if command and not command.script and not command.in_container:
            found[process.pid] = Engine(command, process.user, process.directory, process=process, active=True)
    return [engine for pid, engine in sorted(found.items()) if engine.process and engine.process.parent not in found]


def make_plan(host: Host, wanted: Wanted) -> Plan:
    """Look at a host and say what taking it over means. Changes nothing. Raises OSError."""
    plan = Plan()
    engines, plan.warnings = find_engines(host, wanted.ignore)
    servers = [engine for engine in engines if engine.command.engine == OLLAMA]
    if len(servers) > 1:
        labels = ", ".join(engine.label for engine in servers)
        plan.problems.append(
            f"{labels} are all Ollama: expected one, which is what the role runs. Add the others to adopt_ignore"
        )
    for engine in servers[:1]:
        _plan_ollama(plan, host, wanted, engine)
    instances = [engine for engine in engines if engine.command.engine == VLLM]
    for engine in instances:
        _plan_vllm(plan, host, wanted, engine)
    _check_names(plan)
    for engine in [*servers[:1], *instances]:
        plan.steps += _stopping(engine)
        plan.engines.append(_described(engine))
    return plan


def _described(engine: Engine) -> dict[str, Any]:
    return {
        "engine": engine.command.engine,
        "name": engine.label,
        "active": engine.active,
        "enabled": engine.enabled,
        "user": engine.user or "root",
        "program": engine.command.program,
    }


def _stopping(engine: Engine) -> Iterable[Step]:
    """Stop it, and put away what would be in the way: the last steps, so that it serves until all else is done."""
    if engine.unit is None:
        process = engine.process
        if process:
            yield steps.stop_process(process.pid, process.started, shown(process.words))
        return
    yield steps.stop_unit(engine.label, active=engine.active, enabled=engine.enabled)
    for path in (engine.unit.path, *engine.unit.drop_ins):
        if "/etc/systemd/" in str(path):  # a package's files stay; ours stand before them
            yield steps.put_away(path)
    if engine.command.engine == OLLAMA and Path(engine.command.program) == OLLAMA_COMMAND:
        yield steps.put_away(OLLAMA_COMMAND)


# Ollama


def _plan_ollama(plan: Plan, host: Host, wanted: Wanted, engine: Engine) -> None:
    environment = engine.command.environment
    version = host.ollama_version(engine.command.program)
    plan.groups.append(OLLAMA)
    plan.units.append(SERVICE_NAME[OLLAMA])
    plan.row(
        "Ollama",
        f"{engine.label}, {version or 'version unknown'}, {engine.command.program}",
        "/opt/ollama, ollama_version",
    )
    plan.row("runs as", engine.user or "root", "ollama")
    if engine.unit:
        files = [str(path) for path in (engine.unit.path, *engine.unit.drop_ins)]
        plan.row("unit", " ".join(files), "of the role; these are kept")
    try:
        adopted = ollama_variables(environment, wanted.vendor, wanted.gpus)
    except OllamaError as error:
        plan.problems.append(f"{engine.label}: {error}: correct it there")
        return
    plan.row("port", str(bound_port(environment)), str(adopted.variables.get("ollama_host", "127.0.0.1:11434")))
    _settings_rows(plan, environment, adopted.variables)
    plan.warnings += [f"{engine.label}: {warning}" for warning in adopted.warnings]
    plan.variables.update(adopted.variables)
    home = str(environment.get("HOME") or host.home(engine.user))
    named = environment.get("OLLAMA_MODELS", "")
    source = host.root / (named or f"{home}/.ollama/models").lstrip("/")
    store = read_ollama_store(source, host.root / str(wanted.ollama_models_dir).lstrip("/"), host.root)
    plan.problems += store.problems
    total_bytes = sum(placement.size_bytes for placement in store.placements)
    where = "stay" if store.stays else f"{store.target}, linked"
    plan.row("models", f"{len(store.models)} in {source}, {human(total_bytes)}", where)
    if store.stays and source != host.root / str(wanted.ollama_models_dir).lstrip("/"):
        plan.variables["ollama_models_dir"] = str(source)
    if store.models:
        plan.variables["ollama_models"] = [{"name": m.name, "digest": m.digest[:12]} for m in store.models]
    plan.steps += _store_steps(store, host)


def _settings_rows(plan: Plan, environment: Mapping[str, str], variables: Mapping[str, Any]) -> None:
    found = sorted(
        f"{name}={value}"
        for name, value in environment.items()
        if name.startswith("OLLAMA_") and name not in ("OLLAMA_HOST", "OLLAMA_MODELS")
    )
    becomes = [f"{name}: {value}" for name, value in sorted(variables.items()) if name != "ollama_host"]
    if found or becomes:
        plan.row("settings", ", ".join(found) or "none", ", ".join(becomes) or "the role's defaults")


def _store_steps(store: OllamaStore, host: Host) -> list[Step]:
    """Give the server's user what it serves. Its number is not known before the user is made."""
    uid, gid = host.owner(OLLAMA) or (UNKNOWN_USER, UNKNOWN_USER)
    result: list[Step] = []
    if store.stays:
        paths = [store.source, *sorted(store.source.rglob("*"))] if store.source.is_dir() else []
        for path in paths:
            status = path.stat()
            if (status.st_uid, status.st_gid) != (uid, gid):
                result.append(steps.own(path, Owner(uid, gid, status.st_mode & 0o7777)))
        return result
    result += _folders([placement.target for placement in store.placements], Owner(uid, gid, PUBLIC_FOLDER))
    for placement in store.placements:
        result.append(_placed(placement, Owner(uid, gid, PUBLIC_FILE)))
    return result


# vLLM


def _plan_vllm(plan: Plan, host: Host, wanted: Wanted, engine: Engine) -> None:
    command = engine.command
    version = host.vllm_version(_program(command))
    if VLLM not in plan.groups:
        plan.groups.append(VLLM)
    instance = vllm_entry(command.arguments, command.environment, engine.label)
    name = str(instance.entry["name"])
    where = f"{engine.label}{f', by {command.script}' if command.script else ''}"
    plan.row("vLLM", f"{where}, {version or 'version unknown'}", f"vllm@{name}.service")
    if not instance.model or "$" in instance.model:
        plan.problems.append(
            f"{engine.label}: expected a model on its command line, found {instance.model or 'none'}: what a script"
            " works out by running something is only known while it runs. Start it, and run this again"
        )
        return
    home = host.home(engine.user)
    directory = Path(engine.directory or "/")
    try:
        weights = find_weights(
            Sought(instance.model, directory, command.environment, home, str(instance.entry.get("revision") or "")),
            Places(host.root / str(wanted.models_root).lstrip("/"), wanted.repos, host.root),
        )
    except AdoptError as error:
        plan.problems.append(f"{engine.label}: {error}")
        return
    if weights is None:
        plan.problems.append(
            f"{engine.label}: expected the model {instance.model} in {directory} or in the Hub's cache of"
            f" {engine.user or 'root'}, found it in neither: start the old server once more, or add {engine.label} to"
            " adopt_ignore"
        )
        return
    entry = instance.entry
    entry["model"] = weights.model
    entry.pop("revision", None)
    if weights.revision:
        entry["revision"] = weights.revision
    if weights.allow_pickle:
        entry["allow_pickle"] = True
    plan.row("  port", str(entry.get("port", 8000)), f"the same, on {entry.get('host', 'vllm_host')}")
    becomes = "stays" if weights.stays else f"{weights.target}, {_way(weights)}"
    plan.row(
        "  model",
        f"{weights.source}, {human(weights.size_bytes)}" if weights.placements else str(weights.source),
        becomes,
    )
    plan.row("  settings", shown(command.arguments), "vllm_models, below")
    plan.variables.setdefault("vllm_models", []).append(entry)
    plan.variables.update(instance.variables)
    plan.warnings += [f"{name}: {warning}" for warning in instance.warnings]
    plan.units.append(f"vllm@{name}.service")
    if not weights.stays:
        plan.steps += _weights_steps(weights)
        return
    plan.steps += _readable(weights.source)


def _program(command: Command) -> str:
    venv = command.environment.get("VIRTUAL_ENV", "")
    return f"{venv}/bin/{basename(command.program)}" if venv and "/" not in command.program else command.program


def _way(weights: Weights) -> str:
    return "linked" if same_filesystem(weights.source, weights.target) else "copied: it is another file system"


def _weights_steps(weights: Weights) -> list[Step]:
    owner = Owner(0, 0, PUBLIC_FOLDER)
    result = _folders([placement.target for placement in weights.placements], owner)
    result += [_placed(placement, Owner(0, 0, PUBLIC_FILE)) for placement in weights.placements]
    if weights.manifest:
        # The manifest comes last: without it nobody trusts the snapshot.
        result.append(steps.write(weights.target / MANIFEST_NAME, {"format": 1, **asdict(weights.manifest)}))
    return result


def _readable(folder: Path) -> list[Step]:
    """Let everybody read what stays: the services run as users of their own."""
    result = []
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.stat()
        wanted = (0o555 if path.is_dir() else 0o444) | status.st_mode & 0o7777
        if wanted != status.st_mode & 0o7777:
            result.append(steps.own(path, Owner(status.st_uid, status.st_gid, wanted)))
    return result


def _placed(placement: Placement, owner: Owner) -> Step:
    return steps.place(placement.source, placement.target, placement.digest, owner)


def _folders(targets: Sequence[Path], owner: Owner) -> list[Step]:
    """The folders that are not there yet, from the outermost."""
    missing = {parent for target in targets for parent in target.parents if not parent.is_dir()}
    return [steps.make_folder(path, owner) for path in sorted(missing)]


def _check_names(plan: Plan) -> None:
    """Give instances of one name other ones: two cannot be."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(plan.variables.get("vllm_models", [])):
        name = str(entry["name"])
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            plan.problems.append(
                f"two instances are called {name} (entry {index + 1} of vllm_models): give one another"
                " --served-model-name, or add its unit to adopt_ignore"
            )


def table_lines(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Lay the rows out for a terminal. Long cells go over several lines; paths stay whole."""
    lines = []
    for what, *cells in rows:
        parts = [textwrap.wrap(cell, CELL_WIDTH, break_long_words=False, break_on_hyphens=False) for cell in cells]
        for number, (found, becomes) in enumerate(zip_longest(*parts, fillvalue="")):
            lines.append(["" if number else what, found, becomes])
    return table(["what", "found", "becomes"], lines) if lines else []


def check_room(plan_steps: Sequence[Step]) -> None:
    """Refuse copies to another file system that do not fit. Raises DiskFullError."""
    needed: dict[Path, int] = {}
    for step in plan_steps:
        if step["kind"] == "place" and not same_filesystem(Path(step["source"]), Path(step["target"])):
            folder = Path(step["target"]).parent
            needed[folder] = needed.get(folder, 0) + Path(step["source"]).stat().st_size
    for folder, count_bytes in needed.items():
        require_space(folder, count_bytes)

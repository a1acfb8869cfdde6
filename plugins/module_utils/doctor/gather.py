"""What the doctor looks at on a host. Everything here only reads."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..engines.instances import read
from ..engines.sockets import Socket, listening, unit_of
from ..engines.systemd import UnitState, recent_journal, unit_states
from ..gpu import facts as gpu_facts
from ..hub.completeness import find_problems
from ..ollama import api
from ..ollama.checks import GpuHost, gpu_problems
from ..ollama.environment import parse_config
from ..ollama.store import full_name
from ..openai.client import ApiError, Server, get

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]

GPU_SOURCES = ["nvml", "nvidia-smi", "sysfs"]
GPU_TIMEOUT_SECONDS = 10.0
API_TIMEOUT_SECONDS = 5.0
KERNEL_LOG = ("journalctl", "--no-pager", "--quiet", "--dmesg", "--output=short-iso", "--lines=3000")
UNIT_FILES = ("systemctl", "list-unit-files", "--no-legend", "--no-pager", "ollama.service")
HEALTH = {"vllm": "/health", "ollama": "/api/version"}


@dataclass(frozen=True)
class Places:
    """Where things are on a host; `clients` are addresses that must reach the engines.

    gpu_percent: how much of Ollama's models has to be on GPUs, but for those of cpu_models.
    """

    config_dir: Path = Path("/etc/vllm")
    models_root: Path = Path("/srv/models")
    gateway_dir: Path = Path("/etc/llm-gateway")
    ollama_root: Path = Path("/opt/ollama/current")
    user: str = "vllm"
    clients: Sequence[str] = ()
    expected: Sequence[str] = field(default_factory=tuple)
    gpu_percent: float = 100.0
    cpu_models: Sequence[str] = ()


def gather(run: Run, places: Places) -> dict[str, Any]:
    """Look at a host. Raises OSError when systemd does not answer, OllamaError for a model's name that is none."""
    gpu = gpu_facts.gather(gpu_facts.Host(), GPU_SOURCES, GPU_TIMEOUT_SECONDS)
    sockets = listening(run)
    units = [_unit(run, state, sockets, places) for state in unit_states(run, _names(run, places)).values()]
    return {
        "gpu": gpu,
        "kernel": run(list(KERNEL_LOG))[1].splitlines(),
        "sockets": [{**asdict(socket), "unit": unit_of(socket.pid)} for socket in sockets],
        "units": units,
        "ollama": _ollama(units, gpu, places),
        "nft": _nft(run),
        "clients": list(places.clients),
        "disks": list(_disks(places)),
        "downloads": list(_downloads(places.models_root)),
    }


def _names(run: Run, places: Places) -> list[str]:
    """Return the units that are configured here, and those that the inventory expects."""
    names = {f"vllm@{path.stem}.service" for path in places.config_dir.glob("*.yaml")}
    if run(list(UNIT_FILES))[1].strip():
        names.add("ollama.service")
    if places.gateway_dir.is_dir():
        names.add("haproxy.service")
    return sorted(names | set(places.expected))


def _unit(run: Run, state: UnitState, sockets: Sequence[Socket], places: Places) -> dict[str, Any]:
    engine = _engine(state.unit)
    config = _config(places.config_dir / f"{_instance(state.unit)}.yaml") if engine == "vllm" else {}
    own = [socket for socket in sockets if unit_of(socket.pid) == state.unit]
    port = int(config["port"]) if config.get("port", "").isdigit() else 0
    if engine == "ollama":
        own = [socket for socket in own if socket.process == "ollama"]
    elif port:
        own = [socket for socket in own if socket.port == port]
    unit = {
        "name": state.unit,
        "engine": engine,
        "load": state.load,
        "active": state.active,
        "sub": state.sub,
        "result": state.result,
        "restarts": state.restarts,
        "enabled": state.enabled,
        "needs_reload": state.needs_reload,
        "expected": state.unit in places.expected,
        "port": port,
        "listens": [asdict(socket) for socket in own],
        "log": recent_journal(run, state.unit),
    }
    model = config.get("model", "")
    if model.startswith("/"):
        unit["model"] = _model(run, Path(model), places.user)
    if state.is_active and engine in HEALTH:
        unit.update(_ask(own, HEALTH[engine]))
    return unit


def _engine(unit: str) -> str:
    return "vllm" if unit.startswith("vllm@") else "ollama" if unit.startswith("ollama") else "gateway"


def _instance(unit: str) -> str:
    return unit.partition("@")[2].rpartition(".")[0]


def _config(path: Path) -> dict[str, str]:
    """Return the plain values of an instance's configuration, which has one key a line."""
    pairs = (line.partition(": ") for line in read(path).splitlines())
    return {key: _plain(value.strip()) for key, colon, value in pairs if colon and key.strip() == key}


def _plain(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip("'")
    except ValueError:
        return value


def _model(run: Run, path: Path, user: str) -> dict[str, Any]:
    """Return what is wrong with a model's files; what they should contain is models_verify's matter."""
    found: dict[str, Any] = {"path": str(path), "exists": path.is_dir(), "problems": [], "unreadable": ""}
    if not found["exists"]:
        return found
    with contextlib.suppress(OSError):
        found["problems"] = [*find_problems(path), *_broken_json(path)]
    # find goes back to where it began, so that must be a folder that the user may enter.
    search = ["find", "-L", str(path), "!", "-readable", "-print", "-quit"]
    code, out, err = run(["env", "--chdir=/", "runuser", "-u", user, "--", *search])
    if out.strip():
        found["unreadable"] = f"{out.strip()}: not readable by {user}"
    elif code and "Permission denied" in err:
        found["unreadable"] = err.strip().splitlines()[0]
    return found


def _broken_json(path: Path) -> Iterable[str]:
    """Name the tokenizer's files that are no JSON; the configuration and the weights are find_problems' matter."""
    for file in sorted(path.glob("tokenizer*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{file.name} is not valid JSON ({error})"


def _ask(sockets: Iterable[Socket], path: str) -> dict[str, Any]:
    error = "it listens on no port"
    for socket in sockets:
        try:
            get(Server(socket.url, timeout_seconds=API_TIMEOUT_SECONDS), path)
        except ApiError as failure:
            error = str(failure)
            continue
        return {"answers": True, "url": socket.url}
    return {"answers": False, "answer_error": error}


def _ollama(units: Iterable[dict[str, Any]], gpu: dict[str, Any], places: Places) -> dict[str, Any]:
    """Return which models are not on the GPUs that there are and should be, and why."""
    unit = next((unit for unit in units if unit["engine"] == "ollama" and unit.get("url")), None)
    names = [device.get("name") or "GPU" for device in gpu.get("devices") or []]
    if unit is None or not names:
        return {}
    try:
        loaded = api.loaded(Server(unit["url"], timeout_seconds=API_TIMEOUT_SECONDS))
    except ApiError as error:
        return {"error": str(error)}
    host = GpuHost(gpu.get("vendor"), names, places.ollama_root / "lib" / "ollama")
    config = parse_config(unit["log"]) or {}
    meant_for_cpu = {full_name(name) for name in places.cpu_models}
    wanted = [model for model in loaded if model.name not in meant_for_cpu]
    return {"gpu_problems": gpu_problems(host, wanted, places.gpu_percent, config, unit["log"])}


def _nft(run: Run) -> dict[str, Any]:
    code, out, _err = run(["sh", "-c", "command -v nft >/dev/null && nft --json list ruleset"])
    try:
        return dict(json.loads(out)) if code == 0 and out.strip() else {}
    except ValueError:
        return {}


def _disks(places: Places) -> Iterable[dict[str, Any]]:
    """Return each file system that models or caches are on, once."""
    seen: set[int] = set()
    for path in (places.models_root, Path("/var/lib/vllm"), Path("/usr/share/ollama"), Path("/opt"), Path("/var/log")):
        try:
            device = path.stat().st_dev
            room = os.statvfs(path)
        except OSError:
            continue
        if device in seen or not room.f_blocks:
            continue
        seen.add(device)
        yield {
            "path": str(path),
            "total_bytes": room.f_blocks * room.f_frsize,
            "free_bytes": room.f_bavail * room.f_frsize,
            "free_inodes": room.f_favail if room.f_files else None,
        }


def _downloads(models_root: Path) -> Iterable[dict[str, Any]]:
    """Return unfinished snapshots (`.<commit>.part`) and when anything in them was last written."""
    for part in models_root.glob("*/*/.*.part"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in [part, *part.rglob("*")])
            yield {"path": str(part), "age_seconds": int(time.time() - newest)}

"""From what was gathered on a host, or from a log alone, to what is wrong. Pure: no file, no command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..engines.lines import unwrapped
from .failures import HARMLESS, decide, since_served
from .finding import FILES, GPU, HOUSEKEEPING, NETWORK, STATE, Finding, of_decision, of_rule, ordered
from .firewall import blocked_clients
from .rule import CRITICAL, WARNING, Rule
from .rules import ALL_RULES, LOG_RULES, VLLM_LOG_RULES, rule_of
from .rules_host import GPU_RULES, LIMIT_RULES
from .rules_serving import GATEWAY_RULES, OLLAMA_RULES

GIB = 1 << 30
GAVE_UP = "Start request repeated too quickly"
LEAST_FREE_BYTES = 2 * GIB
LEAST_FREE_SHARE = 0.03
STALE_SECONDS = 7 * 86400
LIFE = re.compile(r"(?:^|: )(?:Started|Starting) \S*(?:vllm|ollama|haproxy|Ollama)")
KERNEL_RULES = (*GPU_RULES, *(rule for rule in ALL_RULES if rule.code in {"gpu_illegal_access"}), *LIMIT_RULES)
# What Python and vLLM print, and neither Ollama nor HAProxy does.
VLLM_LOG = re.compile(r"vllm|EngineCore|Traceback \(most recent|^(?:\w+\.)*\w+Error: ", re.IGNORECASE)
OLLAMA_GPU = re.compile(r"msg=\"inference compute\".*library=(?:cuda|rocm|vulkan|hip)", re.IGNORECASE)
DISCOVERY = {"silent_cpu_fallback", "amd_gpu_unsupported", "amd_driver", "driver_too_old"}
OLLAMA_STARTED = 'msg="server config"'
FALLBACK_REASON = re.compile(r"^reason: ")
HAPROXY_CHANGE = re.compile(r"Server (?P<server>\S+) is (?:going )?(?P<state>UP|DOWN)", re.IGNORECASE)
HAPROXY_WORKER = re.compile(r"New worker (?:#\d+ )?\(\d+\) forked|Initializing new worker \(\d+\)")
Evidence = Mapping[str, Any]


def diagnose_log(lines: Sequence[str], subject: str = "log") -> list[Finding]:
    """Say what a log alone shows, of whatever program it is; empty when nothing in it is a failure."""
    found = []
    lines = _after_discovery(since_served(unwrapped(lines)))
    rules = VLLM_LOG_RULES if any(VLLM_LOG.search(line) for line in lines) else LOG_RULES
    decision = decide(lines, rules)
    if decision and decision.match:
        found.append(of_decision(decision, subject))
    else:
        plain = _first_shown(lines, rules, subject)
        found += [plain] if plain else [of_decision(decision, subject)] if decision else []
    if any(GAVE_UP in line for line in lines):
        found.append(of_rule(rule_of("crash_loop"), subject, next(line for line in lines if GAVE_UP in line), STATE))
    return ordered([*found, *_warnings(lines, subject)])


def _after_discovery(lines: Sequence[str]) -> Sequence[str]:
    """Leave out what Ollama said of libraries that it tried, where it came to find a GPU after all."""
    found = [number for number, line in enumerate(lines) if OLLAMA_GPU.search(line)]
    if not found:
        return lines
    tried = [rule.pattern for rule in LOG_RULES if rule.pattern and rule.code in DISCOVERY]
    before = [line for line in lines[: found[-1]] if not any(pattern.search(line) for pattern in tried)]
    return [*before, *lines[found[-1] :]]


def evaluate(evidence: Evidence) -> list[Finding]:
    """Say what is wrong with a host, the worst first, causes before consequences."""
    findings = [*_gpu(evidence), *_kernel(evidence)]
    for unit in evidence.get("units") or []:
        findings += _unit(unit, evidence)
    findings += [*_ollama_gpus(evidence), *_network(evidence), *_disks(evidence), *_downloads(evidence)]
    return ordered(findings)


def _first_shown(lines: Iterable[str], rules: Sequence[Rule], subject: str, depth: int = GPU) -> Finding | None:
    """Return the finding of the first rule that any line shows, whatever its form."""
    kept = list(lines)
    for rule in rules:
        for line in kept:
            match = rule.pattern.search(line) if rule.pattern and not rule.pattern.pattern.startswith("^") else None
            if match and not _is_harmless(line):
                return of_rule(rule, subject, line.strip(), depth)
    return None


def _is_harmless(line: str) -> bool:
    said = re.search(r"\b(?:INFO|WARNING|DEBUG) \d\d-\d\d |\bNCCL INFO\b|^\s+(?:File \"|raise |return )", line)
    return bool(said or HARMLESS.search(line))


def _warnings(lines: Iterable[str], subject: str) -> Iterator[Finding]:
    kept = list(lines)
    for rule in OLLAMA_RULES:
        hits = [line for line in kept if rule.pattern and rule.severity == WARNING and rule.pattern.search(line)]
        if hits:
            yield of_rule(rule, subject, f"{hits[-1].strip()} ({len(hits)} such lines)", STATE)


def _gpu(evidence: Evidence) -> Iterator[Finding]:
    gpu = evidence.get("gpu") or {}
    problem = gpu.get("problem")
    if problem:
        places = {"code": problem["code"], "cause": problem["message"], "remedy": problem["remedy"]}
        harmless = problem["code"] in {"fabric_manager_unneeded", "inforom_corrupted"}
        yield of_rule(
            rule_of("gpu"), "GPU", problem["message"], GPU, severity=WARNING if harmless else CRITICAL, places=places
        )


def _kernel(evidence: Evidence) -> Iterator[Finding]:
    """What the kernel logged in this boot; what happened may be over, so it is critical only beside a dead unit."""
    lines = evidence.get("kernel") or []
    down = any(unit.get("active") != "active" for unit in evidence.get("units") or [])
    for rule in KERNEL_RULES:
        hits = [line for line in lines if rule.pattern and rule.pattern.search(line)]
        if hits:
            severity = CRITICAL if down and rule in GPU_RULES else WARNING
            yield of_rule(rule, "kernel", hits[-1].strip(), GPU, severity=severity)


def _unit(unit: Evidence, evidence: Evidence) -> Iterator[Finding]:
    name = unit["name"]
    if unit.get("load") == "not-found":
        if unit.get("expected"):
            yield of_rule(rule_of("unit_missing"), name, f"systemd: {name} not found", STATE)
        return
    if unit.get("needs_reload"):
        evidence_line = f"systemctl show {name}: NeedDaemonReload=yes"
        yield of_rule(rule_of("needs_daemon_reload"), name, evidence_line, HOUSEKEEPING, target=name)
    serves = unit.get("active") == "active"
    yield from _files(unit, serves)
    if serves:
        yield from _running(unit)
    else:
        yield from _dead(unit, evidence)


def _files(unit: Evidence, serves: bool) -> Iterator[Finding]:
    model = unit.get("model") or {}
    severity = WARNING if serves else CRITICAL
    if not model:
        return
    if not model["exists"]:
        rule = rule_of("model_path_missing")
        yield of_rule(rule, unit["name"], f"{model['path']}: no such directory", FILES, severity=severity)
        return
    for problem in model.get("problems") or []:
        rule = rule_of(_file_code(problem))
        yield of_rule(rule, unit["name"], f"{model['path']}: {problem}", FILES, severity=severity)
    if model.get("unreadable"):
        rule = rule_of("model_not_readable")
        yield of_rule(rule, unit["name"], model["unreadable"], FILES, severity=severity)


def _file_code(problem: str) -> str:
    signs = (
        ("tokenizer", r"tokenizer"),
        ("config_invalid", r"config\.json|params\.json"),
        ("shard_corrupt", r"LFS pointer|cut short|its header|has a header|is no safetensors|lacks \d+ tensors"),
        ("shard_missing", r"is missing|no weights"),
    )
    found = (code for code, pattern in signs if re.search(pattern, problem))
    return next(found, "model_files_incomplete")


def _running(unit: Evidence) -> Iterator[Finding]:
    if unit.get("answers") is False and unit.get("engine") in {"vllm", "ollama"}:
        rule = rule_of("api_silent" if unit.get("listens") else "still_starting")
        yield of_rule(rule, unit["name"], unit.get("answer_error") or "no answer", STATE)
        # Between two deaths of a crash loop a unit counts as running.
        decision = decide(_latest_lives(unit), _rules_for(unit)) if unit.get("restarts") else None
        if decision:
            yield of_decision(decision, unit["name"])
    lines = unit.get("log") or []
    if unit.get("engine") == "ollama":
        yield from _warnings(_since(lines, OLLAMA_STARTED), unit["name"])
        memory = _first_shown(_since(lines, OLLAMA_STARTED), OLLAMA_RULES[:4], unit["name"], STATE)
        if memory:
            yield memory
    elif unit.get("engine") == "gateway":
        yield from _gateway(unit)


def _rules_for(unit: Evidence) -> Sequence[Rule]:
    return VLLM_LOG_RULES if unit.get("engine") == "vllm" else LOG_RULES


def _latest_lives(unit: Evidence) -> Sequence[str]:
    """What a unit logged in its last two lives: the last may have ended before it said anything."""
    lines: Sequence[str] = unit.get("log") or []
    starts = [number for number, line in enumerate(lines) if LIFE.search(line)]
    return lines[starts[-2] :] if len(starts) > 1 else lines


def _since(lines: Sequence[str], mark: str) -> Sequence[str]:
    starts = [number for number, line in enumerate(lines) if mark in line]
    return lines[starts[-1] :] if starts else lines


def _gateway(unit: Evidence) -> Iterator[Finding]:
    """Servers whose last change was to DOWN. A worker that a reload began takes all for up until it sees otherwise."""
    last: dict[str, tuple[str, str]] = {}
    for line in unit.get("log") or []:
        if HAPROXY_WORKER.search(line):
            last.clear()
        match = HAPROXY_CHANGE.search(line)
        if match:
            last[match["server"]] = (match["state"].upper(), line)
    for server, (state, line) in sorted(last.items()):
        if state == "DOWN":
            yield of_rule(GATEWAY_RULES[-1], f"{unit['name']} {server}", line.strip(), NETWORK)


def _dead(unit: Evidence, evidence: Evidence) -> Iterator[Finding]:
    name, target = unit["name"], unit["name"]
    if unit.get("active") == "inactive" and not unit.get("restarts") and unit.get("result") in {"success", ""}:
        if unit.get("enabled") == "enabled":
            yield of_rule(rule_of("unit_stopped"), name, f"{name} is inactive and enabled", STATE, target=target)
        return
    taken = _port_owner(unit, evidence)
    if taken:
        yield of_rule(rule_of("port_taken"), name, taken, FILES)
    decision = decide(_latest_lives(unit), _rules_for(unit))
    if decision:
        yield of_decision(decision, name, target=target)
    if unit.get("result") == "oom-kill":
        line = f"systemctl show {name}: Result=oom-kill"
        yield of_rule(rule_of("host_out_of_memory"), name, line, FILES, target=target)
    state = f"{name} is {unit.get('active')} ({unit.get('sub')}), Result={unit.get('result')}"
    gave_up = unit.get("result") == "start-limit-hit" or _gave_up(unit.get("log") or [])
    if gave_up:
        line = f"{state}, restarted {unit.get('restarts')} times; systemd: Start request repeated too quickly"
        yield of_rule(rule_of("crash_loop"), name, line, STATE, target=target)
    elif not decision:
        yield of_rule(rule_of("unit_failed"), name, state, STATE, target=target)


def _gave_up(lines: Sequence[str]) -> bool:
    return any(GAVE_UP in line for line in lines[-8:])


def _port_owner(unit: Evidence, evidence: Evidence) -> str:
    for socket in evidence.get("sockets") or []:
        if unit.get("port") and socket["port"] == unit["port"] and socket.get("unit") != unit["name"]:
            owner = f"{socket.get('process') or 'an unknown process'} (pid {socket.get('pid') or '?'})"
            return f"{socket['address']}:{socket['port']} is taken by {owner}, unit {socket.get('unit') or 'none'}"
    return ""


def _ollama_gpus(evidence: Evidence) -> Iterator[Finding]:
    ollama = evidence.get("ollama") or {}
    problems = ollama.get("gpu_problems") or []
    if not problems:
        return
    reasons = [problem for problem in problems if FALLBACK_REASON.match(problem)]
    models = [problem for problem in problems if not FALLBACK_REASON.match(problem)]
    none_used = any(": 0 % of" in model for model in models)
    code = "silent_cpu_fallback" if none_used else "partly_on_the_cpu"
    rule = {rule.code: rule for rule in ALL_RULES}[code]
    yield of_rule(rule, "ollama.service", f"/api/ps: {'; '.join([*models, *reasons])}", NETWORK)


def _network(evidence: Evidence) -> Iterator[Finding]:
    clients = evidence.get("clients") or []
    if not clients:
        return
    for unit in evidence.get("units") or []:
        sockets = unit.get("listens") or []
        # Engines open more sockets than their API's, for their own processes.
        own = [socket for socket in sockets if not unit.get("port") or socket["port"] == unit["port"]]
        if unit.get("engine") not in {"vllm", "ollama"} or not own:
            continue
        reachable = [socket for socket in own if not _is_loopback(socket["address"])]
        if not reachable:
            line = f"ss: {unit['name']} listens on {own[0]['address']}:{own[0]['port']}; clients: {', '.join(clients)}"
            yield of_rule(rule_of("bound_to_loopback"), unit["name"], line, NETWORK)
            continue
        for why in blocked_clients(evidence.get("nft") or {}, reachable[0]["port"], clients):
            yield of_rule(rule_of("firewall_blocks"), unit["name"], f"nft: {why}", NETWORK)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _disks(evidence: Evidence) -> Iterator[Finding]:
    for disk in evidence.get("disks") or []:
        room = f"{disk['path']}: {disk['free_bytes'] / GIB:.1f} GiB of {disk['total_bytes'] / GIB:.1f} GiB are free"
        if disk["free_bytes"] < 0.1 * GIB or disk.get("free_inodes") == 0:
            inodes = ", no inode is" if disk.get("free_inodes") == 0 else ""
            yield of_rule(rule_of("disk_full"), "disk", room + inodes, GPU)
        elif disk["free_bytes"] < min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * disk["total_bytes"]):
            yield of_rule(rule_of("disk_nearly_full"), "disk", room, HOUSEKEEPING)


def _downloads(evidence: Evidence) -> Iterator[Finding]:
    for part in evidence.get("downloads") or []:
        if part["age_seconds"] >= STALE_SECONDS:
            line = f"{part['path']}: untouched for {part['age_seconds'] // 86400} days"
            yield of_rule(rule_of("stale_download"), part["path"], line, HOUSEKEEPING, target=part["path"])


def safe_fixes(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return what may be done without asking: nothing here stops or changes what serves."""
    fixes: dict[tuple[str, str], dict[str, str]] = {}
    for finding in findings:
        # A restart cannot mend what a file or an option does; systemd may be asked again all the same.
        if finding.fix and (finding.fix != "restart" or finding.severity == CRITICAL):
            entry = {"fix": finding.fix, "target": finding.target, "because": finding.code}
            fixes.setdefault((finding.fix, finding.target), entry)
    return list(fixes.values())

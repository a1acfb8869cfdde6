"""Engine log lines without what loggers and multi-process launchers put in front of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

# What collectors of containers' logs put first: «vllm-1  | », «[vllm] | »,
# «INFO 2025-11-19T20:16:36.09Z [resource…: vllm] ».
CONTAINER = re.compile(r"^(?:> ?)*(?:\[?[\w.-]+\]? +\| |[A-Z]+ \d{4}-\d\d-\d\dT\S+Z (?:\[[^\]]*\] )?)?")
# «(EngineCore_DP0 pid=17374) », «(VllmWorker rank=1 pid=2445156) », «(RayWorkerWrapper pid=7, ip=10.0.0.1) »
PROCESS = re.compile(r"^\((?P<name>[A-Za-z][\w-]*)[^()]*?\bpid=\d+[^()]*\) ?")
# «ERROR 11-24 10:57:55 [core.py:1510] », «[multiproc_executor.py:492] », «ERROR 04-23 14:42:53 worker.py:238] »
LOGGER = re.compile(
    r"^(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL) )?"
    r"(?:(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? )?"
    r"(?:\[[\w./-]+:\d+\]|[\w./-]+\.py:\d+\]) ?"
)
# Stamps of journald's short formats in any language («Nov 24», «11月 15», «24.11»), container runtimes and CI systems.
STAMP = re.compile(
    r"^(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\]? (?:\| |[\w.-]+ [\w.@/-]+\[\d+\]: )?"
    r"|(?:[^\W\d]{2,9}\.? [ \d]\d|\d{1,2}月 [ \d]\d|\d\d[./]\d\d\.?) \d\d:\d\d:\d\d(?:[.,]\d+)? \S+ \S+?(?:\[\d+\])?: "
    r"|\d\d:\d\d:\d\d(?:[.,]\d+)? {1,2}(?!\d\d-))"
)
# What collectors put a line into: Docker's json-file, journalctl -o json, loggers that write JSON.
WRAPPINGS = ("log", "MESSAGE", "message", "msg")
# What its own monitoring (RAS) warns of harms nobody.
NCCL_TALK = re.compile(r"\bNCCL (?:INFO|TRACE)\b|\bras/\w+\.cc:\d+ NCCL WARN\b")
RANK = re.compile(r"^\[rank\d+\]:(?:\[[A-Z]\d[^\]]*\])? ?")  # of torch.distributed
ANSI = re.compile(r"(?:\x1b|\^\[)\[[0-9;]*m")  # also as cat -v shows it


@dataclass(frozen=True)
class Line:
    """One line of an engine's log."""

    text: str
    process: str = ""
    level: str = ""


def parse_line(raw: str) -> Line:
    """Take a line apart; the text keeps its own indentation."""
    text = STAMP.sub("", CONTAINER.sub("", ANSI.sub("", raw.rstrip()), count=1), count=1)
    process = ""
    while found := PROCESS.match(text):
        process = found["name"]
        text = text[found.end() :]
    text = RANK.sub("", text, count=1)
    logger = LOGGER.match(text)
    if logger:
        text = text[logger.end() :]
    level = "INFO" if NCCL_TALK.search(text) else (logger and logger["level"]) or ""
    return Line(text, process, level)


def parse_lines(raw: Iterable[str]) -> list[Line]:
    """Take a whole log apart."""
    return [parse_line(line) for line in unwrapped(raw)]


def unwrapped(raw: Iterable[str]) -> list[str]:
    """Take lines out of the JSON that a collector put them into; others stay as they are."""
    return [line for whole in raw for line in (_wrapped(whole) if whole.startswith("{") else [whole])]


def _wrapped(line: str) -> list[str]:
    try:
        record = json.loads(line)
    except ValueError:
        return [line]
    texts = (record.get(name) for name in WRAPPINGS) if isinstance(record, dict) else ()
    found = next((text for text in texts if isinstance(text, str)), None)
    return [line] if found is None else found.splitlines()

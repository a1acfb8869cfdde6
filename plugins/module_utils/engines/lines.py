"""Engine log lines without what loggers and multi-process launchers put in front of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
LEVELS = ("level", "levelname", "severity")
HARMLESS_LEVELS = {"TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING"}
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
    fields = record if isinstance(record, dict) else {}
    found = next((text for text in map(_text, map(fields.get, WRAPPINGS)) if text is not None), None)
    if found is None:
        return [line]
    harmless = any(str(fields.get(name)).upper() in HARMLESS_LEVELS for name in LEVELS)
    # As an engine's own logger would write it; what it says counts, not when.
    return [f"INFO 01-01 00:00:00 [json:1] {text}" if harmless else text for text in found.splitlines()]


def _text(value: Any) -> str | None:
    """Return a message; journalctl gives one with colours in it as a list of bytes."""
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else None

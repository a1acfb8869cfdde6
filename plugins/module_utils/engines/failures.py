"""The line of an engine's log that says why it did not start, and what to do about it.

An engine that dies prints several tracebacks: one per process, each raised again by the process above with
«See root cause above» at the end. The decisive line is looked for in two steps: rules that know a failure and
its remedy come first; where none matches, the first exception that does not merely point to another one is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .lines import Line, parse_lines
from .report import START
from .rules import RULES

MAX_SHOWN_CHARS = 1200
CONTINUATION_LINES = 8
MESSAGE_ENDS = ("Traceback", "For further information", "File ")

# Exceptions whose text only points to another one, or that follow from another process's death.
POINTERS = re.compile(
    r"See (?:the )?(?:root cause|stack trace|error|traceback)|Failed core proc"
    r"|initialization failed due to an exception"
    r"|EngineDeadError|EngineCore encountered an issue|Engine process failed to start|Worker failed with error ''"
    r"|KeyboardInterrupt|CancelledError|SystemExit|BrokenPipeError|ConnectionResetError|EOFError"
    r"|Engine core proc \S* died|WorkerProc \S+ died|leaked (?:semaphore|shared_memory)",
    re.IGNORECASE,
)
# The last line of a traceback: a dotted exception name at the left margin, with or without a message.
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]*(?:Error|Exception|Exit|Interrupt|Timeout|Refused|Exceeded)(?:\([\w: .,=-]*\))?"
    r"(?:: .*|:)?$"
)
ARGUMENT = re.compile(r"^(?:\S+ ?)?(?:\S+: )?error: .+")
PYDANTIC = re.compile(r"validation errors? for ")
CHAINED = re.compile(r"^(?:During handling of the above exception, another|The above exception was the direct cause)")
FRAME = re.compile(r"^\s+|^Traceback \(most recent call last\)|^\s*\^+\s*$")
OUTSIDE = re.compile(
    r"oom-kill|OOM killer|Out of memory: Killed|status=2\d\d/[A-Z]+|code=(?:killed|dumped)|Segmentation fault"
    r"|terminate called|cannot find -l|NVML: |^NCCL |NVRM|Bus error|Killed$|No space left on device"
)


@dataclass(frozen=True)
class Failure:
    """Why an engine did not start. The line is the engine's own; remedy is empty where none is known."""

    code: str
    line: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.line}\nWhat to do: {self.remedy}" if self.remedy else self.line


def decisive_failure(raw: Iterable[str]) -> Failure | None:
    """Return why the engine of this log died, or None when nothing says so.

    Where the log holds several lives of the engine, the latest that says anything counts.
    """
    for life in reversed(_lives(parse_lines(raw))):
        candidates = list(_candidates(life))
        if candidates:
            return _choose(candidates)
    return None


def _choose(candidates: list[str]) -> Failure:
    meaningful = [text for text in candidates if not POINTERS.search(text)]
    for rule in RULES:
        for text in meaningful:
            match = rule.pattern.search(text)
            if match:
                return Failure(rule.code, _shorten(text), _fill(rule.remedy, match))
    if meaningful:
        return Failure("unknown", _shorten(meaningful[0]), "")
    return Failure("cause_not_in_log", _shorten(candidates[-1]), "The cause was logged earlier: read further back.")


def _lives(lines: list[Line]) -> list[list[Line]]:
    """Cut a log where the engine started; what precedes the first start (imports, arguments) belongs to it."""
    starts = [number for number, line in enumerate(lines) if START.search(line.text)]
    borders = [0, *starts[1:], len(lines)]
    return [lines[start:end] for start, end in zip(borders, borders[1:])]


def _candidates(lines: list[Line]) -> Iterable[str]:
    """Yield what may be the cause, oldest first; of chained exceptions the last that speaks for itself."""
    chained = ""
    for number, line in enumerate(lines):
        if EXCEPTION.match(line.text):
            found = line.text + _continuation(lines, number)
            if _chain_goes_on(lines, number):
                chained = found
                continue
            yield chained if chained and POINTERS.search(found) else found
            chained = ""
        elif ARGUMENT.match(line.text) or _speaks_for_itself(line):
            yield line.text.strip()


def _chain_goes_on(lines: list[Line], number: int) -> bool:
    """Tell whether the same process raised another exception while it handled this one."""
    following = [line for line in lines[number + 1 : number + 5] if line.process == lines[number].process]
    return any(CHAINED.match(line.text) for line in following)


def _speaks_for_itself(line: Line) -> bool:
    """Tell whether a line outside of any traceback names a failure: systemd's, the kernel's, the linker's."""
    if FRAME.match(line.text) or line.level in {"INFO", "WARNING", "DEBUG"}:
        return False
    logged_error = line.level in {"ERROR", "CRITICAL", "FATAL"} and ": " in line.text
    return logged_error or bool(OUTSIDE.search(line.text))


def _continuation(lines: list[Line], number: int) -> str:
    """Return what a message of several lines goes on with: pydantic's, and those that end in a colon."""
    first = lines[number]
    if not PYDANTIC.search(first.text) and not first.text.rstrip().endswith(":"):
        return ""
    parts: list[str] = []
    for line in lines[number + 1 : number + 1 + CONTINUATION_LINES]:
        text = line.text.strip()
        if not text or line.process != first.process or CHAINED.match(text) or text.startswith(MESSAGE_ENDS):
            break
        parts.append(text)
    return "".join(f" {part}" for part in parts)


def _shorten(text: str) -> str:
    tidy = re.sub(r"\s*\[type=value_error, input_value=.*", "", text)
    return tidy if len(tidy) <= MAX_SHOWN_CHARS else tidy[: MAX_SHOWN_CHARS - 1] + "…"


def _fill(remedy: str, match: re.Match[str]) -> str:
    def group(found: re.Match[str]) -> str:
        return match[int(found[1])] or "its own limit"

    return re.sub(r"\{(\d)\}", group, remedy)

"""The line of an engine's log that says why it did not start, and what to do about it.

An engine that dies prints several tracebacks: one per process, each raised again by the process above with
«See root cause above» at the end. The decisive line is looked for in two steps: rules that know a failure and
its remedy come first; where none matches, the first exception that does not merely point to another one is taken,
and where it was raised says at least what the engine was doing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import dropwhile

from ..engines.lines import Line, parse_lines
from ..engines.report import START
from .areas import area_of
from .rule import Rule, fill
from .rules import ENGINE_RULES
from .rules_host import GPU_RULES

MAX_SHOWN_CHARS = 1200
CONTINUATION_LINES = 8
MESSAGE_ENDS = ("Traceback", "For further information", "File ")

# Exceptions whose text only points to another one, or that follow from another process's death.
POINTERS = re.compile(
    r"See (?:the )?(?:root cause|stack trace|error|traceback)|Failed core proc"
    r"|initialization failed due to an exception"
    r"|EngineDeadError|EngineCore encountered an issue|Engine process failed to start|Worker failed with error ''"
    r"|KeyboardInterrupt(?!: terminated)|CancelledError|SystemExit|BrokenPipeError|ConnectionResetError|EOFError"
    r"|Engine core proc \S* died|WorkerProc \S+ died|leaked (?:semaphore|shared_memory)",
    re.IGNORECASE,
)
READY = re.compile(r"INFO: +Application startup complete")
STOPPING = re.compile(r"\[shutdown\] API server: shutdown triggered")
# The last line of a traceback: a dotted exception name at the left margin, with or without a message.
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]*(?:Error|Exception|Exit|Interrupt|Timeout|Refused|Exceeded|Failed|Resources|NotFound|IsEnabled)"
    r"(?:\([\w: .,=-]*\))?(?:: .*|:)?$"
)
ARGUMENT = re.compile(r"^(?:\S+ ?)?(?:\S+: )?error: .+")
PYDANTIC = re.compile(r"validation errors? for ")
CAUSED = re.compile(r"^The above exception was the direct cause")
# What Python meets while it tears objects down: it was not raised to anybody.
IGNORED = re.compile(r"^Exception ignored in\b")
CHAINED = re.compile(rf"^During handling of the above exception, another|{CAUSED.pattern}")
FRAME = re.compile(r"^\s+(?!\s*NVRM: )|^File \"|^Traceback \(most recent call last\)|^\s*\^+\s*$")
# A frame of a traceback: its path below a folder of packages, or in a checkout of vLLM, and its function.
PLACE = re.compile(
    r"^\s*File \"\S*/(?:(?:site|dist)-packages/|(?=vllm/))(?P<path>\S+)\", line \d+(?P<function>, in \S+)?"
)
# Exceptions about a file that they do not name, and the code of a traceback that is not Python's own.
NAMELESS = re.compile(r"^(?:[\w.]+\.)?(?:JSONDecodeError|UnicodeDecodeError): ")
# What is logged as an error and harms nobody: vLLM asks the Hub about files that it then finds on the disk, and refuses
# what a client sent.
HARMLESS = re.compile(r"Error retrieving (?:safetensors|file list): |maximum context length is \d+ tokens")
# Levels of what is no failure in a logger's own eyes.
QUIET = {"INFO", "WARNING", "DEBUG"}
# A traceback that begins on the line of the logger that announces it.
ANNOUNCED = re.compile(r"\bTraceback \(most recent call last\):?$")
SOURCE = re.compile(r"^\s+File \"\S*/(?:site|dist)-packages/(\S+)\"")
OUTSIDE = re.compile(
    r"oom-kill|OOM killer|Out of memory: Killed|status=2\d\d/[A-Z]+|code=(?:killed|dumped)|Segmentation fault"
    r"|terminate called|cannot find -l|NVML: |^NCCL |\b(?:nvls\.cc:\d+ NCCL WARN|NCCL WARN Call to ibv_)"
    r"|NVRM: (?!loading |.*\bNonfatal\b)|Bus error|Killed$"
    r"|No space left on device"
    r"|^Value error, |^Duplicate GPU|no socket interface found|^nvcc fatal|fatal error: |rocBLAS error: "
    r"|: error loading model: "
    r"|: failed to allocate .*buffer|cudaMalloc failed|(?:set_mempolicy|setting membind): Operation"
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


@dataclass(frozen=True)
class Candidate:
    """What may be the cause: the frames say where it was raised, and `cause` what it was raised from."""

    text: str
    frames: Sequence[str] = ()
    cause: str = ""

    def in_full(self) -> str:
        """Return it with what it was raised from, of which it need not say anything."""
        return f"{self.text}\nbecause of {self.cause}" if self.cause and self.cause not in self.text else self.text


@dataclass(frozen=True)
class Decision:
    """The line that decides, and the rule that knows it; rule and match are None where none does."""

    line: str
    rule: Rule | None = None
    match: re.Match[str] | None = None
    is_pointer: bool = False


def decisive_failure(raw: Iterable[str]) -> Failure | None:
    """Return why the engine of this log died, or None when nothing says so.

    Where the log holds several lives of the engine, the latest that says anything counts.
    """
    decision = decide(raw, ENGINE_RULES)
    if decision is None:
        return None
    if decision.rule:
        return Failure(decision.rule.code, decision.line, fill(decision.rule.remedy, decision.match))
    if decision.is_pointer:
        return Failure("cause_not_in_log", decision.line, "The cause was logged earlier: read further back.")
    return Failure("unknown", decision.line, "")


def decide(raw: Iterable[str], rules: Sequence[Rule]) -> Decision | None:
    """Return the line that says why, by rules in their order; None when nothing in the log is a failure."""
    for life in reversed(_lives(parse_lines(since_served(list(raw))))):
        found = list(_candidates(life))
        candidates = [candidate.text for candidate in found]
        plain = _plain(life) if candidates else []
        # What the driver says of itself explains all else, and is often only a warning.
        deepest = [rule for rule in rules if rule in GPU_RULES]
        decision = _known(plain, deepest) or _known(candidates, rules) or _known(plain, rules)
        if decision:
            return decision
        meaningful = [candidate for candidate in found if not POINTERS.search(candidate.text)]
        if meaningful:
            return Decision(_shorten(meaningful[0].in_full()), area_of(meaningful[0].frames))
        # Processes that are told to stop complain of each other's end.
        stopped = next((number for number, line in enumerate(life) if STOPPING.search(line.text)), len(life))
        consequences = [candidate.text for candidate in _candidates(life[:stopped])]
        if consequences:
            return Decision(_shorten(consequences[-1]), is_pointer=True)
    return None


def since_served(raw: Sequence[str]) -> Sequence[str]:
    """Leave out what was logged before the engine last began to serve: it kept nothing from serving."""
    ready = [number for number, line in enumerate(raw) if READY.search(line)]
    return raw[ready[-1] :] if ready else raw


def _known(texts: Iterable[str], rules: Sequence[Rule]) -> Decision | None:
    """Return the first line of the first rule that any of the lines shows."""
    meaningful = [text for text in texts if not POINTERS.search(text)]
    for rule in rules:
        for text in meaningful:
            match = rule.pattern.search(text) if rule.pattern else None
            if match:
                return Decision(_shorten(text), rule, match)
    return None


def _plain(lines: list[Line]) -> list[str]:
    """Return the lines outside of tracebacks that no logger calls harmless."""
    outside = (line.text for line in lines if line.level not in QUIET and not FRAME.match(line.text))
    return [text for text in outside if not HARMLESS.search(text)]


def _lives(lines: list[Line]) -> list[list[Line]]:
    """Cut a log where the engine started; what precedes the first start (imports, arguments) belongs to it."""
    starts = [number for number, line in enumerate(lines) if START.search(line.text)]
    borders = [0, *starts[1:], len(lines)]
    return [lines[start:end] for start, end in zip(borders, borders[1:])]


def _candidates(lines: list[Line]) -> Iterable[Candidate]:
    """Yield what may be the cause, oldest first.

    Of chained exceptions it is the last that speaks for itself.
    """
    chained: Candidate | None = None
    for number, line in enumerate(lines):
        if EXCEPTION.match(line.text) and line.level not in QUIET:
            announced, before = _above(lines, number)
            if HARMLESS.search(line.text) or IGNORED.match(announced):
                continue
            text = line.text + (_continuation(lines, number) or _asserted(lines, number) or _reader(lines, number))
            found = Candidate(text, _frames(lines, number), _cause(announced, before))
            if _chain_goes_on(lines, number):
                chained = found
                continue
            yield chained if chained and POINTERS.search(text) else found
            chained = None
        elif ARGUMENT.match(line.text) or _speaks_for_itself(line):
            yield Candidate(line.text.strip() + _thrown(lines, number))


def _frames(lines: list[Line], number: int) -> list[str]:
    """Return the frames of the traceback that a line ends, as «PATH in FUNCTION», outermost first."""
    frames: list[str] = []
    for line in _upwards(lines, number):
        if line.process != lines[number].process or not FRAME.match(line.text):
            break
        found = PLACE.match(line.text)
        if found:
            frames.append(found["path"] + (found["function"] or "").lstrip(","))
    return frames[::-1]


def _upwards(lines: list[Line], number: int) -> Iterable[Line]:
    """Return the lines above one, the nearest first; no copy, since a crash loop's log has thousands of exceptions."""
    return (lines[above] for above in range(number - 1, -1, -1))


def _chain_goes_on(lines: list[Line], number: int) -> bool:
    """Tell whether the same process raised another exception while it handled this one."""
    following = [line for line in lines[number + 1 : number + 5] if line.process == lines[number].process]
    return any(CHAINED.match(line.text) for line in following)


def _cause(announced: str, before: str) -> str:
    """Return the exception that a traceback was raised from, as the lines above it say; nothing where they say none."""
    known = CAUSED.match(announced) and EXCEPTION.match(before) and not POINTERS.search(before)
    return before if known else ""


def _above(lines: list[Line], number: int) -> tuple[str, str]:
    """Return the two lines that its process wrote before the traceback which a line ends, the nearer one first."""
    own = (line.text for line in _upwards(lines, number) if line.process == lines[number].process)
    above = (text for text in dropwhile(lambda text: not text.strip() or FRAME.match(text), own) if text.strip())
    return next(above, ""), next(above, "")


def _speaks_for_itself(line: Line) -> bool:
    """Tell whether a line outside of any traceback names a failure: systemd's, the kernel's, the linker's."""
    if FRAME.match(line.text) or line.level in QUIET:
        return False
    if HARMLESS.search(line.text) or ANNOUNCED.search(line.text):
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


def _reader(lines: list[Line], number: int) -> str:
    """Return which code read the file that an exception says nothing of."""
    first = lines[number]
    if not NAMELESS.match(first.text):
        return ""
    for line in _upwards(lines, number):
        found = SOURCE.match(line.text)
        if found and line.process == first.process:
            return f" (in {found[1]})"
        if not FRAME.match(line.text):
            break
    return ""


def _thrown(lines: list[Line], number: int) -> str:
    """Return the message of a C++ exception, which follows the name of its class."""
    following = lines[number + 1].text.strip() if number + 1 < len(lines) else ""
    return f" {following}" if "terminate called" in lines[number].text and following.startswith("what():") else ""


def _asserted(lines: list[Line], number: int) -> str:
    """Return the line of code that raised an exception which says nothing itself."""
    first = lines[number]
    if ":" in first.text or not number:
        return ""
    earlier = (line for line in _upwards(lines, number) if line.process == first.process)
    code = next((line.text.strip() for line in earlier if not set(line.text.strip()) <= set("^~ ")), "")
    return f" ({code})" if code and not code.startswith(("File ", "Traceback")) else ""


def _shorten(text: str) -> str:
    tidy = re.sub(r"\s*\[type=value_error, input_value=.*", "", text)
    return tidy if len(tidy) <= MAX_SHOWN_CHARS else tidy[: MAX_SHOWN_CHARS - 1] + "…"

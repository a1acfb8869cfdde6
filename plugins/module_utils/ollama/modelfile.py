"""Modelfiles, as far as /api/create takes them: https://docs.ollama.com/modelfile."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .values import OllamaError

INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)\s+(.*)$", re.DOTALL)
TEXTS = ("TEMPLATE", "SYSTEM")
MANY_VALUED = ("stop",)
QUOTES = '"""'


@dataclass
class Modelfile:
    """What a Modelfile says."""

    source: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    template: str = ""
    system: str = ""
    adapters: list[str] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    licenses: list[str] = field(default_factory=list)


def parse(text: str) -> Modelfile:
    """Read a Modelfile. Raises OllamaError, which names the line."""
    result = Modelfile()
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        start, line = position + 1, lines[position]
        position += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        while line.count(QUOTES) == 1:
            if position >= len(lines):
                raise OllamaError(f"Modelfile line {start}: expected {QUOTES} to close the text, found the end")
            line += "\n" + lines[position]
            position += 1
        _take(result, start, line)
    if not result.source:
        raise OllamaError("expected FROM in the Modelfile, found none: name a model or a GGUF file")
    return result


def value(text: str) -> Any:
    """A parameter's value as JSON would have it: the server takes numbers and booleans as such."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text, text)


def same_parameters(wanted: Mapping[str, Any], shown: str) -> bool:
    """Whether /api/show's table of parameters has all of these values."""
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        name, _separator, rest = line.partition(" ")
        found.setdefault(name, []).append(str(_plain(_shown(rest.strip()))))
    return all(
        sorted(_as_list(item)) == sorted(found.get(name, [])) for name, item in wanted.items() if item is not None
    )


def _as_list(item: Any) -> list[str]:
    return [str(_plain(str(each))) for each in (item if isinstance(item, list) else [item])]


def _shown(text: str) -> str:
    """The text that the server shows by Go's %#v.

    Go's strconv.Quote knows no escape that Python's literals lack, so they read it; JSON lacks \\a, \\v, \\x and \\U.
    """
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        return text
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):  # not what Go quotes: as it is, without its quotes
        return text[1:-1]


def _plain(text: str) -> Any:
    """Numbers are compared as numbers: the server shows 0.50 as 0.5 and True as true."""
    found = value(text.lower() if text in {"True", "False"} else text)
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


def _take(result: Modelfile, line: int, text: str) -> None:
    match = INSTRUCTION.match(text)
    if not match:
        raise OllamaError(f"Modelfile line {line}: expected an instruction and its value, found {text!r}")
    name, rest = match[1].upper(), _unquote(match[2].strip())
    if name == "FROM":
        result.source = rest
    elif name == "PARAMETER":
        key, _separator, item = rest.partition(" ")
        item = value(_unquote(item.strip()))
        if key in MANY_VALUED:
            result.parameters.setdefault(key, []).append(str(item))
        else:
            result.parameters[key] = item
    elif name in TEXTS:
        setattr(result, name.lower(), rest)
    elif name == "ADAPTER":
        result.adapters.append(rest)
    elif name == "LICENSE":
        result.licenses.append(rest)
    elif name == "MESSAGE":
        role, _separator, content = rest.partition(" ")
        result.messages.append({"role": role, "content": _unquote(content.strip())})
    else:
        known = "FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, LICENSE or MESSAGE"
        raise OllamaError(f"Modelfile line {line}: expected {known}, found {name}")


def _unquote(text: str) -> str:
    for quote in (QUOTES, '"'):
        if len(text) >= 2 * len(quote) and text.startswith(quote) and text.endswith(quote):
            return text[len(quote) : -len(quote)]
    return text

"""Values as people and Ollama write them: sizes, durations, addresses, switches.

Ollama reads durations by Go's time.ParseDuration and switches by strconv.ParseBool; both are repeated here so
that a setting can be compared with what the server says it runs with.
"""

from __future__ import annotations

import re

from ..support.addresses import HIGHEST_PORT, is_port

SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*$", re.IGNORECASE)
EXPONENTS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
DURATION = re.compile(r"^([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)$")
DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
MOST_BYTES = 2**63 - 1
UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER_SECONDS = float("inf")
GO_MAX_DURATION_SECONDS = 9.2e9  # 2^63 ns, which the server prints for «for ever»
TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
DEFAULT_PORT = 11434


class OllamaError(ValueError):
    """A setting or a model that cannot be had: what was expected, what was found, what to do."""


def size_bytes(text: str) -> int:
    """Read `60GB` (10⁹), `60GiB` (2³⁰) or a number of bytes. Raises OllamaError."""
    match = SIZE.match(text)
    if not match:
        raise OllamaError(f"expected a size such as 60GB, 55GiB or a number of bytes, found {text!r}")
    base = 1024 if match[3] else 1000
    value = float(match[1]) * base ** EXPONENTS[match[2].upper()]
    if value > MOST_BYTES:
        raise OllamaError(f"expected a size of at most {MOST_BYTES} bytes, found {text!r}")
    return int(value)


def duration_seconds(text: str) -> float:
    """Read a duration as Ollama does: `5m`, `1h30m`, a number of seconds, negative for ever. Raises OllamaError."""
    value = text.strip()
    try:
        seconds = float(int(value))
    except (ValueError, OverflowError):
        match = DURATION.match(value)
        if not match:
            raise OllamaError(f"expected a duration such as 5m, 24h or -1, found {text!r}") from None
        seconds = sum(float(number) * UNIT_SECONDS[unit] for number, unit in DURATION_PART.findall(match[2]))
        seconds = -seconds if match[1] == "-" else seconds
    return FOREVER_SECONDS if seconds < 0 or seconds > GO_MAX_DURATION_SECONDS else seconds


def switch(text: str) -> bool:
    """Read a switch as Ollama does: empty is off, and what is no boolean counts as on."""
    return bool(text) and text not in FALSE


def address(text: str) -> tuple[str, int]:
    """Split OLLAMA_HOST into host and port, with the server's own defaults. Raises OllamaError."""
    value = text.strip().strip("\"'")
    scheme, separator, rest = value.partition("://")
    default_port = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    hostport = (rest if separator else value).partition("/")[0]
    match = re.match(r"^(\[[^\]]*\]|[^:]*)(?::(\d+))?$", hostport) or re.match(r"^([0-9a-fA-F:]+)()$", hostport)
    if not match:
        raise OllamaError(f"expected OLLAMA_HOST as HOST:PORT, such as 127.0.0.1:11434, found {text!r}")
    port = int(match[2]) if match[2] else default_port
    if not is_port(port):
        raise OllamaError(f"expected a port from 1 to {HIGHEST_PORT} in OLLAMA_HOST, found {text!r}")
    return match[1].strip("[]") or "127.0.0.1", port


def url(text: str) -> str:
    """The URL that reaches a server with this OLLAMA_HOST from its own machine."""
    host, port = address(text)
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - translated away
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"

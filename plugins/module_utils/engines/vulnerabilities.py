"""Engine versions with published vulnerabilities that matter to a server of models.

The list holds what an operator should not run unknowingly: code execution, secrets or other users' data leaking, a
request that ends the service. It is data, collected by hand from the CVE list, OSV and the projects' advisories, and no
proof that a version without an entry is safe. Entries whose first fixed version is not published are left out.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

AS_OF = "2026-11-24"
SEVERITIES = ("medium", "high", "critical")


@dataclass(frozen=True)
class Vulnerability:
    """One entry: versions from introduced up to, but not including, fixed are affected."""

    identifier: str
    engine: str
    introduced: str
    fixed: str
    severity: str
    summary: str


VULNERABILITIES = (
    Vulnerability("CVE-2024-28224", "ollama", "0", "0.1.29", "high", "web pages reach the API by DNS rebinding"),
    Vulnerability(
        "CVE-2024-37032", "ollama", "0", "0.1.34", "high", "a pulled model writes files anywhere: code execution"
    ),
    Vulnerability("CVE-2025-44779", "ollama", "0", "0.1.34", "medium", "a crafted manifest deletes files"),
    Vulnerability("CVE-2024-39720", "ollama", "0", "0.1.46", "high", "a crafted GGUF ends the server"),
    Vulnerability("CVE-2024-45436", "ollama", "0", "0.1.47", "high", "a crafted ZIP archive writes outside its folder"),
    Vulnerability("CVE-2024-12886", "ollama", "0", "0.4.0", "high", "a crafted GZIP exhausts memory"),
    Vulnerability(
        "CVE-2026-7482", "ollama", "0", "0.17.1", "critical", "a crafted GGUF leaks keys and other users' prompts"
    ),
    Vulnerability("CVE-2025-29770", "vllm", "0", "0.8.0", "medium", "guided decoding fills the disk"),
    Vulnerability("CVE-2025-29783", "vllm", "0.6.5", "0.8.0", "critical", "code execution by the Mooncake integration"),
    Vulnerability("CVE-2025-32444", "vllm", "0.6.5", "0.8.5", "critical", "code execution by the Mooncake integration"),
    Vulnerability("CVE-2025-47277", "vllm", "0.6.5", "0.8.5", "critical", "code execution by the PyNccl KV transfer"),
    Vulnerability("CVE-2025-48944", "vllm", "0.8.0", "0.9.0", "medium", "a malformed tool definition ends the engine"),
    Vulnerability("CVE-2025-48956", "vllm", "0.1.0", "0.10.1.1", "high", "a large header exhausts memory"),
    Vulnerability(
        "CVE-2025-9141", "vllm", "0.10.0", "0.10.1.1", "high", "code execution by the Qwen3-Coder tool parser"
    ),
    Vulnerability("CVE-2025-59425", "vllm", "0", "0.11.0", "high", "the API key can be guessed by measuring time"),
    Vulnerability("CVE-2025-62164", "vllm", "0.10.2", "0.11.1", "high", "prompt embeddings corrupt memory"),
    Vulnerability("CVE-2025-62426", "vllm", "0.5.5", "0.11.1", "medium", "chat_template_kwargs blocks the server"),
    Vulnerability(
        "CVE-2026-22807", "vllm", "0.10.1", "0.14.0", "high", "a model's code runs without trust_remote_code"
    ),
    Vulnerability(
        "CVE-2026-22778", "vllm", "0.8.3", "0.14.1", "critical", "code execution by a video for a video model"
    ),
    Vulnerability(
        "CVE-2026-27893", "vllm", "0.10.1", "0.18.0", "high", "a model's code runs without trust_remote_code"
    ),
    Vulnerability(
        "GHSA-v97p-wpxp-px84", "vllm", "0.16.0", "0.21.0", "medium", "tokens of another request with pipelining"
    ),
    Vulnerability(
        "CVE-2026-47155", "vllm", "0", "0.22.0", "medium", "parts of a pinned model come from another revision"
    ),
    Vulnerability("CVE-2026-116176", "vllm", "0.9.2", "0.24.0", "medium", "X-Request-Id steers the P2P NCCL connector"),
    Vulnerability(
        "PYSEC-2026-2303", "vllm", "0.12.0", "0.24.0", "medium", "prompt embeddings end an M-RoPE model's engine"
    ),
    Vulnerability("GHSA-fpch-3xrf-7q96", "vllm", "0.21.0", "0.28.0", "medium", "thinking budgets reach other requests"),
    Vulnerability("PYSEC-2026-4325", "vllm", "0", "0.30.0", "high", "request methods fill memory (Rust front end)"),
    Vulnerability("CVE-2026-105757", "vllm", "0", "0.30.0", "medium", "structured output ends the engine"),
    Vulnerability("CVE-2026-105760", "vllm", "0", "0.30.0", "medium", "a small video exhausts CPU and memory"),
    Vulnerability("CVE-2026-114053", "vllm", "0.7.3", "0.31.0", "high", "requests choose a model's code revision"),
    Vulnerability(
        "CVE-2026-115911", "vllm", "0.19.0", "0.32.0", "medium", "a request's chat template blocks the server"
    ),
)


def release(version: str) -> tuple[tuple[int, ...], bool]:
    """Return the numbers of a version, and whether it is final: what was fixed in 0.8.5 need not be in 0.8.5rc1.

    Whatever else follows the numbers (.post1, +cpu, a package's revision) comes after the release and has its fixes.
    Raises ValueError when there are no numbers.
    """
    match = re.match(r"v?(\d+(?:\.\d+)*)[.-]?(a|b|c|rc|alpha|beta|pre|dev)?", version.strip().lower())
    if not match:
        raise ValueError(f"{version!r} is no version; expected numbers with dots, for instance 0.33.0")
    numbers = [int(number) for number in match.group(1).split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), match.group(2) is None


def vulnerabilities_of(engine: str, version: str) -> list[Vulnerability]:
    """Return what is known of a version, worst first. A pre-release counts as the release for what came in with it."""
    this = release(version)
    found = [
        entry
        for entry in VULNERABILITIES
        if entry.engine == engine and release(entry.introduced)[0] <= this[0] and this < release(entry.fixed)
    ]
    return sorted(found, key=lambda entry: (-SEVERITIES.index(entry.severity), entry.identifier))


def report(engine: str, version: str) -> dict[str, Any]:
    """Return the findings as plain values, with the lowest version that none of them affects.

    refused names those of high and critical severity, warned the rest.
    """
    found = vulnerabilities_of(engine, version)
    fixed = max((entry.fixed for entry in found), key=release, default=None)
    return {
        "as_of": AS_OF,
        "upgrade_to": fixed,
        "refused": [asdict(entry) for entry in found if entry.severity != "medium"],
        "warned": [asdict(entry) for entry in found if entry.severity == "medium"],
    }


def problems(engine: str, version: str) -> list[str]:
    """Return why a version should not be served: one sentence at most, with what to do. Mediums are no reason."""
    found = [entry for entry in vulnerabilities_of(engine, version) if entry.severity != "medium"]
    if not found:
        return []
    return [f"{_sentence(engine, version, found)}; set {engine}_allow_vulnerable to true to serve it all the same"]


def warnings(engine: str, version: str, allowed: bool) -> list[str]:
    """Return what is wrong with a version that is served all the same: mediums, and where it is allowed the rest."""
    found = [entry for entry in vulnerabilities_of(engine, version) if allowed or entry.severity == "medium"]
    return [_sentence(engine, version, found)] if found else []


def _sentence(engine: str, version: str, found: list[Vulnerability]) -> str:
    fixed = max((entry.fixed for entry in found), key=release)
    holes = "; ".join(
        f"{entry.identifier} ({entry.severity}, fixed in {entry.fixed}): {entry.summary}" for entry in found
    )
    return f"{engine}_version: {version} has known vulnerabilities ({holes}). Expected {fixed} or later"

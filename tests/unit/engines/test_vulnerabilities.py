"""Which versions are known to be vulnerable."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines.vulnerabilities import (
    SEVERITIES,
    VULNERABILITIES,
    problems,
    release,
    report,
    vulnerabilities_of,
    warnings,
)


def identifiers(engine: str, version: str) -> set[str]:
    return {entry.identifier for entry in vulnerabilities_of(engine, version)}


@pytest.mark.parametrize(
    ("engine", "identifier", "last_affected", "fixed"),
    [
        ("ollama", "CVE-2024-37032", "0.1.33", "0.1.34"),
        ("ollama", "CVE-2026-7482", "0.17.0", "0.17.1"),
        ("vllm", "CVE-2025-32444", "0.8.4", "0.8.5"),
        ("vllm", "CVE-2025-47277", "0.8.4", "0.8.5"),
        ("vllm", "CVE-2025-9141", "0.10.1", "0.10.1.1"),
        ("vllm", "CVE-2025-62164", "0.11.0", "0.11.1"),
        ("vllm", "CVE-2026-22778", "0.14.0", "0.14.1"),
    ],
)
def test_a_fix_ends_the_range(engine: str, identifier: str, last_affected: str, fixed: str) -> None:
    assert identifier in identifiers(engine, last_affected)
    assert identifier not in identifiers(engine, fixed)


def test_what_came_in_later_does_not_affect_what_was_before() -> None:
    assert "CVE-2025-32444" not in identifiers("vllm", "0.6.4")
    assert "CVE-2025-32444" in identifiers("vllm", "0.6.5")


def test_engines_are_kept_apart() -> None:
    assert not any(identifier in identifiers("vllm", "0.1.0") for identifier in ("CVE-2024-37032", "CVE-2026-7482"))


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.33.0"), ("vllm", "0.32.0"), ("ollama", "0.32.15")])
def test_what_this_collection_installs_is_not_listed(engine: str, version: str) -> None:
    assert vulnerabilities_of(engine, version) == []


def test_the_worst_come_first_and_the_report_says_what_would_help() -> None:
    found = report("vllm", "0.8.4")
    assert [entry["severity"] for entry in found["refused"]][:2] == ["critical", "critical"]
    assert {entry["severity"] for entry in found["warned"]} == {"medium"}
    assert found["upgrade_to"] == "0.31.0"
    assert not {entry["identifier"] for entry in found["refused"]} & identifiers("vllm", "0.31.0")
    assert report("vllm", "0.33.0") == {"as_of": found["as_of"], "upgrade_to": None, "refused": [], "warned": []}


def test_a_problem_names_the_holes_and_both_ways_out() -> None:
    (sentence,) = problems("ollama", "0.17.0")
    assert sentence.startswith(
        "ollama_version: 0.17.0 has known vulnerabilities (CVE-2026-7482 (critical, fixed in 0.17.1): "
    )
    assert "Expected 0.17.1 or later" in sentence
    assert "ollama_allow_vulnerable" in sentence
    assert problems("vllm", "0.31.0") == []  # mediums alone
    assert problems("ollama", "0.32.15-2") == []


def test_mediums_are_warned_of_and_the_rest_where_it_is_allowed() -> None:
    (sentence,) = warnings("vllm", "0.31.0", allowed=False)
    assert "CVE-2026-115911 (medium, fixed in 0.32.0)" in sentence
    assert "Expected 0.32.0 or later" in sentence
    assert warnings("ollama", "0.17.0", allowed=False) == []
    assert "CVE-2026-7482 (critical, fixed in 0.17.1)" in warnings("ollama", "0.17.0", allowed=True)[0]
    assert warnings("vllm", "0.33.0", allowed=True) == []


@pytest.mark.parametrize("version", ["0.8.5", "v0.8.5", "0.8.5.post1", "0.8.5+cpu", " 0.8.5 ", "0.8.5.0", "0.8.5-2"])
def test_what_comes_after_a_release_counts_as_the_release(version: str) -> None:
    assert release(version) == ((0, 8, 5), True)


@pytest.mark.parametrize("version", ["0.8.5rc1", "0.8.5-rc0", "0.8.5.dev3+g1234567", "0.8.5a1", "0.8.5-beta"])
def test_what_comes_before_a_release_does_not_have_its_fixes(version: str) -> None:
    assert release("0.8.4") < release(version) < release("0.8.5")
    assert "CVE-2025-32444" in identifiers("vllm", version)


def test_numbers_are_compared_as_numbers() -> None:
    assert "CVE-2026-7482" not in identifiers("ollama", "0.100.0")
    assert "CVE-2026-7482" in identifiers("ollama", "0.9.6")


@pytest.mark.parametrize("version", ["", "latest", "."])
def test_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        release(version)


def test_every_entry_is_whole() -> None:
    assert len({entry.identifier for entry in VULNERABILITIES}) == len(VULNERABILITIES)
    for entry in VULNERABILITIES:
        assert entry.engine in ("vllm", "ollama")
        assert entry.severity in SEVERITIES
        assert release(entry.introduced) < release(entry.fixed)

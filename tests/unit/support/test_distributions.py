"""Which hosts are refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.support.distributions import Distribution, read_distribution


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *(("debian", version) for version in ("12", "13", "14", "")),
        *(("ubuntu", version) for version in ("22.04", "24.04")),
        *(("rocky", "9.6"), ("rhel", "10.1"), ("almalinux", "9")),
    ],
)
def test_known(name: str, version: str) -> None:
    assert Distribution(name, version).problem() == ""


@pytest.mark.parametrize(("name", "version"), [("debian", "11"), ("ubuntu", "20.04"), ("rhel", "8.10")])
def test_too_old(name: str, version: str) -> None:
    problem = Distribution(name, version).problem()
    assert f"found {name} {version}, which is too old: upgrade it first" in problem


@pytest.mark.parametrize("name", ["arch", "alpine", "opensuse-leap", "nixos", ""])
def test_other_families_are_refused_with_what_to_do(name: str) -> None:
    problem = Distribution(name, "1").problem()
    assert problem.startswith("expected Debian 12 or 13")
    assert "install one of them" in problem


def test_a_derivative_is_taken_for_its_family() -> None:
    mint = Distribution("linuxmint", "22", like=("ubuntu", "debian"))
    assert (mint.family, mint.problem()) == ("ubuntu", "")


def test_os_release(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(
        'ID="rocky"\nVERSION_ID="9.6"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 9.6"\n'
    )
    found = read_distribution(tmp_path)
    assert (found.id, found.version, found.family, found.name) == ("rocky", "9.6", "redhat", "Rocky Linux 9.6")
    assert read_distribution(tmp_path / "absent").family == ""

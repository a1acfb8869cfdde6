"""Unit files as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.adopt.units import (
    expand,
    find_units,
    read_environment_file,
    split_words,
)


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_drop_ins_add_to_a_unit_and_reset_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "etc/systemd/system/ollama.service",
        '[Service]\nExecStart=/usr/bin/old\nEnvironment="A=1" B=two\nEnvironment=C=3\n# Environment=D=4\n',
    )
    folder = "etc/systemd/system/ollama.service.d"
    write(tmp_path, f"{folder}/20-later.conf", "[Service]\nExecStart=\nExecStart=-/usr/local/bin/ollama serve\n")
    write(tmp_path, f"{folder}/10-earlier.conf", '[Service]\nEnvironment="A=9 9"\n[Unit]\nEnvironment=X=1\n')
    (unit,) = find_units(tmp_path)
    assert unit.command() == ["/usr/local/bin/ollama", "serve"]
    assert unit.environment(tmp_path) == {"A": "9 9", "B": "two", "C": "3"}
    assert [path.name for path in unit.drop_ins] == ["10-earlier.conf", "20-later.conf"]


def test_an_administrators_unit_stands_before_a_packages(tmp_path: Path) -> None:
    write(tmp_path, "usr/lib/systemd/system/x.service", "[Service]\nUser=package\n")
    write(tmp_path, "etc/systemd/system/x.service", "[Service]\nUser=administrator\n")
    assert [unit.last("User") for unit in find_units(tmp_path)] == ["administrator"]


def test_links_are_other_names_and_count_once(tmp_path: Path) -> None:
    path = write(tmp_path, "etc/systemd/system/x.service", "[Service]\nUser=a\n")
    (path.parent / "alias.service").symlink_to(path)
    (path.parent / "masked.service").symlink_to("/dev/null")
    assert [unit.name for unit in find_units(tmp_path)] == ["x.service"]


def test_an_environment_file_wins_over_the_line(tmp_path: Path) -> None:
    write(tmp_path, "etc/default/x", 'A="from the file"\n; no\nB=2\n')
    write(tmp_path, "etc/systemd/system/x.service", "[Service]\nEnvironmentFile=-/etc/default/x\nEnvironment=A=1\n")
    (unit,) = find_units(tmp_path)
    assert unit.environment(tmp_path) == {"A": "from the file", "B": "2"}


def test_a_long_command_goes_over_lines(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/system/x.service", "[Service]\nExecStart=/bin/vllm serve \\\n  # why\n  m --port 1\n")
    (unit,) = find_units(tmp_path)
    assert unit.command() == ["/bin/vllm", "serve", "m", "--port", "1"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}/x", "1/x"),
        ("$A-$B", "1-$B"),
        ("${B:-fallback}", "fallback"),
        ("~/m", "/home/ps/m"),
        ("%h/m", "/home/ps/m"),
        ("a~b", "a~b"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}, "/home/ps") == expanded


def test_an_odd_quote_puts_a_line_out_of_force() -> None:
    assert split_words('a "b') == []


def test_lines_that_are_no_assignments_are_left_out() -> None:
    assert read_environment_file("A=1\nno assignment\n1B=2\n") == {"A": "1"}

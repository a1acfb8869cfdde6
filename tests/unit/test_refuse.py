"""The action that ends a host's run, by ansible-playbook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.mark.parametrize(
    ("arguments", "succeeds", "told"),
    [
        ({"problems": []}, True, "ok=1"),
        ({"problems": [], "notes": ["a"]}, True, "msg: a"),
        ({"problems": [], "notes": ["a", "b"]}, True, "msg: |- - a - b"),
        ({"problems": [], "report": ["a", "", "b"]}, True, "msg: |- a b"),
        ({"problems": [], "notes": ["n", "m"], "report": ["a", "b"]}, True, "msg: |- - n - m a b"),
        ({"problems": ["n"], "report": ["a", "b"]}, False, "msg: n"),
        ({"problems": ["a", "b"]}, False, "msg: |- - a - b"),
        ({"problems": ["a", "b"], "heading": "Nothing."}, False, "msg: |- Nothing. - a - b"),
        ({"heading": "Nothing."}, False, "missing required arguments: problems"),
    ],
)
def test_problems_fail_and_notes_are_told(arguments: object, succeeds: bool, told: str, tmp_path: Path) -> None:
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    book = tmp_path / "play.yml"
    book.write_text(yaml.safe_dump([{**play, "tasks": [{"llm.serving.refuse": arguments}]}]), "utf-8")
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", book, "--check"], capture_output=True, text=True, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert (done.returncode == 0) is succeeds, said
    assert told in said

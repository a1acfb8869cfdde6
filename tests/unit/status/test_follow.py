"""Following logs: lines are printed as they come, and a host that cannot be looked at is given up with a message."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.llm.serving.plugins.action import serving_status

UNIT = {"name": "ollama.service", "cursor": "c1", "log": []}
FAILED = {"failed": True, "msg": "No space left on device"}
OPTIONS = {"follow": True, "follow_seconds": 0, "interval_seconds": 0}
LOOK = {"units": [UNIT], "invocation": {"module_args": OPTIONS}}


def line(text: str) -> dict[str, Any]:
    return {"units": [{**UNIT, "log": [text]}]}


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[str]]]:
    """Return the task's result and what was printed, when the module answers so at each look."""

    def run(*answers: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        coming, printed = iter([LOOK, *answers]), []
        plugin = serving_status.ActionModule.__new__(serving_status.ActionModule)
        plugin._task = SimpleNamespace(args={"follow": True})
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(plugin, "_execute_module", lambda **_options: next(coming), raising=False)
        monkeypatch.setattr(serving_status, "render", lambda _host, _result: "the report")
        monkeypatch.setattr(serving_status.display, "display", printed.append)
        monkeypatch.setattr(serving_status.display, "warning", lambda text: None)
        return plugin.run(task_vars={"inventory_hostname": "gpu1"}), printed

    return run


def test_what_goes_on_failing_is_given_up_with_its_reason(follow: Callable[..., Any]) -> None:
    result, printed = follow(line("one"), *[FAILED] * serving_status.MOST_FAILURES)
    assert result["failed"]
    assert result["msg"] == "gpu1 is not followed any more: No space left on device"
    assert printed == ["the report", "gpu1 | ollama.service | one"]


def test_a_failure_that_passes_ends_nothing(follow: Callable[..., Any]) -> None:
    before = [FAILED] * (serving_status.MOST_FAILURES - 1)
    result, printed = follow(*before, line("back"), *before, line("again"), *before, FAILED)
    assert printed[1:] == ["gpu1 | ollama.service | back", "gpu1 | ollama.service | again"]
    assert result["failed"]

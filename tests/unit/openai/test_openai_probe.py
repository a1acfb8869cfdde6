"""The module openai_probe: a unit that dies ends the wait, and its journal says why."""

from __future__ import annotations

import io
import json
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.modules import openai_probe

from .server import Script, serving
from .test_checks import good

LOGS = Path(__file__).parents[1] / "engines" / "logs"
SHOW = "Id=u\nActiveState={active}\nSubState={sub}\nResult={result}\nNRestarts={restarts}\nInvocationID=abc\n"


class Host:
    """Answers for systemctl and journalctl."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: str, **state: Any) -> None:
        self.log = log
        self.state = {"active": "active", "sub": "running", "result": "success", "restarts": 0, **state}
        monkeypatch.setattr(
            "ansible.module_utils.basic.AnsibleModule.run_command", lambda _, command: self.run(command)
        )

    def run(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] == "systemctl":
            return 0, SHOW.format(**self.state), ""
        return 0, self.log, ""


def probe(**options: Any) -> dict[str, Any]:
    output = io.StringIO()
    with patch_module_args({"model": "tiny", **options}), redirect_stdout(output), pytest.raises(SystemExit):
        openai_probe.main()
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def test_a_server_that_serves_reports_its_checks_and_its_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    Host(monkeypatch, (LOGS / "started.log").read_text("utf-8"))
    with serving(good()) as url:
        result = probe(url=url, unit="vllm@tiny.service")
    assert set(result["checks"]) == {"health", "models", "chat", "chat_stream", "completions", "completions_stream"}
    assert all(check["ok"] for check in result["checks"].values())
    assert result["engine_log"]["kv_cache_tokens"] == 4194304
    assert not result["changed"]


def test_a_unit_that_died_ends_the_wait_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    log = (LOGS / "shard_truncated.log").read_text("utf-8")
    Host(monkeypatch, log, active="activating", sub="auto-restart", result="exit-code")
    started = time.monotonic()
    with serving(Script()) as url:
        result = probe(url=url, unit="vllm@tiny.service", wait_seconds=600)
    assert time.monotonic() - started < 60
    assert result["failed"]
    assert result["failure"]["code"] == "shard_corrupt"
    assert "vllm@tiny.service is activating (auto-restart" in result["msg"]
    assert "incomplete metadata, file not fully covered" in result["msg"]
    assert "What to do:" in result["msg"]


def test_a_unit_that_takes_too_long_is_not_blamed_for_an_earlier_life(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, "INFO 11-24 10:57:03 [model.py:733] Resolved architecture: Qwen2ForCausalLM")
    with serving(Script()) as url:
        result = probe(url=url, unit="vllm@tiny.service", wait_seconds=0)
    assert "was not healthy within 0 seconds" in result["msg"]
    assert "failure" not in result
    assert result["journal"] == [host.log]


def test_what_fails_is_named_with_what_was_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    script = good()
    script.answers["/v1/models"] = (200, '{"data": [{"id": "other"}]}')
    with serving(script) as url:
        result = probe(url=url, checks=["health", "models"])
    assert result["failed"]
    assert "models: expected the model 'tiny', found ['other']" in result["msg"]
    assert result["checks"]["health"]["ok"]


def test_the_key_may_lie_on_the_host_and_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[Any] = []
    monkeypatch.setattr(openai_probe, "probe", lambda module, server, question: module.exit_json(seen=server.api_key))
    monkeypatch.setattr(openai_probe, "Server", lambda *values: given.append(values) or FakeServer(values[1]))
    (tmp_path / "a.env").write_text("VLLM_API_KEY=sk-hidden\n")
    result = probe(environment_file=str(tmp_path / "a.env"))
    assert given[0][1] == "sk-hidden"
    assert "sk-hidden" not in json.dumps(result)
    assert probe(environment_file=str(tmp_path / "missing.env"))["seen"] is None


class FakeServer:
    """A server with a key."""

    def __init__(self, api_key: str | None) -> None:
        self.api_key = api_key

#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openai_probe
version_added: 0.1.0
short_description: Check that an OpenAI-compatible server really serves a model
description:
  - Waits until the server is healthy, then asks it for its models and for real replies, plain and streamed.
  - With O(unit) the wait ends as soon as the systemd unit dies, and the failure names the line of its journal that says
    why, and what to do about it.
  - Works with vLLM, Ollama and everything else that speaks this protocol. Needs nothing but Python on the host.
options:
  url:
    description: URL of the server, without C(/v1).
    type: str
    default: http://127.0.0.1:8000
  model:
    description: Name that clients use for the model.
    type: str
    required: true
  checks:
    description:
      - What to check, in this order.
      - A model without a chat template fails V(chat) and V(chat_stream), an embedding model all four that generate.
    type: list
    elements: str
    choices: [health, models, chat, chat_stream, completions, completions_stream]
    default: [health, models, chat, chat_stream, completions, completions_stream]
  wait_seconds:
    description: Seconds to wait for the server to become healthy; V(0) asks once.
    type: float
    default: 0
  health_path:
    description: Path that answers with status 200 once the server is ready.
    type: str
    default: /health
  unit:
    description: The server's systemd unit, for instance C(vllm@qwen32b.service).
    type: str
  api_key:
    description: Key to send as a bearer token.
    type: str
  environment_file:
    description:
      - File of the host with the key as C(VLLM_API_KEY) in it, as systemd reads it, where O(api_key) is not given.
    type: path
  prompt:
    description: What to say to the model.
    type: str
    default: Say hello.
  max_tokens:
    description: How long a reply may be, in tokens.
    type: int
    default: 16
  timeout:
    description: Seconds that a single request may take.
    type: float
    default: 60
  validate_certs:
    description: Whether to check the server's certificate.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust instead of the system's.
    type: path
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    details: Asks the server in check mode as well, since that changes nothing.
  diff_mode:
    support: none
  platform:
    platforms: posix
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Wait for an engine and ask it for replies
  llm.serving.openai_probe:
    url: http://127.0.0.1:8010
    model: qwen32b
    unit: vllm@qwen32b.service
    wait_seconds: 600

- name: Check the gateway as a client sees it
  llm.serving.openai_probe:
    url: https://llm.example.org
    model: qwen32b
    api_key: "{{ vault_llm_client_key }}"
    checks: [models, chat_stream]
  delegate_to: localhost
"""

RETURN = r"""
ready_seconds:
  description: After how many seconds the server was healthy, counted from the module's start.
  returned: when it was
  type: float
  sample: 71.3
checks:
  description: What each check came to.
  returned: when the server was healthy
  type: dict
  contains:
    ok:
      description: Whether it passed.
      type: bool
    message:
      description: What was expected and what was found.
      type: str
      returned: when it failed
    latency_seconds:
      description: Seconds from the request to the end of the reply.
      type: float
    ttft_seconds:
      description: Seconds from the request to the first token.
      type: float
      returned: for streamed replies
    text:
      description: The reply.
      type: str
    completion_tokens:
      description: Tokens of the reply, as the server counts them.
      type: int
    models:
      description: Names that the server lists.
      type: list
      elements: str
  sample:
    health: {ok: true, latency_seconds: 0.002}
    chat_stream: {ok: true, latency_seconds: 0.41, ttft_seconds: 0.05, text: "Hello!", completion_tokens: 3}
engine_log:
  description: The engine's own figures from its journal; null where it logged none.
  returned: with O(unit)
  type: dict
  sample: {version: 0.33.0, kv_cache_tokens: 210000, weights_bytes: 32640000000, kv_cache_bytes: 27500000000}
failure:
  description: Why the engine did not start, its own line and what to do about it.
  returned: with O(unit), when the server did not become healthy
  type: dict
  sample:
    code: port_in_use
    line: "OSError: [Errno 98] Address already in use"
    remedy: "Something else listens on this port: `ss -tlnp` shows what. Stop it or set another port."
journal:
  description: The last lines of the unit's journal.
  returned: with O(unit), when the server did not become healthy and the cause is not known
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.engines.instances import environment_value, read
from ..module_utils.engines.report import startup_report
from ..module_utils.engines.systemd import Run, UnitState, recent_journal, startup_journal, unit_states
from ..module_utils.openai.checks import CHECKS, Outcome, Question, run_checks, wait_until_ready
from ..module_utils.openai.client import Server

JOURNAL_TAIL_LINES = 25


class Watch:
    """Looks after a unit while its server is waited for."""

    def __init__(self, run: Run, unit: str) -> None:
        self._run = run
        self.unit = unit
        self.first = self.state()

    def state(self) -> UnitState:
        """What systemd says about the unit now."""
        return unit_states(self._run, [self.unit])[self.unit]

    def hopeless(self) -> bool:
        """Whether the unit has died since the watch began, or does not run at all."""
        now = self.state()
        return now.has_died or now.active == "inactive" or now.restarts > self.first.restarts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:8000"},
            "model": {"type": "str", "required": True},
            "checks": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": list(CHECKS)},
            "wait_seconds": {"type": "float", "default": 0},
            "health_path": {"type": "str", "default": "/health"},
            "unit": {"type": "str"},
            "api_key": {"type": "str", "no_log": True},
            "environment_file": {"type": "path"},
            "prompt": {"type": "str", "default": Question.prompt},
            "max_tokens": {"type": "int", "default": Question.max_tokens, "no_log": False},
            "timeout": {"type": "float", "default": 60},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    options = module.params
    key = options["api_key"]
    if not key and options["environment_file"]:
        key = environment_value(read(Path(options["environment_file"])), "VLLM_API_KEY")
        module.no_log_values.update([key] if key else [])
    server = Server(
        options["url"].rstrip("/"),
        key,
        options["timeout"],
        options["validate_certs"],
        options["ca_path"],
    )
    question = Question(options["model"], options["prompt"], options["max_tokens"], options["health_path"])
    try:
        probe(module, server, question)
    except OSError as error:
        module.fail_json(msg=str(error))


def probe(module: AnsibleModule, server: Server, question: Question) -> None:
    """Wait, check and leave the module with what came of it."""
    run = module.run_command
    watch = Watch(run, module.params["unit"]) if module.params["unit"] else None
    wait_seconds = module.params["wait_seconds"]
    hopeless = watch.hopeless if watch else lambda: False
    ready_seconds = wait_until_ready(server, question, wait_seconds, hopeless)
    if ready_seconds is None:
        module.fail_json(**not_ready(run, server, question, watch, wait_seconds))
    outcomes = run_checks(server, question, module.params["checks"])
    result: dict[str, Any] = {
        "ready_seconds": round(ready_seconds, 3),
        "checks": {name: outcome.as_dict() for name, outcome in outcomes.items()},
    }
    if watch:
        result["engine_log"] = startup_report(run, watch.unit).as_dict()
    bad = {name: outcome for name, outcome in outcomes.items() if not outcome.ok}
    if bad:
        module.fail_json(msg=complaint(server, question, bad), **result)
    module.exit_json(changed=False, **result)


def not_ready(run: Run, server: Server, question: Question, watch: Watch | None, wait_seconds: float) -> dict[str, Any]:
    """Say why the server is not healthy."""
    # Here, because loading the rules takes longer than a healthy server takes to answer, and few servers are not.
    from ..module_utils.doctor.failures import decisive_failure  # noqa: PLC0415

    if watch is None:
        last = run_checks(server, question, ["health"])["health"]
        return {"msg": f"{server.url} was not healthy within {wait_seconds:g} seconds: {last.message}"}
    state = watch.state()
    died = watch.hopeless()
    # A unit that only takes long must not be blamed for what an earlier life of it logged.
    lines = recent_journal(run, watch.unit) if died else startup_journal(run, state.invocation)
    failure = decisive_failure(lines)
    what = f"{state.describe()}" if died else f"{watch.unit} was not healthy within {wait_seconds:g} seconds"
    why = f"\n{failure}" if failure else "\nIts journal names no cause."
    result: dict[str, Any] = {"msg": f"{what}{why}\nMore: journalctl -u {watch.unit}"}
    if failure:
        result["failure"] = failure.as_dict()
    if not failure or not failure.remedy:
        result["journal"] = lines[-JOURNAL_TAIL_LINES:]
    return result


def complaint(server: Server, question: Question, bad: dict[str, Outcome]) -> str:
    """Say what failed, one line per check."""
    lines = [f"{name}: {outcome.message}" for name, outcome in bad.items()]
    return f"{server.url} does not serve {question.model!r} as it should:\n" + "\n".join(lines)


if __name__ == "__main__":
    main()

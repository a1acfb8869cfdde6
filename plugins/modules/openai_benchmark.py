#!/usr/bin/python
# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openai_benchmark
version_added: 0.1.0
short_description: Measure an OpenAI-compatible server under load
description:
  - Sends streamed requests at one or more loads, and measures each of them - the time to the first token, the gaps
    between tokens, the whole answer, the tokens.
  - In a closed loop (O(concurrency)), a number of users each send their next request when the last one is answered.
    In an open loop (O(request_rate)), requests come at random, whether or not earlier ones are answered, as they do
    from the outside world; nothing on the client's side limits how many are under way.
  - Failed requests are counted and are no part of any latency.
  - With O(slo) it fails when the server does not keep a promise.
  - Needs nothing but Python on the host that sends the requests, which may be the server's own.
  - O(url) gets all the load that you ask for. Name only servers that you may load.
options:
  url:
    description: URL of the server as seen from where the module runs, without C(/v1).
    type: str
    default: http://127.0.0.1:8000
  model:
    description: Name that clients use for the model.
    type: str
    required: true
  endpoint:
    description: Which of the server's ways to ask for text.
    type: str
    choices: [chat, completions]
    default: chat
  api_key:
    description: Key to send as a bearer token.
    type: str
  validate_certs:
    description: Whether to check the server's certificate.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust instead of the system's.
    type: path
  concurrency:
    description:
      - Loads of the closed loop, each a number of requests that are always under way.
      - V([1, 4, 16]) when O(request_rate) is not set either.
    type: list
    elements: int
    default: []
  request_rate:
    description: Loads of the open loop, each in requests a second on average, with exponential gaps (Poisson).
    type: list
    elements: float
    default: []
  requests:
    description:
      - Requests at each load, at least as many as are under way at a time.
      - By default 20 for each request under way, and at least 100.
    type: int
  stage_seconds:
    description: Seconds after which no more requests are sent at a load; those under way are waited for.
    type: float
    default: 120
  request_timeout_seconds:
    description: Seconds after which a request has failed.
    type: float
    default: 300
  warmup_requests:
    description: Requests before the first load that no figure contains.
    type: int
    default: 4
  abort_after_failures:
    description:
      - Failures in a row, without a success between them, after which the run is given up.
      - Status 429 and 503 do not count, since they are what a server under too much load should say.
    type: int
    default: 20
  input_tokens:
    description:
      - How long made-up prompts are, in tokens. By default 256.
      - The server's own count of two prompts says how many words that is. Each prompt begins differently, so that a
        prefix cache does not help.
    type: dict
    suboptions:
      distribution:
        description:
          - By default V(fixed); V(normal) with O(input_tokens.stdev); V(uniform) with O(input_tokens.min) and
            O(input_tokens.max) alone.
        type: str
        choices: [fixed, uniform, normal, lognormal]
      mean:
        description: Mean length.
        type: float
      stdev:
        description: Standard deviation, for V(normal) and V(lognormal).
        type: float
      min:
        description: Shortest length.
        type: int
      max:
        description: Longest length.
        type: int
  output_tokens:
    description: How long replies may be, in tokens. By default 128.
    type: dict
    suboptions:
      distribution:
        description:
          - By default V(fixed); V(normal) with O(output_tokens.stdev); V(uniform) with O(output_tokens.min) and
            O(output_tokens.max) alone.
        type: str
        choices: [fixed, uniform, normal, lognormal]
      mean:
        description: Mean length.
        type: float
      stdev:
        description: Standard deviation, for V(normal) and V(lognormal).
        type: float
      min:
        description: Shortest length.
        type: int
      max:
        description: Longest length.
        type: int
  prompts_file:
    description:
      - File with prompts instead of made-up ones, on the host where the module runs, used in its order and from the
        beginning again.
      - JSON Lines (C(.jsonl)) of strings, or of objects with C(prompt) or C(messages) and perhaps C(output_tokens). Any
        other file holds one prompt a line.
    type: path
  ignore_eos:
    description:
      - Whether to ask for replies of exactly the length given, by C(ignore_eos).
      - vLLM does so; Ollama ignores it; a server that knows no such parameter may refuse it.
    type: bool
    default: true
  temperature:
    description: Randomness of the replies.
    type: float
    default: 0
  extra_body:
    description: More parameters of each request.
    type: dict
    default: {}
  seed:
    description: The same seed makes the same prompts, lengths and gaps between requests.
    type: int
    default: 0
  client_ceiling_seconds:
    description:
      - Seconds to measure, before anything is sent to O(url), what this client can take on this host, against a
        trivial server of its own on the loopback. V(0) leaves that out.
      - A load that comes near it is warned about.
    type: float
    default: 1
  slo:
    description:
      - What the server must keep, or else the module fails, after it has written its files.
      - A request is good when it succeeds and keeps every limit that is set.
    type: dict
    suboptions:
      ttft_seconds:
        description: Longest time to the first token.
        type: float
      tpot_seconds:
        description: Longest time per output token after the first one, as the mean of a request.
        type: float
      itl_seconds:
        description: Longest gap between tokens, as the 95th percentile of a request.
        type: float
      e2e_seconds:
        description: Longest time to the end of the answer.
        type: float
      share:
        description: Share of the requests of a load that must be good.
        type: float
        default: 0.95
      max_failed_share:
        description: Share of the requests of a load that may fail.
        type: float
        default: 0.01
      up_to_concurrency:
        description: Highest O(concurrency) that is judged; heavier ones are only measured. By default all are judged.
        type: int
      up_to_rate:
        description: Highest O(request_rate) that is judged; heavier ones are only measured. By default all are judged.
        type: float
  dest:
    description:
      - Folder for C(requests.jsonl) (every request), C(summary.json) and C(report.html) (one file that loads nothing
        from elsewhere), on the host where the module runs. Files of an earlier run are replaced.
      - Nothing is written when it is not set.
    type: path
  title:
    description: Title of the report. By default the model's name.
    type: str
    default: ""
extends_documentation_fragment:
  - llm.serving.attributes
attributes:
  check_mode:
    support: full
    details: Sends nothing in check mode; RV(plan) tells what would be sent.
  diff_mode:
    support: none
  platform:
    platforms: posix
seealso:
  - module: llm.serving.openai_probe
author:
  - The llm.serving maintainers (@llm-serving)
"""

EXAMPLES = r"""
- name: Find out where the knee of an engine is, on its own host
  llm.serving.openai_benchmark:
    url: http://127.0.0.1:8010
    model: qwen32b
    concurrency: [1, 2, 4, 8, 16, 32, 64]
    input_tokens: {mean: 512, stdev: 128, distribution: lognormal}
    output_tokens: {mean: 200}
    dest: /var/tmp/benchmark

- name: Keep a host out of the gateway unless it keeps its promise
  llm.serving.openai_benchmark:
    url: http://127.0.0.1:8010
    model: qwen32b
    request_rate: [2]
    requests: 200
    slo:
      ttft_seconds: 0.5
      tpot_seconds: 0.05

- name: Measure the gateway as a client sees it
  llm.serving.openai_benchmark:
    url: https://llm.example.org
    model: qwen32b
    api_key: "{{ vault_llm_client_key }}"
    prompts_file: prompts.jsonl
    dest: ./benchmark/gateway
  delegate_to: localhost
"""

RETURN = r"""
summary:
  description: What was measured. The same as C(summary.json), which the documentation describes.
  returned: when anything was sent
  type: dict
  contains:
    stages:
      description:
        - For each load its RV(ignore:requests), RV(ignore:failures), RV(ignore:throughput), and the spread (C(count),
          C(mean), C(min), C(max), C(p50), C(p90), C(p95), C(p99)) of C(ttft_seconds), C(itl_seconds), C(tpot_seconds),
          C(e2e_seconds), C(input_tokens) and C(output_tokens), successful requests only.
      type: list
      elements: dict
    knee:
      description: The load beyond which more of it buys waiting rather than answers; null when none was seen.
      type: dict
    slo:
      description: The promise, whether it was C(met), and what was C(unmet); null without O(slo).
      type: dict
    client:
      description: The host that sent the requests, and the client's C(ceiling) there.
      type: dict
    server:
      description: What the server told of itself.
      type: dict
    warnings:
      description: What a reader of the figures must know.
      type: list
      elements: str
  sample:
    stages:
      - label: 16 at a time
        requests: {planned: 320, sent: 320, ok: 320, failed: 0, most_at_once: 16}
        throughput: {requests_per_second: 6.1, output_tokens_per_second: 780.2, input_tokens_per_second: 1560.4}
        ttft_seconds: {count: 320, mean: 0.11, min: 0.05, max: 0.4, p50: 0.1, p90: 0.2, p95: 0.25, p99: 0.36}
    knee: {mode: closed, load: 16, label: 16 at a time, number: 2}
files:
  description: The files that were written, or would be.
  returned: with O(dest)
  type: list
  elements: str
  sample: [/var/tmp/benchmark/requests.jsonl, /var/tmp/benchmark/summary.json, /var/tmp/benchmark/report.html]
plan:
  description: What would be sent.
  returned: in check mode
  type: dict
  sample:
    stages: [{label: 1 at a time, mode: closed, load: 1, requests: 100}]
    requests: 104
    longest_seconds: 420
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.benchmark.errors import BenchmarkError
from ..module_utils.benchmark.lengths import DISTRIBUTIONS, read_lengths
from ..module_utils.benchmark.prompts import read_prompts
from ..module_utils.benchmark.run import FILES, execute, preview, write
from ..module_utils.benchmark.settings import PATHS, Settings, stages
from ..module_utils.benchmark.slo import read_slo

LENGTHS = {
    "type": "dict",
    "options": {
        "distribution": {"type": "str", "choices": list(DISTRIBUTIONS)},
        "mean": {"type": "float"},
        "stdev": {"type": "float"},
        "min": {"type": "int"},
        "max": {"type": "int"},
    },
}
# Options that go to the settings as they are.
PLAIN = (
    "model",
    "endpoint",
    "api_key",
    "validate_certs",
    "ca_path",
    "prompts_file",
    "stage_seconds",
    "request_timeout_seconds",
    "warmup_requests",
    "abort_after_failures",
    "ignore_eos",
    "temperature",
    "extra_body",
    "seed",
    "client_ceiling_seconds",
    "title",
)
DEFAULT_INPUT_TOKENS = 256
DEFAULT_OUTPUT_TOKENS = 128


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:8000"},
            "model": {"type": "str", "required": True},
            "endpoint": {"type": "str", "choices": list(PATHS), "default": "chat"},
            "api_key": {"type": "str", "no_log": True},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "concurrency": {"type": "list", "elements": "int", "default": []},
            "request_rate": {"type": "list", "elements": "float", "default": []},
            "requests": {"type": "int"},
            "stage_seconds": {"type": "float", "default": 120},
            "request_timeout_seconds": {"type": "float", "default": 300},
            "warmup_requests": {"type": "int", "default": 4},
            "abort_after_failures": {"type": "int", "default": 20},
            # Not secrets, whatever their names look like.
            "input_tokens": {**LENGTHS, "no_log": False},
            "output_tokens": {**LENGTHS, "no_log": False},
            "prompts_file": {"type": "path"},
            "ignore_eos": {"type": "bool", "default": True},
            "temperature": {"type": "float", "default": 0},
            "extra_body": {"type": "dict", "default": {}},
            "seed": {"type": "int", "default": 0},
            "client_ceiling_seconds": {"type": "float", "default": 1},
            "slo": {
                "type": "dict",
                "options": {
                    "ttft_seconds": {"type": "float"},
                    "tpot_seconds": {"type": "float"},
                    "itl_seconds": {"type": "float"},
                    "e2e_seconds": {"type": "float"},
                    "share": {"type": "float", "default": 0.95},
                    "max_failed_share": {"type": "float", "default": 0.01},
                    "up_to_concurrency": {"type": "int"},
                    "up_to_rate": {"type": "float"},
                },
            },
            "dest": {"type": "path"},
            "title": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        benchmark(module, settings(module.params))
    except BenchmarkError as error:
        module.fail_json(msg=str(error))


def settings(options: dict[str, Any]) -> Settings:
    """Return the run that the options describe. Raises BenchmarkError when they describe none."""
    chat = options["endpoint"] == "chat"
    prompts_file = options["prompts_file"]
    return Settings(
        url=options["url"].rstrip("/").removesuffix("/v1"),
        stages=stages(options["concurrency"], options["request_rate"], options["requests"]),
        input_tokens=read_lengths("input_tokens", options["input_tokens"], DEFAULT_INPUT_TOKENS),
        output_tokens=read_lengths("output_tokens", options["output_tokens"], DEFAULT_OUTPUT_TOKENS),
        prompts=tuple(read_prompts(Path(prompts_file), chat)) if prompts_file else (),
        slo=read_slo(options["slo"]),
        **{name: options[name] for name in PLAIN},
    )


def benchmark(module: AnsibleModule, wanted: Settings) -> None:
    """Measure and leave the module with what came of it."""
    folder = Path(module.params["dest"]) if module.params["dest"] else None
    result: dict[str, Any] = {"changed": folder is not None}
    if folder:
        result["files"] = [str(folder / name) for name in FILES]
    if module.check_mode:
        module.exit_json(plan=preview(wanted), **result)
    outcome = execute(wanted)
    result["summary"] = outcome.summary
    if folder:
        write(outcome, folder)
    for warning in outcome.summary["warnings"]:
        module.warn(warning)
    if outcome.problems:
        module.fail_json(msg=f"{wanted.model} at {wanted.url}:\n" + "\n".join(outcome.problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

"""The engine's own description of its API, tried through the door by a fuzzer that nobody here wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import APP, ENGINE_KEY, Door

SCHEMATHESIS = "schemathesis==4.32.5"
SECONDS = 25
# A busy machine gets through less in that time; it is given further rounds, each with other inputs.
ROUNDS = 4
ENOUGH = 100
ALLOWED = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
# Bounds for a machine that cannot generate without end; a name that is known, so that requests get past the gateway.
BOUNDS: dict[str, dict[str, Any]] = {
    "model": {"type": "string", "enum": ["tiny"]},
    "max_tokens": {"type": "integer", "maximum": 8},
    "max_completion_tokens": {"type": "integer", "maximum": 8},
    "max_output_tokens": {"type": "integer", "maximum": 8},
    "n": {"type": "integer", "maximum": 2},
}


@pytest.fixture(scope="module")
def description(guest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vLLM's own OpenAPI description, cut down to what the gateway lets through."""
    fetch = (
        "import sys, urllib.request as u; "
        "r = u.Request('http://127.0.0.1:8010/openapi.json', headers={'Authorization': 'Bearer ' + sys.argv[1]}); "
        "print(u.urlopen(r, timeout=20).read().decode())"
    )
    whole = json.loads(guest("cpu1").check_output("python3 -c %s %s", fetch, ENGINE_KEY))
    assert len(whole["paths"]) > len(ALLOWED)
    whole["paths"] = {path: item for path, item in whole["paths"].items() if path in ALLOWED}
    assert set(whole["paths"]) >= {"/v1/models", "/v1/chat/completions", "/v1/completions"}
    for schema in whole["components"]["schemas"].values():
        properties = schema.get("properties", {})
        bounds = {name: bound for name, bound in BOUNDS.items() if name in properties}
        properties.update(bounds)
        if "model" in bounds:
            schema["required"] = sorted({*schema.get("required", []), *bounds})
    path = tmp_path_factory.mktemp("fuzz") / "openapi.json"
    path.write_text(json.dumps(whole))
    return path


def fuzz(door: Door, description: Path, seed: int) -> tuple[list[dict[str, Any]], str]:
    """Return the requests and responses of one round, and what the fuzzer printed."""
    report = description.with_name(f"har-{seed}.json")
    run = subprocess.run(
        [
            "uv", "tool", "run", f"--from={SCHEMATHESIS}", "schemathesis", "run", description,
            f"--url=https://{door.address}", f"--tls-verify={door.ca}", f"--header=Authorization: Bearer {APP}",
            "--phases=coverage,fuzzing", "--checks=not_a_server_error", "--continue-on-failure", "--no-shrink",
            f"--max-time={SECONDS}", "--request-timeout=10", "--workers=2", f"--seed={seed}",
            "--suppress-health-check=all", "--warnings=off", f"--report-har-path={report}",
        ],
        capture_output=True, text=True, check=False, timeout=SECONDS * 4,
    )  # fmt: skip
    entries = json.loads(report.read_text())["log"]["entries"]
    return [entry for entry in entries if entry["response"]["status"]], run.stdout


def test_a_fuzzer_gets_answers_in_openais_shape_and_nothing_else(gate, door: Door, description: Path) -> None:
    begun = gate.check_output("date +%s")
    answers: list[dict[str, Any]] = []
    statuses: set[int] = set()
    said = ""
    for seed in range(1, ROUNDS + 1):
        if len(answers) > ENOUGH and {200, 400} <= statuses:
            break
        further, said = fuzz(door, description, seed)
        answers += further
        statuses |= {answer["response"]["status"] for answer in further}
    assert len(answers) > ENOUGH, said
    assert {200, 400} <= statuses, said
    for answer in answers:
        response = answer["response"]
        if response["status"] >= 500:
            error = json.loads(response["content"]["text"])["error"]
            assert {"message", "type", "code"} <= set(error), answer
    lines = gate.check_output(f"journalctl -u haproxy -o cat --no-pager --since=@{begun} | grep '^{{'").splitlines()
    served = {entry["path"] for entry in map(json.loads, lines) if entry.get("server", "<NOSRV>") != "<NOSRV>"}
    assert served
    assert served <= set(ALLOWED)
    assert door.chat().status == 200

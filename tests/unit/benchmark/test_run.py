"""Whole runs against a server on the loopback, and the module around them."""

from __future__ import annotations

import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.llm.serving.plugins.module_utils.benchmark.ceiling import Ceiling, measure_ceiling
from ansible_collections.llm.serving.plugins.module_utils.benchmark.errors import BenchmarkError
from ansible_collections.llm.serving.plugins.module_utils.benchmark.lengths import Lengths
from ansible_collections.llm.serving.plugins.module_utils.benchmark.load import explain
from ansible_collections.llm.serving.plugins.module_utils.benchmark.records import Record
from ansible_collections.llm.serving.plugins.module_utils.benchmark.run import (
    FILES,
    Outcome,
    client_warnings,
    execute,
    write,
)
from ansible_collections.llm.serving.plugins.module_utils.benchmark.settings import Settings, stages
from ansible_collections.llm.serving.plugins.modules import openai_benchmark

from .server import Engine, serving

EIGHT = Lengths("fixed", 8, 0, 8, 8)
PROMPT = Lengths("fixed", 45, 0, 45, 45)


def run(url: str, concurrency: tuple[int, ...] = (), rates: tuple[float, ...] = (), **changes: Any) -> Outcome:
    """Measure a server that was made for it."""
    plan = stages(concurrency, rates, changes.pop("requests", 12))
    values = {"warmup_requests": 2, "client_ceiling_seconds": 0, **changes}
    return execute(Settings(url, "m", plan, PROMPT, EIGHT, **values))


def test_closed_loop_is_measured_request_by_request() -> None:
    engine = Engine(first_token_seconds=0.05, token_seconds=0.01)
    with serving(engine) as url:
        outcome = run(url, concurrency=(1, 4), api_key="k3y")
    one, four = outcome.summary["stages"]
    assert [stage["requests"]["ok"] for stage in (one, four)] == [12, 12]
    assert (one["requests"]["most_at_once"], four["requests"]["most_at_once"]) == (1, 4)
    assert 0.05 <= one["ttft_seconds"]["min"] < 0.2
    assert 0.01 <= one["itl_seconds"]["p50"] < 0.05
    assert one["e2e_seconds"]["p50"] > 0.12
    assert one["output_tokens"]["max"] == 8
    # The server makes two tokens of a word and adds five: 45 tokens are 20 words.
    assert one["input_tokens"]["p50"] == 45
    assert outcome.summary["tokens_per_word"] == 2.0
    assert four["throughput"]["requests_per_second"] > 2 * one["throughput"]["requests_per_second"]
    assert outcome.summary["server"] == {"engine": "toy", "version": "9.9", "max_model_len": 512, "root": None}
    assert {len(record.itl_seconds) for record in outcome.records} == {7}
    assert all(header["Authorization"] == "Bearer k3y" for header in engine.headers)
    assert "k3y" not in json.dumps(outcome.summary)


def test_warm_up_and_counting_are_no_part_of_the_records() -> None:
    engine = Engine()
    with serving(engine) as url:
        outcome = run(url, concurrency=(1,))
    # Two to see how the server counts, two to warm it up.
    assert len(engine.requests) == 12 + 2 + 2
    assert len(outcome.records) == 12
    assert min(record.start_seconds for record in outcome.records) >= 0


def test_open_loop_does_not_wait_for_answers() -> None:
    """A server that takes one request at a time and 0.1 s for it gets 50 a second: they queue there, not here."""
    with serving(Engine(first_token_seconds=0.1, slots=1)) as url:
        outcome = run(url, rates=(50.0,), requests=20)
    (stage,) = outcome.summary["stages"]
    starts = [record.start_seconds for record in outcome.records]
    assert max(starts) - min(starts) < 1.0
    assert stage["requests"]["most_at_once"] > 10
    assert stage["ttft_seconds"]["max"] > 1.0


def test_same_seed_sends_the_same() -> None:
    sent = []
    for seed in (1, 1, 2):
        engine = Engine()
        with serving(engine) as url:
            run(url, concurrency=(1,), seed=seed)
        sent.append([request["messages"][0]["content"] for request in engine.requests])
    assert sent[0] == sent[1] != sent[2]


def test_bodies_ask_for_usage_and_a_fixed_length() -> None:
    engine = Engine()
    with serving(engine) as url:
        run(url, concurrency=(1,), extra_body={"top_p": 0.9}, endpoint="completions")
    body = engine.requests[-1]
    assert body["stream_options"] == {"include_usage": True}
    assert (body["ignore_eos"], body["max_tokens"], body["top_p"], body["stream"]) == (True, 8, 0.9, True)
    assert engine.paths[-1] == "/v1/completions"


def test_failures_have_kinds_and_are_apart() -> None:
    kinds = ["ok", "busy", "break", "empty", "error"]
    with serving(Engine(fate=lambda number: kinds[number % 5] if number >= 4 else "ok")) as url:
        outcome = run(url, concurrency=(1,), requests=20)
    (stage,) = outcome.summary["stages"]
    assert stage["requests"] == {"planned": 20, "sent": 20, "ok": 4, "failed": 16, "most_at_once": 1}
    assert {failure["kind"]: failure["count"] for failure in stage["failures"]} == {
        "http_429": 4,
        "closed": 4,
        "empty": 4,
        "error": 4,
    }
    assert stage["e2e_seconds"]["count"] == 4
    assert outcome.summary["abandoned"] is None


def test_slow_answer_is_a_timeout() -> None:
    with serving(Engine(fate=lambda n: "ok", first_token_seconds=0.4)) as url, pytest.raises(BenchmarkError) as caught:
        run(url, concurrency=(1,), request_timeout_seconds=0.1)
    assert "timeout: expected an answer within 0.1 s; set request_timeout_seconds higher" in str(caught.value)


def test_tokens_are_counted_where_the_server_does_not() -> None:
    with serving(Engine(usage=False)) as url:
        outcome = run(url, concurrency=(1,))
    assert outcome.summary["stages"][0]["tokens_from"] == ["chunks"]
    assert outcome.summary["stages"][0]["output_tokens"]["p50"] == 8
    assert any("pieces of text were counted" in warning for warning in outcome.summary["warnings"])
    assert any("by a guess" in warning for warning in outcome.summary["warnings"])


def test_nothing_is_measured_where_nobody_answers() -> None:
    with serving(Engine()) as url:
        pass
    with pytest.raises(BenchmarkError, match="does not answer: connect: no connection to port") as caught:
        run(url, concurrency=(1,))
    assert "of 127.0.0.1: Connection refused; check that" in str(caught.value)


def test_a_certificate_that_is_not_trusted_names_the_setting() -> None:
    said = explain(Record(0, 0, 0, 0, failure="connect", message="[SSL: CERTIFICATE_VERIFY_FAILED] unable to get …"))
    assert said.endswith("; set ca_path to the certificate of the authority that signed it")
    late = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1000)"
    assert "; set the host's clock" in explain(Record(0, 0, 0, 0, failure="connect", message=late))
    assert "check that the server runs" in explain(Record(0, 0, 0, 0, failure="connect", message="refused"))


def test_refusal_names_the_setting() -> None:
    engine = Engine(fate=lambda number: "refuse")
    with serving(engine) as url, pytest.raises(BenchmarkError, match="found 401: refuse <script>; set api_key"):
        run(url, concurrency=(1,))
    assert len(engine.requests) == 1


def test_a_key_that_the_server_repeats_is_not_kept() -> None:
    with serving(Engine(fate=lambda number: "refuse" if number >= 6 else "ok")) as url:
        outcome = run(url, concurrency=(1,), api_key="refuse")
    kept = json.dumps([outcome.summary, [record.as_dict() for record in outcome.records]])
    assert "… <script>" in json.loads(kept)[0]["stages"][0]["failures"][0]["message"]
    assert "refuse" not in kept


def test_dying_server_ends_the_run() -> None:
    engine = Engine(fate=lambda number: "break" if number >= 6 else "ok")
    with serving(engine) as url:
        outcome = run(url, concurrency=(2, 4), requests=500, abort_after_failures=5)
    assert len(engine.requests) < 20
    assert len(outcome.summary["stages"]) == 1
    assert "given up after 5 failures in a row (abort_after_failures)" in outcome.problems[0]


def test_busy_server_does_not_end_the_run() -> None:
    with serving(Engine(fate=lambda number: "busy" if number >= 6 else "ok")) as url:
        outcome = run(url, concurrency=(1,), requests=40, abort_after_failures=5)
    assert outcome.summary["stages"][0]["requests"]["sent"] == 40


def test_time_of_a_stage_is_bounded() -> None:
    began = time.monotonic()
    with serving(Engine(first_token_seconds=0.05)) as url:
        outcome = run(url, concurrency=(2,), rates=(2.0,), requests=10_000, stage_seconds=0.5)
    assert time.monotonic() - began < 100
    assert all(0 < stage["requests"]["sent"] < 100 for stage in outcome.summary["stages"])
    assert any("(stage_seconds) was over" in warning for warning in outcome.summary["warnings"])


def test_ceiling_is_that_of_a_client_worth_having() -> None:
    ceiling = measure_ceiling(0.6)
    # Thousands on the slowest machine; a client that waits for its own tasks or re-reads its buffer makes hundreds.
    assert ceiling.events_per_second > 5000
    assert ceiling.requests_per_second > 500


def test_client_near_its_ceiling_is_warned_about() -> None:
    stage = {
        "label": "64 at a time",
        "client": {
            "busy_share": 0.8,
            "events_per_second": 40000.0,
            "loop_lag_p99_seconds": 0.05,
            "send_lag_p99_seconds": None,
        },
    }
    busy, late = client_warnings([stage, {**stage, "label": "9/s"}], Ceiling(50000, 9000))
    assert busy.startswith("At every load: the client itself was busy up to 80 % of the time; its ceiling")
    assert "50000 pieces of text" in busy
    assert "50 ms late" in late
    stage["client"] = {**stage["client"], "busy_share": 0.1, "loop_lag_p99_seconds": 0.001}
    assert client_warnings([stage], None) == []


class Seen(HTMLParser):
    """Tags, what they point to, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_files_are_complete_and_the_report_loads_nothing(tmp_path: Path) -> None:
    fate = {9: "busy", 11: "busy"}
    with serving(Engine(fate=lambda number: fate.get(number, "ok"), token_seconds=0.001)) as url:
        outcome = run(url, concurrency=(1, 2, 4), rates=(50.0,), title='<img src="http://evil">')
    write(outcome, tmp_path / "new" / "folder")
    records, summary, report = ((tmp_path / "new" / "folder" / name).read_text("utf-8") for name in FILES)
    assert [json.loads(line)["ok"] for line in records.splitlines()].count(False) == 2
    assert len(records.splitlines()) == 48
    assert json.loads(summary) == outcome.summary
    page = Seen(report)
    assert not {"script", "img", "iframe", "object", "style src"} & set(page.tags)
    assert page.links == ["data:,"]
    assert not re.search(r"url\(|@import", report)
    assert '<img src="http://evil">' in page.text
    assert "busy <script>" in page.text
    assert page.tags.count("figure") == 2 * 5 + 4 + 2
    assert not re.search(r"\bnan\b|\binf\b|None", report)


def test_report_of_a_run_without_answers(tmp_path: Path) -> None:
    with serving(Engine(fate=lambda number: "busy" if number >= 4 else "ok")) as url:
        outcome = run(url, concurrency=(1,), requests=3)
    write(outcome, tmp_path)
    assert "No request was answered" in (tmp_path / "report.html").read_text("utf-8")


def test_folder_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with serving(Engine()) as url:
        outcome = run(url, concurrency=(1,), requests=1)
    with pytest.raises(BenchmarkError, match="dest: cannot write"):
        write(outcome, tmp_path / "file")


def module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """Run the module and return what it said."""
    with patch_module_args({"model": "m", "client_ceiling_seconds": 0, "warmup_requests": 1, **options}):
        monkeypatch.setattr(basic.sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit):
            openai_benchmark.main()
    return dict(json.loads(capsys.readouterr().out))


def test_module_measures_and_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(Engine()) as url:
        said = module(
            capsys,
            monkeypatch,
            url=url + "/v1/",
            concurrency=[2],
            requests=6,
            dest=str(tmp_path),
            output_tokens={"mean": 4},
            slo={"e2e_seconds": 30},
        )
    assert not said.get("failed")
    assert said["changed"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert said["summary"]["slo"]["met"] is True
    assert said["summary"]["stages"][0]["output_tokens"]["max"] == 4


def test_module_fails_when_a_promise_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(Engine(first_token_seconds=0.1)) as url:
        said = module(
            capsys,
            monkeypatch,
            url=url,
            concurrency=[1],
            requests=5,
            dest=str(tmp_path),
            output_tokens={"mean": 2},
            slo={"ttft_seconds": 0.01},
        )
    assert said["failed"] is True
    assert (
        "expected 95 % of requests (slo.share) with first token ≤ 0.01 s (slo.ttft_seconds), found 0.0 %" in said["msg"]
    )
    assert (tmp_path / "report.html").exists()


def test_module_sends_nothing_in_check_mode(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = Engine()
    with serving(engine) as url:
        said = module(
            capsys,
            monkeypatch,
            url=url,
            request_rate=[2.0],
            client_ceiling_seconds=1,
            dest=str(tmp_path / "out"),
            _ansible_check_mode=True,
        )
    assert (engine.requests, engine.paths) == ([], [])
    assert not (tmp_path / "out").exists()
    assert said["plan"]["stages"] == [{"label": "2/s", "mode": "open", "load": 2.0, "requests": 100}]
    assert said["changed"] is True


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"slo": {"share": 0.5}}, "slo: expected at least one of"),
        ({"concurrency": [0]}, "concurrency: expected loads greater than 0"),
        ({"input_tokens": {"mean": -3}}, "input_tokens: expected 1"),
        ({"prompts_file": "/nowhere/at/all"}, "prompts_file: cannot read"),
        ({"extra_body": {"model": "other"}}, "extra_body: model"),
    ],
)
def test_module_refuses_before_it_sends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], match: str
) -> None:
    engine = Engine()
    with serving(engine) as url:
        said = module(capsys, monkeypatch, url=url, **options)
    assert said["failed"] is True
    assert match in said["msg"]
    assert engine.requests == []


def test_status_of_an_answer_that_broke_off_is_kept() -> None:
    with serving(Engine(fate=lambda number: "break" if number == 4 else "ok")) as url:
        outcome = run(url, concurrency=(1,), requests=1)
    (record,) = outcome.records
    assert (record.failure, record.status, record.ttft_seconds is not None) == ("closed", 200, True)

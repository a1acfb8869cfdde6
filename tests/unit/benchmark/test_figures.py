"""Percentiles, lengths, prompts, promises, knees."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.benchmark.errors import BenchmarkError
from ansible_collections.llm.serving.plugins.module_utils.benchmark.lengths import Lengths, read_lengths
from ansible_collections.llm.serving.plugins.module_utils.benchmark.load import arrivals, scale_words, verdict
from ansible_collections.llm.serving.plugins.module_utils.benchmark.numbers import percentile, spread
from ansible_collections.llm.serving.plugins.module_utils.benchmark.prompts import (
    Scale,
    made_up_prompts,
    measured_scale,
    read_prompts,
)
from ansible_collections.llm.serving.plugins.module_utils.benchmark.records import Record
from ansible_collections.llm.serving.plugins.module_utils.benchmark.reply import Reply
from ansible_collections.llm.serving.plugins.module_utils.benchmark.settings import Settings, Stage, stages
from ansible_collections.llm.serving.plugins.module_utils.benchmark.slo import Slo, read_slo, unmet
from ansible_collections.llm.serving.plugins.module_utils.benchmark.summary import (
    ClientWork,
    caveats,
    knee,
    most_at_once,
    stage_summary,
)
from hypothesis import given
from hypothesis import strategies as st

IDLE = ClientWork(0.01, 0.001, 10)
FLOATS = st.floats(0, 1e6)


@given(st.lists(FLOATS, min_size=2, max_size=50))
def test_percentiles_are_those_of_the_standard_library(values: list[float]) -> None:
    ordered = sorted(values)
    expected = statistics.quantiles(ordered, n=100, method="inclusive")
    for percent in (1, 50, 90, 95, 99):
        assert percentile(ordered, percent) == pytest.approx(expected[percent - 1], abs=1e-6)
    assert (percentile(ordered, 0), percentile(ordered, 100)) == (ordered[0], ordered[-1])


def test_spread_of_nothing_has_no_numbers() -> None:
    found = spread([])
    assert found.pop("count") == 0
    assert set(found.values()) == {None}
    assert spread([2.0])["p99"] == 2.0


def record(**changes: Any) -> Record:
    """A good request, with changes."""
    values: dict[str, Any] = {
        "stage": 0,
        "number": 0,
        "start_seconds": 0.0,
        "latency_seconds": 1.0,
        "status": 200,
        "ttft_seconds": 0.2,
        "itl_seconds": (0.1, 0.3, 0.4),
        "last_text_seconds": 1.0,
        "input_tokens": 10,
        "output_tokens": 5,
    }
    return Record(**{**values, **changes})


def test_failures_are_counted_and_part_of_no_latency() -> None:
    slow = {"latency_seconds": 99.0, "ttft_seconds": 99.0, "itl_seconds": (99.0,), "output_tokens": 1000}
    records = [
        record(),
        record(start_seconds=0.5),
        record(**slow, failure="timeout", message="too late"),
        record(**slow, failure="http_429", message="busy", status=429),
        record(**slow, failure="timeout", message="later"),
    ]
    found = stage_summary(Stage(0, "closed", 2, 5), records, 2.0, IDLE, None)
    assert found["requests"] == {"planned": 5, "sent": 5, "ok": 2, "failed": 3, "most_at_once": 5}
    assert found["failures"] == [
        {"kind": "timeout", "count": 2, "message": "too late"},
        {"kind": "http_429", "count": 1, "message": "busy"},
    ]
    for key in ("ttft_seconds", "itl_seconds", "tpot_seconds", "e2e_seconds", "output_tokens"):
        assert found[key]["max"] < 99
    assert found["e2e_seconds"]["count"] == 2
    assert found["throughput"] == {
        "requests_per_second": 1.0,
        "output_tokens_per_second": 5.0,
        "input_tokens_per_second": 10.0,
    }
    assert found["goodput"] is None


def test_time_per_token_needs_two_tokens() -> None:
    assert record().tpot_seconds == pytest.approx(0.2)
    assert record(output_tokens=1).tpot_seconds is None
    assert record(ttft_seconds=None).tpot_seconds is None


def test_most_at_once_counts_what_overlaps() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([record(start_seconds=float(start), latency_seconds=1.5) for start in range(5)]) == 2
    # One that begins as another ends does not overlap it.
    assert most_at_once([record(start_seconds=float(start)) for start in range(5)]) == 1


def slo_stage(**changes: Any) -> dict[str, Any]:
    """A stage whose requests took 0.2 s to the first token."""
    values: dict[str, Any] = {"mode": "closed", "load": 4.0, "slo": Slo(ttft_seconds=0.5)}
    values.update(changes)
    records = values.pop("records", [record()] * 20)
    return stage_summary(Stage(0, values["mode"], values["load"], 20), records, 10.0, IDLE, values["slo"])


def test_goodput_counts_requests_within_every_limit() -> None:
    slo = Slo(ttft_seconds=0.5, e2e_seconds=2.0, itl_seconds=0.4, tpot_seconds=0.25)
    assert slo.good(record())
    assert not slo.good(record(ttft_seconds=0.6))
    assert not slo.good(record(latency_seconds=2.1))
    assert not slo.good(record(itl_seconds=(0.1, 0.9)))
    assert not slo.good(record(output_tokens=4))
    assert not slo.good(record(failure="cut"))
    assert slo.good(record(ttft_seconds=None, itl_seconds=()))
    found = slo_stage(slo=slo, records=[record()] * 15 + [record(failure="cut")] * 5)
    assert found["goodput"] == {"good": 15, "share": 0.75, "requests_per_second": 1.5, "judged": True}


def test_kept_promise_has_no_problem() -> None:
    assert unmet(Slo(ttft_seconds=0.5), [slo_stage()]) == []


def test_broken_promise_says_expected_found_and_setting() -> None:
    slo = Slo(ttft_seconds=0.1)
    (problem,) = unmet(slo, [slo_stage(slo=slo)])
    assert problem == (
        "4 at a time: expected 95 % of requests (slo.share) with first token ≤ 0.1 s (slo.ttft_seconds), "
        "found 0.0 %; first token p95 0.2 s"
    )


def test_failures_alone_break_a_promise() -> None:
    slo = Slo(ttft_seconds=0.5, share=0.5, max_failed_share=0.1)
    (problem,) = unmet(slo, [slo_stage(slo=slo, records=[record()] * 16 + [record(failure="cut")] * 4)])
    assert "expected at most 10 % failures (slo.max_failed_share), found 20.0 % (4 of 20)" in problem


def test_what_several_loads_break_is_said_once() -> None:
    slo = Slo(ttft_seconds=9, max_failed_share=0.1)
    bad = [record()] * 16 + [record(failure="cut")] * 4
    found = unmet(slo, [slo_stage(slo=slo, records=bad), slo_stage(slo=slo, mode="open", load=3.0, records=bad)])
    assert found[0] == (
        "expected at most 10 % failures (slo.max_failed_share), "
        "found 4 at a time: 20.0 % (4 of 20); 3/s: 20.0 % (4 of 20)"
    )


def test_heavier_loads_than_promised_are_not_judged() -> None:
    slo = Slo(ttft_seconds=0.1, up_to_concurrency=2, up_to_rate=1.0)
    light = slo_stage(slo=slo, load=2.0, records=[record(ttft_seconds=0.05)] * 20)
    assert unmet(slo, [light, slo_stage(slo=slo), slo_stage(slo=slo, mode="open", load=3.0)]) == []
    assert "expected a load to judge" in unmet(slo, [slo_stage(slo=slo)])[0]


def test_stage_without_answers_breaks_a_promise() -> None:
    slo = Slo(ttft_seconds=0.1)
    problems = unmet(slo, [slo_stage(slo=slo, records=[record(failure="connect", ttft_seconds=None)] * 3)])
    assert len(problems) == 2
    assert "not measured" in problems[1]


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({"share": 0.9}, "at least one of ttft_seconds"),
        ({"ttft_seconds": 0.0}, "slo.ttft_seconds: expected more than 0"),
        ({"ttft_seconds": 1.0, "share": 1.5}, "0 < share"),
    ],
)
def test_promise_that_cannot_be(given_: dict[str, float], match: str) -> None:
    with pytest.raises(BenchmarkError, match=match):
        read_slo(given_)


def test_no_promise() -> None:
    assert read_slo(None) is None
    assert read_slo({"share": None}) is None


def load_stage(load: float, per_second: float, seconds: float, mode: str = "closed") -> dict[str, Any]:
    """As much of a stage as a knee needs."""
    return {
        "mode": mode,
        "load": load,
        "label": f"{load:g}",
        "number": int(load),
        "throughput": {"requests_per_second": per_second},
        "e2e_seconds": {"count": 9, "p50": seconds},
    }


def test_knee_of_a_queue_is_at_its_servers() -> None:
    """Eight servers of one second each: beyond 8 at a time, requests wait."""
    sweep = [load_stage(n, min(n, 8), max(1, n / 8)) for n in (1, 2, 4, 8, 16, 32)]
    assert knee(sweep) == {"mode": "closed", "load": 8, "label": "8", "number": 8}


def test_no_knee_below_saturation_or_with_two_loads() -> None:
    assert knee([load_stage(n, n, 1.0) for n in (1, 2, 4)]) is None
    assert knee([load_stage(1, 1, 1.0), load_stage(64, 1, 64.0)]) is None


def test_caveats_name_what_to_set() -> None:
    few = stage_summary(Stage(0, "closed", 4, 20), [record(tokens_from="chunks")] * 5, 1.0, IDLE, None)
    text = "\n".join(caveats([few]))
    assert "pieces of text were counted" in text
    assert "Set requests or stage_seconds higher" in text
    assert "(stage_seconds) was over" in text
    enough = stage_summary(Stage(0, "closed", 4, 100), [record()] * 100, 1.0, IDLE, None)
    assert caveats([enough]) == []


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, Lengths("fixed", 256, 0, 256, 256)),
        ({"mean": 10}, Lengths("fixed", 10, 0, 10, 10)),
        ({"mean": 100, "stdev": 10}, Lengths("normal", 100, 10, 1, 140)),
        ({"min": 10, "max": 30}, Lengths("uniform", 20, 0, 10, 30)),
        ({"mean": 100, "stdev": 50, "distribution": "lognormal", "max": 900}, Lengths("lognormal", 100, 50, 1, 900)),
    ],
)
def test_lengths_are_understood(given_: Any, expected: Lengths) -> None:
    assert read_lengths("input_tokens", given_, 256) == expected


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({"distribution": "uniform"}, "expected min and max"),
        ({"distribution": "normal"}, "expected stdev > 0"),
        ({"mean": 5, "stdev": 1, "min": 10}, "min ≤ mean"),
        ({"mean": 0}, "1 ≤ min"),
    ],
)
def test_lengths_that_cannot_be(given_: Any, match: str) -> None:
    with pytest.raises(BenchmarkError, match=f"output_tokens: .*{match}"):
        read_lengths("output_tokens", given_, 128)


@pytest.mark.parametrize("distribution", ["normal", "lognormal"])
def test_drawn_lengths_have_their_mean_and_deviation(distribution: str) -> None:
    lengths = Lengths(distribution, 200, 40, 1, 1000)
    rng = random.Random(1)
    drawn = [lengths.draw(rng) for _ in range(20000)]
    assert statistics.mean(drawn) == pytest.approx(200, rel=0.02)
    assert statistics.stdev(drawn) == pytest.approx(40, rel=0.05)


@given(st.integers(0, 99), st.sampled_from(["uniform", "normal", "lognormal"]))
def test_drawn_lengths_keep_their_limits(seed: int, distribution: str) -> None:
    lengths = Lengths(distribution, 10, 20, 5, 12)
    rng = random.Random(seed)
    assert all(5 <= lengths.draw(rng) <= 12 for _ in range(50))


@given(st.floats(0.1, 100), st.integers(1, 300), st.integers(0, 5))
def test_open_loop_keeps_its_rate_exactly(rate: float, count: int, seed: int) -> None:
    times = arrivals(Stage(1, "open", rate, count), seed)
    assert times == sorted(times)
    assert times[-1] == pytest.approx(count / rate)
    assert times == arrivals(Stage(1, "open", rate, count), seed)


def test_open_loop_is_poisson() -> None:
    """Gaps of a Poisson process vary as much as they are long, and half of them are shorter than ln 2 of the mean."""
    times = arrivals(Stage(0, "open", 10, 20000), 0)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert statistics.stdev(gaps) == pytest.approx(0.1, rel=0.03)
    assert statistics.median(gaps) == pytest.approx(0.0693, rel=0.03)


def test_scale_is_read_off_two_counts() -> None:
    scale = measured_scale(16, 16 * 2 + 9, 144, 144 * 2 + 9)
    assert scale == Scale(2.0, 9.0, measured=True)
    assert scale.words(209) == 100
    assert scale.words(1) == 1


@pytest.mark.parametrize("counts", [(None, None), (10, 10), (0, 50)])
def test_scale_without_counts_is_a_guess(counts: tuple[int | None, int | None]) -> None:
    assert measured_scale(16, counts[0], 144, counts[1]) == Scale(measured=False)


def test_made_up_prompts_repeat_with_the_seed_and_do_not_begin_alike() -> None:
    lengths = Lengths("fixed", 50, 0, 50, 50)
    first, again = (made_up_prompts(random.Random(7), lengths, Scale(2.0)) for _ in range(2))
    texts = [next(first).text for _ in range(50)]
    assert texts == [next(again).text for _ in range(50)]
    assert len({text[:40] for text in texts}) == 50
    assert {len(text.split()) for text in texts} == {25}


def test_prompts_of_a_file(tmp_path: Path) -> None:
    lines = ['"plain"', '{"prompt": "two", "output_tokens": 7}', "", '{"messages": [{"role": "user", "content": "é"}]}']
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    plain, two, third = read_prompts(path, chat=True)
    assert (plain.text, two.text, two.output_tokens) == ("plain", "two", 7)
    assert third.messages == ({"role": "user", "content": "é"},)
    with pytest.raises(BenchmarkError, match="line 4: expected prompt"):
        read_prompts(path, chat=False)
    text = tmp_path / "prompts.txt"
    text.write_text("one\n\n{two}\n", "utf-8")
    assert [prompt.text for prompt in read_prompts(text, chat=False)] == ["one", "{two}"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "found none"),
        ("{", "line 1: expected JSON"),
        ("[1]", "expected an object or a string"),
        ('{"prompt": "x", "output_tokens": "9"}', "output_tokens"),
        ('{"text": "x"}', "expected prompt or messages"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content, "utf-8")
    with pytest.raises(BenchmarkError, match=f"prompts_file: .*{match}"):
        read_prompts(path, chat=True)
    with pytest.raises(BenchmarkError, match="cannot read"):
        read_prompts(tmp_path / "missing", chat=True)


def test_stages_are_ordered_and_large_enough() -> None:
    found = stages([16, 1, 16], [2.5], None)
    assert [(s.mode, s.load, s.requests) for s in found] == [
        ("closed", 1, 100),
        ("closed", 16, 320),
        ("open", 2.5, 100),
    ]
    assert [s.load for s in stages([], [], None)] == [1, 4, 16]
    assert stages([8], [], 3)[0].requests == 8


@pytest.mark.parametrize(("loads", "requests"), [([0], None), ([1], 0), ([1], 10**9), ([10**6], None)])
def test_stages_that_cannot_be(loads: list[int], requests: int | None) -> None:
    with pytest.raises(BenchmarkError):
        stages(loads, [], requests)


def settings(url: str = "http://127.0.0.1:1", **changes: Any) -> Settings:
    """Settings of a small run."""
    length = Lengths("fixed", 8, 0, 8, 8)
    return Settings(url, "m", stages([1], [], 1), length, length, **changes)


@pytest.mark.parametrize("changes", [{"stage_seconds": 0}, {"warmup_requests": -1}, {"extra_body": {"stream": False}}])
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(BenchmarkError, match=next(iter(changes))):
        settings(**changes)


@pytest.mark.parametrize(
    "url", ["http://u:s3cret@h:1", "http://u:s3cret@h:99999", "http://h:99999", "http://[::1", "http://u:s3cret@[::1"]
)
def test_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(BenchmarkError, match="url: expected") as caught:
        settings(url)
    assert "s3cret" not in str(caught.value)


def test_settings_never_show_the_key() -> None:
    secret = settings(api_key="s3cret")
    assert "s3cret" not in repr(secret) + str(secret.as_dict())
    assert secret.as_dict()["authenticated"] is True


def event(text: str) -> bytes:
    """An event of a stream."""
    return f"data: {text}\n\n".encode()


def test_reply_counts_tokens_and_not_announcements() -> None:
    reply = Reply()
    events = [
        '{"choices":[{"delta":{"role":"assistant","content":""}}]}',
        '{"choices":[{"delta":{"content":"a"}}]}',
        '{"choices":[{"delta":{"content":""}}]}',
        '{"choices":[{"delta":{"role":"assistant","content":"b"}}]}',
        '{"choices":[{"delta":{"reasoning_content":"c"}}]}',
        '{"choices":[{"delta":{},"finish_reason":"length"}]}',
        '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}',
        "[DONE]",
    ]
    for at, text in enumerate(events):
        reply.take(200, event(text), float(at))
    assert reply.times == [1.0, 2.0, 3.0, 4.0]
    assert (reply.input_tokens, reply.output_tokens, reply.finish_reason, reply.done) == (3, 9, "length", True)


def test_reply_of_a_completion() -> None:
    reply = Reply()
    for at, text in enumerate(['"a","finish_reason":null', '"","finish_reason":null', '"","finish_reason":"stop"']):
        reply.take(200, event(f'{{"choices":[{{"text":{text}}}]}}'), float(at))
    assert reply.times == [0.0, 1.0]
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "expected an event of JSON"),
        ("[]", "expected an object"),
        ('{"error":{"message":"out of luck"}}', "luck"),
        ('{"object":"error","message":"out of luck","code":400}', "luck"),
        ('{"choices":["a"]}', "expected a piece of an answer"),
        ('{"choices":[],"usage":[1]}', "expected a piece of an answer"),
    ],
)
def test_reply_that_tells_of_an_error(text: str, match: str) -> None:
    reply = Reply()
    reply.take(200, event(text), 0.0)
    assert match in reply.error


def test_refusal_is_read_and_bounded() -> None:
    reply = Reply()
    reply.take(429, b'{"error":{"message":"slow', 0.0)
    reply.take(429, b' down"}}', 0.0)
    assert reply.refusal() == "slow down"
    for _ in range(10):
        reply.take(500, b"x" * 10000, 0.0)
    assert len(reply.refusal()) <= 500


def test_what_is_no_stream_is_said() -> None:
    reply = Reply()
    reply.take(200, b"<html>sign in</html>", 0.0)
    assert verdict(200, reply) == ("protocol", "expected a stream of events, found '<html>sign in</html>'")
    cut = Reply()
    cut.take(200, event('{"choices":[{"delta":{"content":"a"}}]}'), 0.0)
    assert verdict(200, cut)[0] == "cut"


@pytest.mark.parametrize("beginning", [b'data: {"choices": [{"del', b": ping\n\n", b"event: mess"])
def test_a_stream_that_is_cut_in_its_first_event_is_cut(beginning: bytes) -> None:
    reply = Reply()
    reply.take(200, beginning, 0.0)
    kind, _message = verdict(200, reply)
    assert kind == "cut"


def test_pieces_of_many_tokens_are_a_caveat() -> None:
    """As speculative decoding sends them: gaps between them are no gaps between tokens."""
    stage = stage_summary(Stage(0, "closed", 4, 100), [record(output_tokens=80)] * 100, 1.0, IDLE, None)
    (caveat,) = caveats([stage])
    assert "tokens on average" in caveat
    assert "slo.itl_seconds" in caveat


@pytest.mark.parametrize(("tokens", "words"), [(8, (16, 32)), (100, (16, 100)), (256, (16, 144))])
def test_prompts_of_the_measurement_are_no_longer_than_need_be(tokens, words):
    assert scale_words(read_lengths("input_tokens", {}, tokens)) == words

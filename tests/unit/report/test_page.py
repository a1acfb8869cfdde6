"""The page as text: nothing from outside gets in as markup, nothing is fetched, everything is there."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from ansible_collections.llm.serving.plugins.module_utils.report.chart import chart, tokens
from ansible_collections.llm.serving.plugins.module_utils.report.fleet import plan_fleet
from ansible_collections.llm.serving.plugins.module_utils.report.page import render
from ansible_collections.llm.serving.plugins.module_utils.sizing.alternatives import Point, curve, curve_lengths

from .fleets import QWEN_7B, fleet, gpu, host, known

VOID = {"meta", "link", "rect", "line", "circle", "path", "br"}


class Balanced(HTMLParser):
    """Collects tags and attributes, and fails on tags that are closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module", name="page")
def rendered() -> str:
    return render(fleet(), ["lost<1>"], "now")


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_markup_is_balanced_and_holds_no_script(page: str) -> None:
    tags = {tag for tag, _ in parsed(page).seen}
    assert tags & {"script", "iframe", "object", "img", "form", "b>"} == set()


def test_names_are_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page
    assert "acme/&lt;b&gt;nothing&lt;/b&gt;" in page
    assert "lost&lt;1&gt;" in page


@pytest.mark.parametrize("text", ['"><img src=x onerror=alert(1)>', "</title><script>1</script>", "' onload='1"])
def test_nothing_untrusted_becomes_markup(text: str) -> None:
    wish = {"name": text, "model": QWEN_7B}
    good = plan_fleet([host(f"h{text}", gpu(1, name=f"card {text}"), wish)], known)
    bad = plan_fleet([host("x", gpu(1), {"name": "n", "model": text}, problems={"n": text})], known)
    ollama = plan_fleet([{"name": text, "gpu": {}, "ollama": ollama_with(text)}], known)
    page = render([*good, *bad, *ollama], [text], text)
    for tag, attributes in parsed(page).seen:
        assert tag not in ("script", "img")
        assert not any(name.startswith("on") for name in attributes)


def ollama_with(text: str) -> dict[str, object]:
    model = {"name": text, "weights_bytes": 1, "need_bytes": 2, "context": 1, "parallel": 1}
    return {
        "environment": {},
        "memory": {"pool": text, "total_bytes": 10, "usable_bytes": 9, "fits": False, "models": [model]},
        "reasons": [text],
        "remarks": [text],
    }


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    for tag, attributes in parsed(page).seen:
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
    assert re.findall(r"url\((?!#|&quot;)", page) == []
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_link_leads_somewhere(page: str) -> None:
    seen = parsed(page).seen
    targets = {attributes["id"] for _, attributes in seen if attributes.get("id")}
    links = {str(attributes["href"])[1:] for tag, attributes in seen if tag == "a"}
    assert links and links <= targets


def test_pictures_have_words(page: str) -> None:
    for tag, attributes in parsed(page).seen:
        if tag == "svg" and attributes.get("role") == "img":
            assert attributes.get("aria-label")
        if tag == "th":
            assert attributes.get("scope") in ("row", "col")


def test_every_figure_has_its_formula(page: str) -> None:
    for words in ("gpu_memory_utilization × memory: 0.9 × 79.2 GiB", "KV head(s) of a rank", "margin", "÷ 2 +"):
        assert words in page


def test_twins_share_their_details() -> None:
    wish = {"name": "q", "model": QWEN_7B, "max_model_len": 4096}
    hosts = [host("one", gpu(1), wish), host("two", gpu(2), {**wish, "gpus": 1})]
    page = render(plan_fleet(hosts, known), [], "now")
    assert page.count("The same plan as above") == 1
    assert page.count('class="chart"') == 1


def test_curve_falls_and_holds_the_plan() -> None:
    plan = fleet()[0].outcomes[0].plan
    assert plan is not None
    points = curve(plan.setup, 32768)
    assert [point.length for point in points] == sorted({point.length for point in points})
    assert all(a.expected >= b.expected and a.floor >= b.floor for a, b in zip(points, points[1:]))
    planned = next(point for point in points if point.length == plan.setup.max_model_len)
    assert planned.expected == plan.estimate.expected.concurrency
    assert planned.floor == plan.estimate.floor.concurrency


def test_lengths_reach_both_ends() -> None:
    assert curve_lengths(5000, 131072)[0] == 1024
    assert curve_lengths(5000, 131072)[-1] == 131072
    assert 5000 in curve_lengths(5000, 131072)
    assert curve_lengths(128, 128) == [128]


def test_axis_has_few_ticks_that_people_know() -> None:
    points = [Point(2**exponent, 2.0 ** (20 - exponent), 2.0 ** (19 - exponent)) for exponent in range(10, 21)]
    drawn = chart(points, points[3], 64, "label")
    assert "planned: 128.0 × 8k" in drawn and "max_num_seqs 64" in drawn and "one request" in drawn
    assert 4 <= len(re.findall(r'dy="18"', drawn)) <= 7
    assert [tokens(value) for value in (512, 1024, 131072, 1048576)] == ["512", "1k", "128k", "1M"]

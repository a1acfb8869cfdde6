from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.hub import names
from ansible_collections.llm.serving.plugins.module_utils.hub.errors import InvalidNameError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("repo", ["Qwen/Qwen2.5-32B-Instruct", "01-ai/Yi-1.5", "a/b_c.d"])
def test_repositories(repo: str) -> None:
    assert names.check_repo(repo) == repo


@pytest.mark.parametrize("repo", ["gpt2", "a/b/c", "/a/b", "a/..", "a/b--c", "a/.b", "a b/c", "a/b\n", "-a/b", ""])
def test_no_repositories(repo: str) -> None:
    with pytest.raises(InvalidNameError, match="repo: expected organisation/name"):
        names.check_repo(repo)


@pytest.mark.parametrize(
    "url", ["https://huggingface.co", "http://10.0.0.1:8090/", "http://[fd00::1]:80", "https://a:b@hub.site/x"]
)
def test_urls(url: str) -> None:
    assert names.is_http_url(url)


@pytest.mark.parametrize(
    "url", ["", "hub:80", "ftp://hub", "http://", "http://hub:99999", "http://hub:x", "http://a b"]
)
def test_no_urls(url: str) -> None:
    assert not names.is_http_url(url)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/7", "a" * 40])
def test_revisions(revision: str) -> None:
    assert names.check_revision(revision) == revision


@pytest.mark.parametrize(
    "revision", ["", "..", "a/../b", "--help", "a b", "x.lock", "x.lock/y", "a/", "a//b", "a/./b", ".git", "a" * 256]
)
def test_no_revisions(revision: str) -> None:
    with pytest.raises(InvalidNameError, match="revision"):
        names.check_revision(revision)


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "a\nb", ""),
        *(
            ".llm-serving.json",
            ".llm-serving.json.5.part",
            ".xet/x",
            ".part/a/b",
            "\ud800",
            "n" * 256,
            "a/" + "ü" * 128,
        ),
    ],
)
def test_files_that_would_leave_the_snapshot(name: str) -> None:
    with pytest.raises(InvalidNameError):
        names.check_file(name)


@given(st.lists(st.text("abc./", min_size=1, max_size=12)))
def test_a_checked_file_stays_below_the_snapshot(parts: list[str]) -> None:
    name = "/".join(parts)
    try:
        names.check_file(name)
    except InvalidNameError:
        return
    root = Path("/srv/models/x")
    assert root in Path(f"{root}/{name}").resolve().parents


def test_only_full_commits_are_pinned() -> None:
    assert names.is_commit("0123456789abcdef" * 2 + "01234567")
    assert not names.is_commit("0123456")
    assert not names.is_commit("A" * 40)


FILES = [
    "config.json", "model-00001-of-00002.safetensors", "pytorch_model.bin", "original/consolidated.00.pth",
    "consolidated.safetensors", "q4.gguf", "onnx/model.onnx", "tf_model.h5", "1_Pooling/config.json", "README.md",
]  # fmt: skip


def test_the_usual_choice() -> None:
    assert names.Selection().pick(FILES) == (
        "1_Pooling/config.json", "README.md", "config.json", "model-00001-of-00002.safetensors",
    )  # fmt: skip


def test_what_is_no_repetition_stays() -> None:
    assert names.Selection().pick(["consolidated.safetensors", "params.json", "tekken.json"]) == (
        "consolidated.safetensors", "params.json", "tekken.json",
    )  # fmt: skip
    assert names.Selection().pick(["q4.gguf"]) == ("q4.gguf",)


def test_an_explicit_choice_brings_repetitions_but_no_pickles() -> None:
    assert names.Selection(allow=("*.gguf", "*.bin")).pick(FILES) == ("q4.gguf",)
    assert names.Selection(allow=("*.bin",), allow_pickle=True).pick(FILES) == ("pytorch_model.bin",)


def test_what_is_to_be_ignored_is() -> None:
    assert "README.md" not in names.Selection(ignore=("*.md",)).pick(FILES)

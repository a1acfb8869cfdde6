"""Instances: their files, and what makes their process another one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.llm.serving.plugins.module_utils.engines.instances import (
    HEADER,
    Files,
    Instance,
    InstanceError,
    check_name,
    environment_value,
    existing_instances,
    hide_secrets,
    model_of,
)
from hypothesis import given
from hypothesis import strategies as st

SCALARS = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, min_value=1e-3, max_value=1e9),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS), st.dictionaries(st.text(), SCALARS))


@given(VALUES)
def test_yaml_reads_back_what_was_written(value: Any) -> None:
    text = Instance("m", {"option": value}).config_text()
    assert yaml.safe_load(text) == {"option": value}


@pytest.mark.parametrize(
    "word", ["true", "no", "Off", "null", "y", "~", "1e5", "8080", "0.5", "a: b", "a #b", "- a", ""]
)
def test_words_that_yaml_takes_for_something_else_stay_words(word: str) -> None:
    assert yaml.safe_load(Instance("m", {"option": word}).config_text()) == {"option": word}


def test_simple_words_are_not_quoted() -> None:
    assert (
        Instance("m", {"dtype": "bfloat16", "model": "/srv/m-1"})
        .config_text()
        .endswith("dtype: bfloat16\nmodel: /srv/m-1\n")
    )


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("expandable_segments:True,max_split_size_mb:256", "V=expandable_segments:True,max_split_size_mb:256"),
        ("two words", 'V="two words"'),
        ('a"b$c\\d`e', 'V="a\\"b\\$c\\\\d\\`e"'),
        ("", "V="),
    ],
)
def test_environment_is_quoted_for_systemd(value: str, line: str) -> None:
    assert Instance("m", environment={"V": value}).environment_text() == f"{HEADER}{line}\n"


def test_a_variable_of_two_lines_is_refused() -> None:
    with pytest.raises(InstanceError, match="one line"):
        Instance("m", environment={"V": "a\nB=c"}).environment_text()


def test_secrets_are_in_the_file_and_never_shown() -> None:
    instance = Instance("m", environment={"A": "1"}, secrets={"VLLM_API_KEY": "sk-secret"})
    assert "VLLM_API_KEY=sk-secret\n" in instance.environment_text()
    assert "sk-secret" not in instance.environment_text(show_secrets=False) + repr(instance)


def test_a_changed_secret_shows_as_changed_without_its_values() -> None:
    shown = hide_secrets("A=1\nVLLM_API_KEY=old-key\nHF_TOKEN=hf_x\n", {"VLLM_API_KEY": "new-key"})
    assert shown == "A=1\nVLLM_API_KEY=(secret) (another)\nHF_TOKEN=(secret)\n"
    assert hide_secrets("VLLM_API_KEY=new-key\n", {"VLLM_API_KEY": "new-key"}) == "VLLM_API_KEY=(secret)\n"


def test_everything_a_process_depends_on_changes_its_digest() -> None:
    base = Instance("m", {"port": 1}, {"A": "1"}, {"S": "1"})
    others = [
        Instance("m", {"port": 2}, {"A": "1"}, {"S": "1"}),
        Instance("m", {"port": 1}, {"A": "2"}, {"S": "1"}),
        Instance("m", {"port": 1}, {"A": "1"}, {"S": "2"}),
    ]
    digests = {instance.digest("unit", "engine") for instance in [base, *others]} | {base.digest("unit", "engine 2")}
    assert len(digests) == 5
    assert base.digest("unit", "engine") == Instance("m", {"port": 1}, {"A": "1"}, {"S": "1"}).digest("unit", "engine")


@pytest.mark.parametrize("name", ["", "Qwen", "a/b", "a b", "-a", "a-", "ü", "a@b", "../a"])
def test_names_that_cannot_name_a_unit_are_refused(name: str) -> None:
    with pytest.raises(InstanceError, match="correct name"):
        check_name(name)


def test_only_files_of_our_own_count_as_instances(tmp_path: Any) -> None:
    (tmp_path / "ours.yaml").write_text(Instance("ours", {"port": 1}).config_text())
    (tmp_path / "theirs.yaml").write_text("port: 2\n")
    assert existing_instances(tmp_path) == ["ours"]


@given(st.text(st.characters(exclude_characters="\n\0", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20))
def test_a_variable_is_read_back_as_it_was_written(value: str) -> None:
    text = Instance("a", environment={"OTHER": "1"}, secrets={"VLLM_API_KEY": value}).environment_text()
    assert environment_value(text, "VLLM_API_KEY") == value
    assert environment_value(text, "MISSING") is None


@pytest.mark.parametrize("model", ["/srv/models/a/b/5ede", "/srv/a model", "org/name"])
def test_the_model_of_an_instance_is_read_back(tmp_path, model: str) -> None:
    files = Files(tmp_path, "a")
    assert model_of(files) is None
    files.config.write_text(Instance("a", {"model": model, "port": 1}).config_text())
    assert model_of(files) == model

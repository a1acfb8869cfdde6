"""The collection's lookups, as templates call them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template


def evaluate(text: str, **variables: Any) -> Any:
    trusted = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in variables.items()}
    return Templar(loader=DataLoader(), variables=trusted).template(trust_as_template(text))


GREETING = {"name": "you", "who": "dear {{ name }}", "greeting": "Hello, {{ who }}."}


def test_supposing_reaches_what_a_variable_refers_to() -> None:
    text = "{{ lookup('llm.serving.supposing', 'greeting', name='world') }} {{ greeting }}"
    assert evaluate(text, **GREETING) == "Hello, dear world. Hello, dear you."


def test_supposing_takes_values_of_any_kind_and_several_names() -> None:
    text = "{{ query('llm.serving.supposing', 'total', 'sizes', sizes=[1, 2]) }}"
    assert evaluate(text, sizes=[], total="{{ sizes | sum }}") == [3, [1, 2]]


def test_supposing_says_which_variable_there_is_none_of() -> None:
    with pytest.raises(AnsibleError, match="greetings"):
        evaluate("{{ lookup('llm.serving.supposing', 'greetings', name='world') }}", **GREETING)

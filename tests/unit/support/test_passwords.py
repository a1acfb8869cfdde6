"""Passwords in URLs do not reach command lines."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.support.passwords import environment_problems


@pytest.mark.parametrize("value", ["https://me:hidden@index.example.org/simple", "http://:hidden@[::1]:3128"])
def test_a_password_is_refused_and_not_told(value: str) -> None:
    (problem,) = environment_problems({"UV_INDEX_URL": value, "NO_PROXY": "localhost"}, "common_environment")
    assert problem.startswith("common_environment: UV_INDEX_URL holds a password")
    assert "hidden" not in problem


@pytest.mark.parametrize("value", ["https://index.example.org/a:b@c", "/etc/ssl/ca.pem", "http://[::1", "a:b@c", 3])
def test_what_holds_none_is_taken(value: object) -> None:
    assert environment_problems({"HTTPS_PROXY": value}, "common_environment") == []

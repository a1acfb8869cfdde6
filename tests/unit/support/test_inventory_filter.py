"""Which groups of an inventory a playbook plays."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.filter import inventory
from ansible_collections.llm.serving.plugins.filter.inventory import NOBODY, present_groups


@pytest.mark.parametrize(
    ("pattern", "groups", "played"),
    [
        ("vllm", {"vllm": ["gpu1"]}, "vllm"),
        ("vllm:ollama", {"vllm": [], "ollama": ["desk"]}, "ollama"),
        ("vllm:ollama", {"vllm": ["gpu1"], "ollama": ["desk"]}, "vllm:ollama"),
        ("vllm", {"all": ["desk"], "ollama": ["desk"]}, NOBODY),
        ("vllm", {"all": [], "ungrouped": []}, NOBODY),
    ],
)
def test_groups_without_hosts_are_left_out(pattern, groups, played):
    assert present_groups(pattern, groups) == played


def test_an_inventory_of_something_else_is_warned_of(monkeypatch):
    warned = []
    monkeypatch.setattr(inventory.DISPLAY, "warning", warned.append)
    assert present_groups("vllm:ollama", {"all": ["a"], "ungrouped": [], "vlm": ["a"], "web": []}) == NOBODY
    assert "in the group vllm or ollama, found the groups vlm, web" in warned[0]
    assert present_groups("vllm:ollama", {"all": ["a"], "gateway": ["a"]}) == NOBODY
    assert len(warned) == 1

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.llm.serving.plugins.filter.mirror import mirror_urls

GROUPS = {"mirror": ["near", "six", "far"]}
HOSTVARS = {
    "near": {"ansible_host": "10.0.0.9", "mirror_port": 80},
    "six": {"ansible_host": "fd00::9", "mirror_tls_certificate": "PEM"},
    "far": {"mirror_url": "https://mirror.example.org/"},
}


def test_auto_is_the_group_in_its_order() -> None:
    urls = ["http://10.0.0.9:80", "https://[fd00::9]:8090", "https://mirror.example.org"]
    assert mirror_urls("auto", GROUPS, HOSTVARS) == urls
    assert mirror_urls("auto", {}, {}) == []
    assert mirror_urls("auto", {"mirror": ["bare"]}, {"bare": {}}) == ["http://bare:8090"]


def test_none_and_a_url() -> None:
    assert mirror_urls("none", GROUPS, HOSTVARS) == []
    assert mirror_urls("http://m:1/", GROUPS, HOSTVARS) == ["http://m:1"]
    with pytest.raises(AnsibleFilterError, match="expected auto, none or a URL, found 'never'"):
        mirror_urls("never", GROUPS, HOSTVARS)

"""What a server's address may be."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.openai.client import ApiError, Server, get


@pytest.mark.parametrize(
    "url", ["", "host:8000", "ftp://host", "http://", "http://h:abc", "http://h:70000", "http://[::1"]
)
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(ApiError, match="expected a URL such as"):
        get(Server(url), "/v1/models")


def test_missing_certificates_are_told() -> None:
    with pytest.raises(ApiError, match=r"expected the certificates of CAs in '/nowhere/ca\.pem'"):
        get(Server("https://127.0.0.1:1", ca_path="/nowhere/ca.pem"), "/v1/models")

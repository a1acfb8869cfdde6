"""A certificate of another time asks for the clock, one of an unknown authority for that authority."""

from __future__ import annotations

import http.server
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.support.certificates import certificate_remedy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)
Served = Callable[[timedelta, timedelta], tuple[str, Path]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve with a certificate that is valid from and until then, from now; return the URL and its authority."""
    servers = []

    def serve(begin: timedelta, end: timedelta) -> tuple[str, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        certificate = builder.not_valid_before(now + begin).not_valid_after(now + end).sign(key, hashes.SHA256())
        encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(encoding))
        form = serialization.PrivateFormat.PKCS8
        (tmp_path / "key.pem").write_bytes(key.private_bytes(encoding, form, no_password))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"https://127.0.0.1:{server.server_address[1]}", tmp_path / "cert.pem"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def refusal(url: str, authority: Path | None) -> str:
    """Return how OpenSSL words why it refuses a server."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    with pytest.raises(urllib.error.URLError) as caught:
        urllib.request.urlopen(url, context=context)
    assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)
    return caught.value.reason.verify_message


@pytest.mark.parametrize(("begin", "end"), [(-2 * DAY, -DAY), (DAY, 2 * DAY)], ids=["expired", "not yet valid"])
def test_a_certificate_of_another_time_asks_for_the_clock(served: Served, begin: timedelta, end: timedelta) -> None:
    url, authority = served(begin, end)
    assert certificate_remedy(refusal(url, authority), clock=lambda: 86400.0) == (
        "Set the host's clock, which says 1970-01-02 00:00Z; if it is right, have the certificate renewed."
    )


def test_an_unknown_authority_is_to_be_added(served: Served) -> None:
    url, _authority = served(-DAY, DAY)
    assert certificate_remedy(refusal(url, None)) == "Add its authority to the host's trust store."
    assert certificate_remedy(refusal(url, None), "set ca_path") == "set ca_path"

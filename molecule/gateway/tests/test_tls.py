"""Nothing but modern TLS, as somebody else's scanner sees it."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess

import pytest
from conftest import NAME, Door

SSLYZE = "sslyze==6.3.1"
SCANS = ["sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "reneg", "heartbleed", "robot", "compression"]


def test_http_is_sent_to_https(door: Door) -> None:
    for method in ("GET", "POST"):
        connection = http.client.HTTPConnection(door.address, 80, timeout=10)
        connection.request(method, "/v1/models", headers={"Host": "evil.example"})
        response = connection.getresponse()
        assert (response.status, response.getheader("location")) == (308, f"https://{NAME}/v1/models")


def test_browsers_are_told_to_stay_with_https(door: Door) -> None:
    for key in (None, "wrong"):
        assert door.ask("/v1/models", key=key).headers["strict-transport-security"] == "max-age=31536000"


def test_the_certificate_is_for_the_name_and_of_the_private_ca(door: Door) -> None:
    with door.socket() as connection:
        certificate = connection.getpeercert()
    assert ("DNS", NAME) in certificate["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        Door(door.address, "/etc/ssl/certs/ca-certificates.crt").socket()


def test_a_scanner_finds_mozillas_intermediate_profile(door: Door, tmp_path) -> None:
    report = tmp_path / "sslyze.json"
    scan = subprocess.run(
        [
            "uv",
            "tool",
            "run",
            f"--from={SSLYZE}",
            "sslyze",
            "--mozilla_config=disable",
            f"--json_out={report}",
            *(f"--{scan}" for scan in SCANS),
            f"{NAME}:443{{{door.address}}}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert scan.returncode == 0, scan.stdout + scan.stderr
    found = json.loads(report.read_text())["server_scan_results"][0]["scan_result"]
    accepted = {
        name.removesuffix("_cipher_suites"): {suite["cipher_suite"]["name"] for suite in suites}
        for name, result in found.items()
        if name.endswith("_cipher_suites") and (suites := result["result"]["accepted_cipher_suites"])
    }
    assert set(accepted) == {"tls_1_2", "tls_1_3"}
    assert all("ECDHE" in suite and ("GCM" in suite or "CHACHA20" in suite) for suite in accepted["tls_1_2"])
    assert not found["heartbleed"]["result"]["is_vulnerable_to_heartbleed"]
    assert not found["tls_compression"]["result"]["supports_compression"]
    assert not found["session_renegotiation"]["result"]["is_vulnerable_to_client_renegotiation_dos"]
    assert found["robot"]["result"]["robot_result"].startswith("NOT_VULNERABLE")

"""The clients over TLS: with the machine's certification authorities, or with those that the program names."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.client_calls import API_KEY, KINDS, Kind
from tests.support.scripted_server import http_response, scripted_server
from tokensvc.client import AsyncTokensClient, NoResponseError, RetryPolicy, TokenRequest, TokensClient

REQUEST = TokenRequest("arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl")
ISSUED = http_response(
    201,
    {
        "token": "e30.e30.e30",
        "expiresAt": "2026-11-21T10:02:00Z",
        "refreshAfter": "2026-11-21T10:01:36Z",
        "requiresOriginHeader": False,
    },
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private_key + certificate.public_bytes(Encoding.PEM))
    return path


async def _issue(client: AsyncTokensClient) -> str:
    async with client:
        return (await client.issue_token(REQUEST)).token


def _token(kind: Kind, url: str, trusted: ssl.SSLContext | None) -> str:
    policy = RetryPolicy(max_attempts=1)
    if kind == "async":
        return asyncio.run(_issue(AsyncTokensClient(url, API_KEY, retries=policy, ssl_context=trusted)))
    with TokensClient(url, API_KEY, retries=policy, ssl_context=trusted) as client:
        return client.issue_token(REQUEST).token


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_is_verified_and_an_authority_of_ones_own_can_be_named(kind: Kind, certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with scripted_server(ISSUED, tls=tls) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(NoResponseError, match="CERTIFICATE_VERIFY_FAILED"):
            _token(kind, url, None)
        assert _token(kind, url, ssl.create_default_context(cafile=str(certificate))) == "e30.e30.e30"
    assert len(server.requests) == 1, "nothing is sent to a server that is not verified"

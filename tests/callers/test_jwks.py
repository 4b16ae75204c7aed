"""The key sets of issuers, fetched over real HTTP."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.oidc_issuer import DISCOVERY_PATH, JWKS_PATH, OidcIssuer, running_issuer
from tokensvc.callers import jwks
from tokensvc.callers.jwks import (
    LAST_GOOD_SECONDS,
    MAX_BYTES,
    MAX_KEYS,
    MIN_CONNECT_SECONDS,
    REFETCH_SECONDS,
    TTL_SECONDS,
    FetchFailed,
    IssuerKeys,
    check_address,
    fetch_json,
    read_key_set,
)
from tokensvc.errors import IssuerUnavailable

pytestmark = pytest.mark.slow

NOW = 1000.0


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with running_issuer() as running:
        yield running


def _refreshed(issuer: OidcIssuer, kid: str = "first", now: float = NOW) -> IssuerKeys:
    keys = IssuerKeys(issuer.url, None)
    keys.refresh(kid, now)
    return keys


def test_the_key_set_is_discovered(issuer: OidcIssuer) -> None:
    keys = _refreshed(issuer)
    assert keys.find("first", "RS256", NOW) is not None
    assert keys.find(None, "RS256", NOW) is not None, "the only key needs no id"
    assert keys.find("first", "ES256", NOW) is None
    assert issuer.requests == [DISCOVERY_PATH, JWKS_PATH]


def test_a_named_key_set_needs_no_discovery(issuer: OidcIssuer) -> None:
    IssuerKeys(issuer.url, issuer.url + JWKS_PATH).refresh(None, NOW)
    assert issuer.requests == [JWKS_PATH]


def test_a_rotated_key_is_fetched_when_it_is_used(issuer: OidcIssuer) -> None:
    keys = _refreshed(issuer)
    issuer.rotate("second")
    later = NOW + REFETCH_SECONDS
    assert keys.needs_fetch("second", later)
    old = keys.find("first", "RS256", NOW)
    keys.refresh("second", later)
    assert keys.find("second", "RS256", later) is not None
    assert old is not None
    assert not keys.holds(old, later)


def test_a_flood_of_unknown_kids_fetches_once_a_minute(issuer: OidcIssuer) -> None:
    keys = _refreshed(issuer)
    issuer.requests.clear()
    for second in range(180):
        keys.refresh(f"unknown-{second}", NOW + second)
    assert issuer.requests.count(JWKS_PATH) == 2


def test_a_known_kid_fetches_nothing_within_the_ttl(issuer: OidcIssuer) -> None:
    keys = _refreshed(issuer)
    assert not keys.needs_fetch("first", NOW + TTL_SECONDS)
    assert keys.needs_fetch("first", NOW + TTL_SECONDS + 1)


def test_an_outage_is_bridged_for_a_day_with_the_last_good_set(issuer: OidcIssuer) -> None:
    keys = _refreshed(issuer)
    issuer.status = 500
    later = NOW + LAST_GOOD_SECONDS - 1
    keys.refresh("first", later)
    assert keys.failure == "the issuer's response has the status 500"
    assert keys.find("first", "RS256", later) is not None
    with pytest.raises(IssuerUnavailable):
        keys.find("first", "RS256", later + 2)


def test_without_any_set_the_issuer_is_unavailable(issuer: OidcIssuer) -> None:
    issuer.status = 503
    with pytest.raises(IssuerUnavailable) as raised:
        _refreshed(issuer).find("first", "RS256", NOW)
    assert raised.value.detail == "the issuer's response has the status 503"


def test_a_url_that_the_http_client_rejects_is_a_failed_fetch(
    issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(_url: str) -> httpx.URL:
        raise httpx.InvalidURL("no")

    monkeypatch.setattr(httpx, "URL", reject)
    with pytest.raises(FetchFailed, match="the issuer's URL is not valid"):
        fetch_json(issuer.url + JWKS_PATH, 5)


def test_the_time_that_resolving_takes_counts(issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 6.0])
    monkeypatch.setattr(jwks, "monotonic", lambda: next(times))
    with pytest.raises(FetchFailed, match="not resolved in time"):
        fetch_json(issuer.url + JWKS_PATH, 5)
    assert issuer.requests == []


def test_redirects_are_refused(issuer: OidcIssuer) -> None:
    issuer.redirect_to = issuer.url + JWKS_PATH
    with pytest.raises(FetchFailed, match="302"):
        fetch_json(issuer.url + "/other", 5)


def test_another_issuers_discovery_document_is_refused(issuer: OidcIssuer) -> None:
    issuer.discovery["issuer"] = "https://evil.example.com"
    assert "another issuer's" in _refreshed(issuer).failure


@pytest.mark.parametrize(
    "uri", ["http://keys.example.com/", "file:///etc/passwd", "https://a@b/", "https://a/\x7f", None, 7]
)
def test_a_jwks_uri_obeys_the_rules_of_issuer_urls(issuer: OidcIssuer, uri: object) -> None:
    issuer.discovery["jwks_uri"] = uri
    assert _refreshed(issuer).failure.startswith("jwks_uri must")


def test_a_huge_answer_is_not_read(issuer: OidcIssuer) -> None:
    issuer.body = b'{"keys": [' + b" " * MAX_BYTES + b"]}"
    assert "longer than" in _refreshed(issuer).failure


def test_a_set_of_too_many_keys_is_refused(issuer: OidcIssuer) -> None:
    issuer.extra_keys = [{"kty": "oct", "k": "AA"}] * MAX_KEYS
    assert f"more than {MAX_KEYS}" in _refreshed(issuer).failure


def test_an_answer_that_drips_in_ends_at_the_deadline(issuer: OidcIssuer) -> None:
    issuer.seconds_between_bytes = 0.05
    started = time.monotonic()
    with pytest.raises(FetchFailed, match=r"cannot be reached|is not JSON"):
        fetch_json(issuer.url + JWKS_PATH, 0.4)
    assert time.monotonic() - started < 10


def test_an_issuer_that_is_gone_cannot_be_reached() -> None:
    with running_issuer() as gone:
        pass
    with pytest.raises(FetchFailed, match="cannot be reached"):
        fetch_json(gone.url, 5)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::a9fe:a9fe",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ],
)
def test_link_local_and_metadata_addresses_are_refused(address: str) -> None:
    with pytest.raises(FetchFailed, match="not allowed"):
        check_address(ipaddress.ip_address(address), loopback=False)


def test_a_host_is_resolved_once_and_the_checked_address_is_used(
    issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that gives a harmless address first cannot give another one to the connection."""
    port = int(issuer.url.rsplit(":", 1)[1])
    resolved = []

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        resolved.append(host)
        return [(None, None, None, "", ("127.0.0.1", port))]

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: resolve(host) if host == "localhost" else real(host, *a, **k)
    )
    assert fetch_json(f"http://localhost:{port}{JWKS_PATH}", 5)["keys"]
    assert resolved == ["localhost"]


def test_http_is_refused_where_a_name_is_not_loopback() -> None:
    with pytest.raises(FetchFailed, match="loopback"):
        check_address(ipaddress.ip_address("192.0.2.1"), loopback=True)


def test_keys_that_are_not_for_signatures_are_ignored(issuer: OidcIssuer) -> None:
    good = issuer.key_set()["keys"][0]
    unusable = [
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0"},
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "n": "AQAB"},
        {**good, "n": 7},
        {"kty": "new"},
        "text",
    ]
    assert read_key_set({"keys": unusable}) == frozenset()
    assert read_key_set({"keys": [{**good, "d": "private"}]}) == read_key_set({"keys": [good]})
    assert json.dumps(list(read_key_set({"keys": [{**good, "d": "private"}]}))).find("private") == -1


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": None}])
def test_what_is_no_key_set_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(FetchFailed, match="not a JWK Set"):
        read_key_set(document)


def test_a_key_set_may_have_a_query_in_its_url(issuer: OidcIssuer) -> None:
    keys = IssuerKeys(issuer.url, f"{issuer.url}{JWKS_PATH}?p=b2c_1_signin")
    keys.refresh("first", NOW)
    assert keys.find("first", "RS256", NOW) is not None
    issuer.discovery["jwks_uri"] = f"{issuer.url}{JWKS_PATH}?appid=1"
    assert _refreshed(issuer).find("first", "RS256", NOW) is not None


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_an_https_issuer_cannot_send_us_to_plain_http_on_this_machine(scheme: str) -> None:
    fetched, jwks_uri = [], "http://127.0.0.1:9000/keys"

    def fetch(url: str, _seconds: float) -> dict[str, object]:
        fetched.append(url)
        return {"issuer": f"{scheme}://login.example.com", "jwks_uri": jwks_uri, "keys": []}

    keys = IssuerKeys(f"{scheme}://login.example.com", None, fetch)
    keys.refresh(None, NOW)
    assert keys.failure == "jwks_uri must begin with https://, as its issuer does"
    assert fetched == [f"{scheme}://login.example.com/.well-known/openid-configuration"]
    jwks_uri = "HTTPS://keys.example.com/"
    keys.refresh(None, NOW + REFETCH_SECONDS)
    assert (keys.failure, fetched[-1]) == ("", jwks_uri)


@pytest.mark.parametrize(("count", "seconds"), [(1, 2.5), (2, 1.25), (16, MIN_CONNECT_SECONDS)])
def test_an_address_has_time_for_a_slow_handshake_however_many_there_are(
    count: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def get(_url: str, _address: object, _seconds: float, connect_seconds: float) -> dict[str, Any]:
        given.append(connect_seconds)
        return {}

    found = [(None, None, None, "", (f"192.0.2.{number}", 443)) for number in range(count)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(jwks, "_get", get)
    assert fetch_json("https://login.example.com/keys", 2.5) == {}
    assert given == [pytest.approx(seconds, abs=0.2)]


def test_the_next_address_is_tried_if_one_does_not_accept_connections(
    issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(issuer.url.rsplit(":", 1)[1])
    real, found = socket.getaddrinfo, ["127.0.0.2", "127.0.0.1", "127.0.0.3"]

    def resolve(host: str, *more: Any, **named: Any) -> Any:
        if host != "localhost":
            return real(host, *more, **named)
        return [(None, None, None, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert fetch_json(f"http://localhost:{port}{JWKS_PATH}", 5)["keys"]
    found[1:] = []
    with pytest.raises(FetchFailed, match="cannot be reached: ConnectError"):
        fetch_json(f"http://localhost:{port}{JWKS_PATH}", 5)

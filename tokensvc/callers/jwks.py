"""The public keys of one issuer of bearer tokens, fetched over HTTP and cached.

Invariants
- A fetch follows no redirect, reads at most MAX_BYTES and MAX_KEYS, and ends after FETCH_SECONDS; only the system's
  resolver may take longer, by its own time-outs. It uses https; http
  is for loopback addresses only. No proxy or credentials of the environment are used.
- The host's name is resolved once, and the connection goes to an address that was checked: a name server cannot give
  another one in between. Link-local addresses and those of cloud metadata services are refused.
- Only public signature keys are used: symmetric keys, encryption keys and unknown types are ignored, and private
  members are dropped. A key is used only with algorithms of its own type: no public key serves as a secret.
- Unknown key ids cause at most one fetch a minute. While the issuer is unreachable, the last good set serves for a day.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt

from tokensvc.callers.issuer_urls import check_issuer_url
from tokensvc.errors import IssuerUnavailable
from tokensvc.jose.strict_json import read_object

FETCH_SECONDS = 5.0
"""For discovery and key set together."""
MIN_CONNECT_SECONDS = 1.0
"""What an address gets at least for its connection, with the TLS handshake, however many addresses the host has."""
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
TTL_SECONDS = 600.0
REFETCH_SECONDS = 60.0
"""The shortest time between two fetches once there are keys."""
RETRY_SECONDS = 5.0
"""The shortest time between two fetches while there are none."""
LAST_GOOD_SECONDS = 86_400.0
MIN_RSA_BITS = 2048
_METADATA_ADDRESSES = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_EC_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_OKP_CURVES = ("Ed25519", "Ed448")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Fetch = Callable[[str, float], dict[str, Any]]
"""Gets a JSON object from a URL within a time in seconds. Raises FetchFailed."""


class FetchFailed(Exception):
    """Why an issuer's document cannot be had, for the log."""


class IssuerKey(NamedTuple):
    """One public signature key (RFC 7517, section 4)."""

    kid: str | None
    kty: str
    alg: str | None
    members: tuple[tuple[str, str], ...]

    def fits(self, algorithm: str) -> bool:
        """Whether the key is of the type, and the curve, of this signature algorithm."""
        if self.alg is not None and self.alg != algorithm:
            return False
        curve = dict(self.members).get("crv", "")
        if self.kty == "EC":
            return _EC_CURVES.get(algorithm) == curve
        if self.kty == "OKP":
            return algorithm == "EdDSA" and curve in _OKP_CURVES
        return algorithm[:2] in ("RS", "PS")

    def public_key(self, algorithm: str) -> jwt.PyJWK:
        """The key for PyJWT. Raises jwt.PyJWTError when it cannot be read."""
        return jwt.PyJWK({"kty": self.kty, **dict(self.members)}, algorithm)


class IssuerKeys:
    """The keys of one issuer. Times are those of the monotonic clock, in seconds. Any thread may call it."""

    def __init__(self, issuer: str, jwks_url: str | None, fetch: Fetch | None = None) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch = fetch or fetch_json
        self._lock = threading.Lock()
        self._keys: frozenset[IssuerKey] = frozenset()
        self._fetched_at = self._tried_at = float("-inf")
        self.failure = ""
        """Why the last fetch failed; "" when it did not."""

    def find(self, kid: str | None, algorithm: str, now: float) -> IssuerKey | None:
        """The key with this id for this algorithm; without an id, the only key for it. Raises IssuerUnavailable when
        there is no key set that is new enough."""
        if now - self._fetched_at > LAST_GOOD_SECONDS:
            raise IssuerUnavailable("the keys of the bearer token's issuer cannot be fetched", detail=self.failure)
        fitting = [key for key in self._keys if (kid is None or key.kid == kid) and key.fits(algorithm)]
        return fitting[0] if len(fitting) == 1 else None

    def holds(self, key: IssuerKey, now: float) -> bool:
        """Whether the key is in the set that is valid now."""
        return now - self._fetched_at <= LAST_GOOD_SECONDS and key in self._keys

    def needs_fetch(self, kid: str | None, now: float) -> bool:
        """Whether the set should be fetched before a token with this key id is judged."""
        age = now - self._fetched_at
        if now - self._tried_at < (RETRY_SECONDS if age > LAST_GOOD_SECONDS else REFETCH_SECONDS):
            return False
        return age > TTL_SECONDS or (kid is not None and all(key.kid != kid for key in self._keys))

    def age_seconds(self, now: float) -> float | None:
        """The age of the set; None if it was never fetched."""
        age = now - self._fetched_at
        return age if math.isfinite(age) else None

    def refresh(self, kid: str | None, now: float) -> bool:
        """Fetch the set, unless another thread just did. Blocks. A failure keeps the last good set. Returns whether it
        tried."""
        with self._lock:
            if not self.needs_fetch(kid, now):
                return False
            self._tried_at = now
            try:
                self._keys = read_key_set(self._fetch_set())
            except FetchFailed as error:
                self.failure = str(error)
            else:
                self._fetched_at, self.failure = now, ""
            return True

    def _fetch_set(self) -> dict[str, Any]:
        url, seconds = self._jwks_url, FETCH_SECONDS
        if url is None:
            seconds /= 2
            discovery = self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration", seconds)
            if discovery.get("issuer") != self._issuer:  # OpenID Connect Discovery 1.0, section 4.3
                raise FetchFailed("the discovery document is another issuer's")
            url = discovery.get("jwks_uri")
        try:
            checked = check_issuer_url(url if isinstance(url, str) else "", allow_query=True)
        except ValueError as error:
            raise FetchFailed(f"jwks_uri {error}") from None
        if self._jwks_url is None and (urlsplit(self._issuer).scheme, urlsplit(checked).scheme) == ("https", "http"):
            raise FetchFailed("jwks_uri must begin with https://, as its issuer does")
        return self._fetch(checked, seconds)


def read_key_set(document: Mapping[str, Any]) -> frozenset[IssuerKey]:
    """The public signature keys of a JWK Set (RFC 7517, section 5). Keys that cannot be used are ignored, as section 5
    recommends. Raises FetchFailed when the document is no JWK Set or has too many keys."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise FetchFailed("the document is not a JWK Set")
    if len(entries) > MAX_KEYS:
        raise FetchFailed(f"the key set has more than {MAX_KEYS} keys")
    return frozenset(key for entry in entries if (key := _read_key(entry)) is not None)


def _read_key(entry: object) -> IssuerKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kty, kid, alg = entry.get("kty"), entry.get("kid"), entry.get("alg")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS or not isinstance(operations, list):
        return None
    members = tuple((name, entry.get(name)) for name in _PUBLIC_MEMBERS[kty])
    if "verify" not in operations or not all(isinstance(value, str) and value for _, value in members):
        return None
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    if kty == "RSA" and len(str(entry["n"])) * 6 < MIN_RSA_BITS:
        return None
    return IssuerKey(kid, kty, alg, tuple((name, str(value)) for name, value in members))


def fetch_json(url: str, seconds: float) -> dict[str, Any]:
    """Get a JSON object from an issuer's URL, within this time and the module's bounds. The addresses of its host are
    tried in turn, while there is time, until one accepts the connection. Raises FetchFailed."""
    import httpx  # loads its command line, with rich: only a worker that fetches keys pays for it

    ends_at = monotonic() + seconds
    parts = urlsplit(url)
    is_http = parts.scheme == "http"
    addresses = _resolve(parts.hostname or "", parts.port or (80 if is_http else 443), loopback=is_http)
    failure = FetchFailed("the issuer's host was not resolved in time")
    for position, address in enumerate(addresses):
        remaining = ends_at - monotonic()
        if remaining <= 0:
            break
        try:
            share = max(remaining / (len(addresses) - position), MIN_CONNECT_SECONDS)
            return _get(url, address, remaining, min(share, remaining))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = _unreachable(error)
        except httpx.InvalidURL:
            raise FetchFailed("the issuer's URL is not valid") from None
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(error) from None
        except ValueError as error:
            raise FetchFailed(f"the issuer's response {error}") from None
    raise failure


def _unreachable(error: Exception) -> FetchFailed:
    return FetchFailed(f"the issuer cannot be reached: {type(error).__name__}")


def _get(url: str, address: _Address, seconds: float, connect_seconds: float) -> dict[str, Any]:
    """Get a JSON object from this address. Raises FetchFailed, httpx.HTTPError, httpx.InvalidURL, OSError or ValueError
    for a body that is not a JSON object."""
    import httpx

    parts = urlsplit(url)
    closing = _Deadline(seconds)
    with (
        closing,
        httpx.Client(
            verify=False if parts.scheme == "http" else _tls(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(seconds, connect=connect_seconds),
        ) as client,
        client.stream(
            "GET",
            httpx.URL(url).copy_with(host=str(address)),
            headers={"host": parts.netloc, "accept": "application/json", "accept-encoding": "identity"},
            extensions={"sni_hostname": parts.hostname or "", "trace": closing.trace},
        ) as response,
    ):
        if response.status_code != 200:
            raise FetchFailed(f"the issuer's response has the status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchFailed("the issuer's response has a content coding")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                raise FetchFailed(f"the issuer's response is longer than {MAX_BYTES} bytes")
        return read_object(bytes(body))


def check_address(address: _Address, *, loopback: bool) -> None:
    """Raise FetchFailed unless connections to this address are allowed; with `loopback`, to loopback addresses only."""
    address = _embedded_ipv4(address) or address
    if loopback and not address.is_loopback:
        raise FetchFailed("http is for loopback addresses only")
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA_ADDRESSES:
        raise FetchFailed("the issuer's host has an address that is not allowed")


def _embedded_ipv4(address: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a gateway translates an IPv6 address: IPv4-mapped (RFC 4291), NAT64 (RFC 6052, with its
    local prefix RFC 8215), stateless (RFC 2765), 6to4 (RFC 3056) or IPv4-compatible (RFC 4291, deprecated)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    is_translated = any(address in network for network in _TRANSLATED)
    if is_translated or (address in _IPV4_COMPATIBLE and int(address) > 1):  # not :: or ::1
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _resolve(host: str, port: int, *, loopback: bool) -> list[_Address]:
    """The addresses of the host, all of which are checked. IPv4 is first, which every machine can reach."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise FetchFailed("the issuer's host cannot be resolved") from None
    addresses = sorted((ipaddress.ip_address(str(text).partition("%")[0]) for text in found), key=lambda a: a.version)
    for address in addresses:
        check_address(address, loopback=loopback)
    return addresses


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificate authorities, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


class _Deadline:
    """Ends a connection after a time, however slowly the other side sends: httpx limits single reads only."""

    def __init__(self, seconds: float) -> None:
        self._socket: Any = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the connection's socket. An extension of httpx; see its documentation of `trace`."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _end(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

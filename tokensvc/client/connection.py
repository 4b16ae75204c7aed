"""What both clients share: where they connect, with which credentials, and what they take for a response.

Invariants
- The API key is in no repr and no message.
- Variables of the environment (proxies, netrc, certificates) are not read, and redirects are not followed: the API key
  reaches `base_url` and nothing else.
- No cookie is kept: one of a load balancer would send every request to the same worker.
- A response is read to its end or to `MAX_RESPONSE_BYTES`, as it was sent: no content coding is asked for or undone.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Generator
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from tokensvc import __version__
from tokensvc.client.errors import InvalidResponseError, NoResponseError
from tokensvc.client.exchange import Environment, Request, Response, RetryPolicy

MAX_RESPONSE_BYTES = 16 * 2**20
"""A batch of 500 tokens is about 1 MiB."""
CONNECT_SECONDS = 1.0
IDLE_SECONDS = 60.0
"""tokensvc closes idle connections after 75 seconds: the client drops them first."""
MAX_CONNECTIONS = 16
"""Of a client. A request that finds none free waits, in the client and not in httpx's pool, which becomes slow when
hundreds wait in it."""
_LIMITS = httpx.Limits(
    max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
)


class Credentials(httpx.Auth):
    """Sends the API key. A class of its own, so that no dictionary of headers in a stack trace shows it."""

    def __init__(self, api_key: str) -> None:
        if not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise ValueError("api_key must be printable ASCII characters without spaces; remove the end of line")
        self._header = f"Bearer {api_key}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = self._header
        yield request


class Connection:
    """How a deployment is reached."""

    def __init__(self, base_url: str, api_key: str, *, proxy: str | None, ssl_context: ssl.SSLContext | None) -> None:
        self.base_url = _checked(base_url)
        self._credentials = Credentials(api_key)
        self._proxy = proxy
        self._ssl_context = ssl_context

    def client_options(self) -> dict[str, Any]:
        """The options of an httpx client."""
        return {
            "auth": self._credentials,
            "headers": {
                "user-agent": f"tokensvc-python/{__version__}",
                "accept": "application/json",
                "accept-encoding": "identity",
            },
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
            "follow_redirects": False,
            "trust_env": False,
        }

    def transport_options(self) -> dict[str, Any]:
        """The options of its transport."""
        is_plain = self._proxy is None and self.base_url.startswith("http:")
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else True  # loading certificates takes 20 ms
        return {
            "proxy": self._proxy,
            "verify": unused if self._ssl_context is None else self._ssl_context,
            "trust_env": False,
            "limits": _LIMITS,
        }

    def request_options(self, request: Request, timeout_seconds: float) -> dict[str, Any]:
        """The arguments of httpx for a request."""
        headers = dict(request.headers)
        if request.body is not None:
            headers["content-type"] = "application/json"
        return {
            "method": request.method,
            "url": self.base_url + request.target,
            "content": request.body,
            "headers": headers,
            "timeout": httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
        }


def environment(policy: RetryPolicy) -> Environment:
    """Those of this machine."""
    return Environment(policy, time.monotonic, lambda: datetime.now(UTC), random.uniform)


def response_of(response: httpx.Response, body: bytes) -> Response:
    """A response as the exchange takes it."""
    return Response(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def too_long() -> InvalidResponseError:
    """The error of a response that was not read to its end."""
    return InvalidResponseError(f"the response is longer than {MAX_RESPONSE_BYTES} bytes")


def no_response(error: httpx.TransportError | TimeoutError) -> NoResponseError:
    """The error of a request without a response."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return NoResponseError("no response within the time allowed for it")
    return NoResponseError(f"no response: {type(error).__name__}: {error}" if str(error) else "no response")


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise ValueError("base_url is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("base_url must be an http or https URL, such as https://tokens.example.com")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("base_url must not have a user name, password, query or fragment")
    return str(url).rstrip("/")

"""Client address and scheme come from a trusted proxy, on both paths through the application."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.support.asgi_client import scope_of
from tokensvc.web.context import Respond
from tokensvc.web.trusted_proxies import TrustedProxies

PROXY = "192.0.2.7"
"""The client of `scope_of`."""


class RecordingApplication:
    """Records its clients."""

    def __init__(self) -> None:
        self.clients: list[str] = []
        self.flushes = 0

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.clients.append(scope["client"][0])

    def handle_nowait(self, scope: Scope, body: bytes, _respond: Respond) -> bool:
        self.clients.append(scope["client"][0])
        return body == b"quick"

    def flush(self) -> None:
        self.flushes += 1


def clients_of(trusted: list[str], *bodies: bytes, **headers: str) -> list[str]:
    """The client that the application sees, each time that it is offered the request."""
    application = RecordingApplication()
    proxied: Any = TrustedProxies(application, trusted)
    scope = scope_of(**headers)

    async def offer() -> None:
        for body in bodies:
            if not proxied.handle_nowait(scope, body, lambda *_: None):
                await proxied(scope, None, None)

    asyncio.run(offer())
    return application.clients


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("203.0.113.5, 198.51.100.9", "198.51.100.9"),
        (f"203.0.113.5, 198.51.100.9, {PROXY}", "198.51.100.9"),
        ("", PROXY),
    ],
    ids=["one address", "an address claimed by the client comes first", "two proxies", "no address"],
)
def test_a_trusted_proxys_headers_are_used_on_either_path(forwarded: str, client: str) -> None:
    seen = clients_of([PROXY], b"quick", b"slow", x_forwarded_for=forwarded)
    assert seen == [client, client, client], "accepted on the fast path; then declined there, and handled by a task"


def test_headers_of_untrusted_clients_are_ignored() -> None:
    assert clients_of(["192.0.2.8"], b"quick", b"slow", x_forwarded_for="198.51.100.9") == [PROXY] * 3


def test_a_network_of_proxies_can_be_trusted() -> None:
    assert clients_of(["192.0.2.0/24"], b"quick", x_forwarded_for="198.51.100.9") == ["198.51.100.9"]


def test_flush_is_forwarded_to_the_application() -> None:
    application = RecordingApplication()
    TrustedProxies(application, [PROXY]).flush()
    assert application.flushes == 1


ADDRESSES = st.sampled_from([PROXY, "198.51.100.9", "203.0.113.5:8443", "[2001:db8::1]:9", "", "x", "a, b", " ::1 "])
HEADERS = st.lists(
    st.one_of(
        st.tuples(
            st.just(b"x-forwarded-for"),
            st.lists(ADDRESSES, max_size=4).map(lambda forwarded: ",".join(forwarded).encode()),
        ),
        st.tuples(
            st.just(b"x-forwarded-proto"), st.sampled_from([b"http", b"https", b" wss ", b"ftp", b"", b"\xa0http"])
        ),
        st.tuples(st.just(b"host"), st.just(b"tokens.example")),
    ),
    max_size=5,
)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def test_what_is_forwarded_and_is_not_an_address_is_ignored() -> None:
    for forwarded in ("unknown", "<script>", "1.2.3.4.5", "x" * 5000, "_hidden"):
        assert clients_of(["*"], b"quick", x_forwarded_for=forwarded) == [PROXY]


@pytest.mark.slow
@given(
    headers=HEADERS,
    kind=st.sampled_from(["http", "websocket"]),
    client=st.sampled_from([(PROXY, 1), ("198.51.100.9", 2), None]),
    trusted=st.sampled_from([[PROXY], ["192.0.2.0/24", "203.0.113.5"], ["*"], []]),
)
def test_the_client_is_the_one_that_uvicorn_determines(
    headers: list[tuple[bytes, bytes]], kind: str, client: tuple[str, int] | None, trusted: list[str]
) -> None:
    """Client and scheme are those of uvicorn's own middleware."""
    before = {"type": kind, "scheme": "from before", "client": client, "headers": headers}
    ours, uvicorns = dict(before), dict(before)

    async def nothing(*_asgi: Any) -> None:
        pass

    async def set_client() -> None:
        await TrustedProxies(nothing, trusted)(ours, None, None)  # type: ignore[arg-type] # neither is used
        middleware: Any = ProxyHeadersMiddleware(nothing, trusted)
        await middleware(uvicorns, None, None)

    asyncio.run(set_client())
    if uvicorns["client"] and not _is_address(str(uvicorns["client"][0])):
        uvicorns["client"] = client
    assert ours == uvicorns

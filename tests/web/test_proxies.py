"""A proxy that is trusted says who the client is, on every way through the application; nobody else does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.web.asking import scope_of
from tokensvc.web.exchange import Reply
from tokensvc.web.proxies import BehindProxies

PROXY = "192.0.2.7"
"""Where the requests of `scope_of` come from."""


class Application:
    """Keeps who its clients were."""

    def __init__(self) -> None:
        self.clients: list[str] = []
        self.turns_ended = 0

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self.clients.append(scope["client"][0])

    def at_once(self, scope: Scope, body: bytes, _reply: Reply) -> bool:
        self.clients.append(scope["client"][0])
        return body == b"quick"

    def end_turn(self) -> None:
        self.turns_ended += 1


def clients_of(trusted: list[str], *bodies: bytes, **headers: str) -> list[str]:
    """Who the client was to the application, each time that it was asked about one request."""
    application = Application()
    proxied: Any = BehindProxies(application, trusted)
    scope = scope_of(**headers)

    async def ask() -> None:
        for body in bodies:
            if not proxied.at_once(scope, body, lambda *_: None):
                await proxied(scope, None, None)

    asyncio.run(ask())
    return application.clients


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("203.0.113.5, 198.51.100.9", "198.51.100.9"),
        (f"203.0.113.5, 198.51.100.9, {PROXY}", "198.51.100.9"),
        ("", PROXY),
    ],
    ids=["one", "what a client claims of itself comes first", "through two proxies", "nothing"],
)
def test_a_trusted_proxy_is_believed_at_once_and_later(said: str, client: str) -> None:
    seen = clients_of([PROXY], b"quick", b"slow", x_forwarded_for=said)
    assert seen == [client, client, client], "taken at once; then asked at once, declined, and asked as ever"


def test_nobody_else_is_believed() -> None:
    assert clients_of(["192.0.2.8"], b"quick", b"slow", x_forwarded_for="198.51.100.9") == [PROXY] * 3


def test_a_network_of_proxies_may_be_trusted() -> None:
    assert clients_of(["192.0.2.0/24"], b"quick", x_forwarded_for="198.51.100.9") == ["198.51.100.9"]


def test_a_turn_that_is_ended_is_ended_behind_it_too() -> None:
    application = Application()
    BehindProxies(application, [PROXY]).end_turn()
    assert application.turns_ended == 1

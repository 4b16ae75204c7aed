"""The asynchronous client, for asyncio.

Invariants
- A client belongs to the event loop that first uses it, and to the process. When that loop has been closed, or in a
  process that was forked, it opens connections of its own.
- A call that is cancelled closes its connection, so that nobody reads the rest of its response.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import httpx

from tokensvc.client import connection, operations
from tokensvc.client.errors import InvalidResponseError, NoResponseError, TokensError
from tokensvc.client.exchange import Response, Result, RetryPolicy, Send, Sleep, Steps
from tokensvc.client.models import (
    AcceptedRevocation,
    Denial,
    DenialRequest,
    Explanation,
    Key,
    KeyDetail,
    PlaybackToken,
    Revocation,
    RevocationRequest,
    TokenRequest,
)

_T = TypeVar("_T")


class _Opened(NamedTuple):
    process: int
    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    free: asyncio.Semaphore
    """Its free connections."""


class AsyncTokensClient:
    """As TokensClient, with methods to await. Tasks may share it; close it, or use it in an `async with` statement."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        retries: RetryPolicy | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """As of TokensClient."""
        self._connection = connection.Connection(base_url, api_key, proxy=proxy, ssl_context=ssl_context)
        self._environment = connection.environment(retries or RetryPolicy())
        self._sleep = sleep
        self._is_closed = False
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"AsyncTokensClient({self._connection.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The client cannot be used any more."""
        self._is_closed = True
        if self._opened is not None and self._is_ours(self._opened):
            await self._opened.client.aclose()

    async def issue_token(self, request: TokenRequest) -> PlaybackToken:
        """A token for one viewer of one channel."""
        return await self._run(operations.issue_token(request, self._environment))

    async def issue_tokens(self, requests: Sequence[TokenRequest]) -> list[PlaybackToken | TokensError]:
        """A token, or the error that `issue_token` would have raised, for each request, in the same order. Any number:
        they are sent in batches, and items that failed for the moment are requested again."""
        return await self._run(operations.issue_tokens(requests, self._environment))

    async def explain_token(
        self,
        token: str,
        *,
        channel_arn: str | None = None,
        origin: str | None = None,
        country: str | None = None,
        at: datetime | None = None,
    ) -> Explanation:
        """Whether a token, or the token in a playback URL, can start playback, and why. Spends nothing."""
        return await self._run(operations.explain_token(token, channel_arn, origin, country, at, self._environment))

    async def revoke_viewer(
        self, request: RevocationRequest, *, idempotency_key: str | None = None
    ) -> AcceptedRevocation:
        """End a viewer's sessions. The revocation is stored when this returns. With the same `idempotency_key`, another
        call returns the result of the first for 24 hours; by default each call has its own."""
        return await self._run(operations.revoke_viewer(request, idempotency_key, self._environment))

    async def revoke_viewers(
        self, requests: Sequence[RevocationRequest], *, idempotency_key: str | None = None
    ) -> list[AcceptedRevocation | TokensError]:
        """As `revoke_viewer` for any number of viewers: a result or an error for each, in the same order."""
        return await self._run(operations.revoke_viewers(requests, idempotency_key, self._environment))

    async def get_revocation(self, revocation_id: str) -> Revocation:
        """A revocation and the delivery of each of its targets."""
        return await self._run(operations.revocation(revocation_id, self._environment))

    async def retry_revocation(self, revocation_id: str) -> Revocation:
        """Queue the failed targets of a revocation again."""
        return await self._run(operations.revocation(revocation_id, self._environment, "retry"))

    async def cancel_revocation(self, revocation_id: str) -> Revocation:
        """Cancel what has not been sent to IVS yet."""
        return await self._run(operations.revocation(revocation_id, self._environment, "cancel"))

    def list_revocations(
        self,
        *,
        state: str | None = None,
        channel_arn: str | None = None,
        viewer_id: str | None = None,
        subject: str | None = None,
    ) -> AsyncIterator[Revocation]:
        """The revocations that match, newest first. Pages are requested as they are needed."""
        return self._entries(operations.revocations(state, channel_arn, viewer_id, subject))

    async def deny_viewer(self, request: DenialRequest) -> list[Denial]:
        """Deny a viewer new tokens: a denial for each channel and viewer id."""
        return await self._run(operations.deny_viewer(request, self._environment))

    async def remove_denial(self, denial_id: str) -> None:
        """Remove a denial before it ends."""
        return await self._run(operations.remove_denial(denial_id, self._environment))

    def list_denials(
        self, *, channel_arn: str | None = None, viewer_id: str | None = None, subject: str | None = None
    ) -> AsyncIterator[Denial]:
        """The denials in force that match. Pages are requested as they are needed."""
        return self._entries(operations.denials(channel_arn, viewer_id, subject))

    def list_keys(self) -> AsyncIterator[Key]:
        """The key pairs of the deployment, oldest first."""
        return self._entries(operations.keys())

    async def get_key(self, key_id: str) -> KeyDetail:
        """A key pair with its history, and the workers that cannot use it."""
        return await self._run(operations.key(key_id, self._environment))

    async def _entries(self, listing: operations.Listing[_T]) -> AsyncIterator[_T]:
        page = await self._run(listing.page(None, self._environment))
        for entry in page.entries:
            yield entry
        while page.next_token is not None:
            page = await self._run(listing.page(page.next_token, self._environment))
            for entry in page.entries:
                yield entry

    async def _run(self, steps: Steps[_T]) -> _T:
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as finished:
                value: _T = finished.value
                return value
            if isinstance(step, Sleep):
                await self._sleep(step.seconds)
                result = None
            else:
                result = await self._send(step)

    async def _send(self, step: Send) -> Response | NoResponseError | InvalidResponseError:
        opened = self._ours()
        options = self._connection.request_options(step.request, step.timeout_seconds)
        try:
            async with (
                asyncio.timeout(step.wait_seconds),
                opened.free,
                asyncio.timeout(step.timeout_seconds),
                opened.client.stream(**options) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > connection.MAX_RESPONSE_BYTES:
                        return connection.too_long()
                return connection.response_of(response, bytes(body))
        except (httpx.TransportError, TimeoutError) as error:
            return connection.no_response(error)

    def _ours(self) -> _Opened:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        if self._opened is None or not self._is_ours(self._opened):
            self._opened = self._open()
        return self._opened

    def _is_ours(self, opened: _Opened) -> bool:
        """Whether these connections are of this process and event loop. Raises RuntimeError if another loop, which is
        not closed, has them."""
        if opened.process != os.getpid() or opened.loop.is_closed():
            return False
        if opened.loop is not asyncio.get_running_loop():
            raise RuntimeError("AsyncTokensClient belongs to another event loop: make one for each")
        return True

    def _open(self) -> _Opened:
        made = httpx.AsyncHTTPTransport(**self._connection.transport_options())
        client = httpx.AsyncClient(transport=made, **self._connection.client_options())
        free = asyncio.Semaphore(connection.MAX_CONNECTIONS)
        return _Opened(os.getpid(), asyncio.get_running_loop(), client, free)

"""The synchronous client.

Invariants
- Threads may share a client. A process that was forked opens connections of its own: two processes that read from one
  connection would get each other's tokens.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import httpx

from tokensvc.client import connection, operations
from tokensvc.client.deadlines import Deadline, transport
from tokensvc.client.errors import InvalidResponseError, NoResponseError, TokensError
from tokensvc.client.exchange import Request, Response, Result, RetryPolicy, Send, Sleep, Steps
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
    client: httpx.Client
    free: threading.Semaphore
    """Its free connections."""


class TokensClient:
    """A client of tokensvc. Threads may share it; close it, or use it in a `with` statement.

    Every method raises a subclass of TokensError, and ValueError or TypeError for an argument that cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        retries: RetryPolicy | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`base_url` may have a path, where a proxy serves tokensvc under one. `proxy` is the URL of an HTTP proxy; the
        environment's are not used. `ssl_context` is for a certification authority or a client certificate of your
        own."""
        self._connection = connection.Connection(base_url, api_key, proxy=proxy, ssl_context=ssl_context)
        self._environment = connection.environment(retries or RetryPolicy())
        self._sleep = sleep
        self._deadline = Deadline()
        self._is_closed = False
        self._opened = self._open()

    def __repr__(self) -> str:
        return f"TokensClient({self._connection.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this process. The client cannot be used any more."""
        self._is_closed = True
        if self._opened.process == os.getpid():
            self._opened.client.close()

    def issue_token(self, request: TokenRequest) -> PlaybackToken:
        """A token for one viewer of one channel."""
        return self._run(operations.issue_token(request, self._environment))

    def issue_tokens(self, requests: Sequence[TokenRequest]) -> list[PlaybackToken | TokensError]:
        """A token, or the error that `issue_token` would have raised, for each request, in the same order. Any number:
        they are sent in batches, and items that failed for the moment are requested again."""
        return self._run(operations.issue_tokens(requests, self._environment))

    def explain_token(
        self,
        token: str,
        *,
        channel_arn: str | None = None,
        origin: str | None = None,
        country: str | None = None,
        at: datetime | None = None,
    ) -> Explanation:
        """Whether a token, or the token in a playback URL, can start playback, and why. Spends nothing."""
        return self._run(operations.explain_token(token, channel_arn, origin, country, at, self._environment))

    def revoke_viewer(self, request: RevocationRequest, *, idempotency_key: str | None = None) -> AcceptedRevocation:
        """End a viewer's sessions. The revocation is stored when this returns. With the same `idempotency_key`, another
        call returns the result of the first for 24 hours; by default each call has its own."""
        return self._run(operations.revoke_viewer(request, idempotency_key, self._environment))

    def revoke_viewers(
        self, requests: Sequence[RevocationRequest], *, idempotency_key: str | None = None
    ) -> list[AcceptedRevocation | TokensError]:
        """As `revoke_viewer` for any number of viewers: a result or an error for each, in the same order."""
        return self._run(operations.revoke_viewers(requests, idempotency_key, self._environment))

    def get_revocation(self, revocation_id: str) -> Revocation:
        """A revocation and the delivery of each of its targets."""
        return self._run(operations.revocation(revocation_id, self._environment))

    def retry_revocation(self, revocation_id: str) -> Revocation:
        """Queue the failed targets of a revocation again."""
        return self._run(operations.revocation(revocation_id, self._environment, "retry"))

    def cancel_revocation(self, revocation_id: str) -> Revocation:
        """Cancel what has not been sent to IVS yet."""
        return self._run(operations.revocation(revocation_id, self._environment, "cancel"))

    def list_revocations(
        self,
        *,
        state: str | None = None,
        channel_arn: str | None = None,
        viewer_id: str | None = None,
        subject: str | None = None,
    ) -> Iterator[Revocation]:
        """The revocations that match, newest first. Pages are requested as they are needed."""
        return self._entries(operations.revocations(state, channel_arn, viewer_id, subject))

    def deny_viewer(self, request: DenialRequest) -> list[Denial]:
        """Deny a viewer new tokens: a denial for each channel and viewer id."""
        return self._run(operations.deny_viewer(request, self._environment))

    def remove_denial(self, denial_id: str) -> None:
        """Remove a denial before it ends."""
        return self._run(operations.remove_denial(denial_id, self._environment))

    def list_denials(
        self, *, channel_arn: str | None = None, viewer_id: str | None = None, subject: str | None = None
    ) -> Iterator[Denial]:
        """The denials in force that match. Pages are requested as they are needed."""
        return self._entries(operations.denials(channel_arn, viewer_id, subject))

    def list_keys(self) -> Iterator[Key]:
        """The key pairs of the deployment, oldest first."""
        return self._entries(operations.keys())

    def get_key(self, key_id: str) -> KeyDetail:
        """A key pair with its history, and the workers that cannot use it."""
        return self._run(operations.key(key_id, self._environment))

    def _entries(self, listing: operations.Listing[_T]) -> Iterator[_T]:
        page = self._run(listing.page(None, self._environment))
        yield from page.entries
        while page.next_token is not None:
            page = self._run(listing.page(page.next_token, self._environment))
            yield from page.entries

    def _run(self, steps: Steps[_T]) -> _T:
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as finished:
                value: _T = finished.value
                return value
            if isinstance(step, Sleep):
                self._sleep(step.seconds)
                result = None
            else:
                result = self._send(step)

    def _send(self, step: Send) -> Response | NoResponseError | InvalidResponseError:
        opened = self._ours()
        ends_at = time.monotonic() + step.wait_seconds
        if not opened.free.acquire(timeout=step.wait_seconds):
            return connection.no_response(TimeoutError())
        try:
            timeout_seconds = min(step.timeout_seconds, max(ends_at - time.monotonic(), 0.001))
            return self._exchange(opened.client, step.request, timeout_seconds)
        finally:
            opened.free.release()

    def _exchange(
        self, client: httpx.Client, request: Request, timeout_seconds: float
    ) -> Response | NoResponseError | InvalidResponseError:
        self._deadline.at = time.monotonic() + timeout_seconds
        try:
            with client.stream(**self._connection.request_options(request, timeout_seconds)) as response:
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > connection.MAX_RESPONSE_BYTES:
                        return connection.too_long()
                return connection.response_of(response, bytes(body))
        except httpx.TransportError as error:
            return connection.no_response(error)
        finally:
            self._deadline.at = float("inf")

    def _ours(self) -> _Opened:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        if self._opened.process != os.getpid():
            self._opened = self._open()
        return self._opened

    def _open(self) -> _Opened:
        made = transport(self._deadline, self._connection.transport_options())
        client = httpx.Client(transport=made, **self._connection.client_options())
        return _Opened(os.getpid(), client, threading.Semaphore(connection.MAX_CONNECTIONS))

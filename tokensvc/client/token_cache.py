"""Caches of tokens: a backend that is asked often for the same viewer requests a token once, until `refresh_after`.

Invariants
- A token is never returned at or after its `expires_at`. Its age is measured by the monotonic clock from the arrival of
  the response, and its lifetime by the service's clock, so that a wrong clock of this machine does not matter.
- One request is under way for the same token at a time; other callers in the meantime get its result. One that was
  under way when its viewer's tokens were discarded has no callers but those from before.
- When a refresh fails because the service cannot respond, a token that is still valid is returned. When the service
  refuses it, the cached token is forgotten and the error raised.
- Single-use tokens are not cached.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from tokensvc.client.async_client import AsyncTokensClient
from tokensvc.client.errors import NoResponseError, RateLimitedError, ServerError
from tokensvc.client.models import PlaybackToken, TokenRequest
from tokensvc.client.sync_client import TokensClient
from tokensvc.client.wire import to_json, to_members

MAX_ENTRIES = 10_000
PAUSE_AFTER_FAILURE_SECONDS = 5.0
"""How long a token whose refresh has failed is returned before the next attempt, unless the service says how long."""
_PRECISION = timedelta(seconds=2)
"""How far the header `Date` can be behind: it has whole seconds, and servers render it once a second."""
_Result = TypeVar("_Result")
_STALE_IS_BETTER = (NoResponseError, ServerError, RateLimitedError)


@dataclass(frozen=True)
class _Entry:
    request: TokenRequest
    token: PlaybackToken
    refresh_at: float
    expires_at: float


class _Pending(NamedTuple, Generic[_Result]):
    """A request that is under way."""

    request: TokenRequest
    result: _Result


class _Entries:
    """The cached tokens, least recently used first. Not synchronized."""

    def __init__(self, max_entries: int, monotonic: Callable[[], float]) -> None:
        if max_entries < 1:
            raise ValueError("max_entries must be at least 1")
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def key(self, request: TokenRequest) -> bytes:
        if request.single_use:
            raise ValueError("single_use: such a token starts playback once and cannot be cached")
        return to_json(to_members(request))

    def fresh(self, key: bytes) -> PlaybackToken | None:
        """The token, if it needs no refresh."""
        entry = self._entries.get(key)
        if entry is None or self._monotonic() >= entry.refresh_at:
            return None
        self._entries.move_to_end(key)
        return entry.token

    def now(self) -> float:
        return self._monotonic()

    def store(self, key: bytes, request: TokenRequest, token: PlaybackToken, started_at: float) -> None:
        """The token cannot be younger than its request, which was sent then."""
        issued = token.server_time or datetime.now(UTC)
        issued += _PRECISION
        refresh_at = started_at + (token.refresh_after - issued).total_seconds()
        if token.playback_url is None and token.playback_url_retry_after_seconds is not None:
            refresh_at = min(refresh_at, started_at + token.playback_url_retry_after_seconds)
        expires_at = started_at + (token.expires_at - issued).total_seconds()
        self._entries[key] = _Entry(request, token, min(refresh_at, expires_at), expires_at)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def after_failure(self, key: bytes, error: Exception) -> PlaybackToken | None:
        """A token that is still valid, if the failure says nothing about it. Until the next attempt it is fresh."""
        entry, now = self._entries.get(key), self._monotonic()
        if entry is not None and isinstance(error, _STALE_IS_BETTER) and now < entry.expires_at:
            pause = getattr(error, "retry_after_seconds", None) or PAUSE_AFTER_FAILURE_SECONDS
            self._entries[key] = replace(entry, refresh_at=min(entry.expires_at, now + pause))
            return entry.token
        self._entries.pop(key, None)
        return None

    def discard(self, is_affected: Callable[[TokenRequest], bool]) -> None:
        for key, entry in [*self._entries.items()]:
            if is_affected(entry.request):
                del self._entries[key]


def _is_of(viewer_id: str | None, subject: str | None) -> Callable[[TokenRequest], bool]:
    """Whether a request is for this viewer."""
    if (viewer_id is None) == (subject is None):
        raise ValueError("viewer_id or subject, and not both, must be given")
    return lambda request: (request.viewer_id, request.subject) == (viewer_id, subject)


def _is_any(_request: TokenRequest) -> bool:
    return True


def _discard_pending(
    pending: dict[bytes, _Pending[_Result]], is_affected: Callable[[TokenRequest], bool]
) -> dict[bytes, _Pending[_Result]]:
    return {key: each for key, each in pending.items() if not is_affected(each.request)}


class TokenCache:
    """A cache of the tokens of a TokensClient. Threads may share it."""

    _instances: ClassVar[weakref.WeakSet[TokenCache]] = weakref.WeakSet()

    @classmethod
    def _start_process_of_all(cls) -> None:
        """In a forked process: no thread of it would release the locks or complete what is pending."""
        for cache in list(cls._instances):
            cache._start_process()  # noqa: SLF001 - an instance of this class

    def __init__(
        self, client: TokensClient, *, max_entries: int = MAX_ENTRIES, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Beyond `max_entries`, the least recently used token is forgotten."""
        self._client = client
        self._entries = _Entries(max_entries, monotonic)
        self._start_process()
        self._instances.add(self)

    def _start_process(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[bytes, _Pending[Future[PlaybackToken]]] = {}

    def get(self, request: TokenRequest) -> PlaybackToken:
        """A token for this request: the cached one until its `refresh_after`, then another. Raises as
        `TokensClient.issue_token`."""
        key = self._entries.key(request)
        with self._lock:
            if (token := self._entries.fresh(key)) is not None:
                return token
            pending = self._pending.get(key)
            if pending is None:
                mine = self._pending[key] = _Pending(request, Future())
        return pending.result.result() if pending is not None else self._request(key, mine)

    def _request(self, key: bytes, mine: _Pending[Future[PlaybackToken]]) -> PlaybackToken:
        request, future = mine
        started_at = self._entries.now()
        try:
            token = self._client.issue_token(request)
        except Exception as error:
            with self._lock:
                stale = self._entries.after_failure(key, error) if self._end(key, mine) else None
            if stale is None:
                future.set_exception(error)
                raise
            token = stale
        except BaseException:
            with self._lock:
                self._end(key, mine)
            future.set_exception(NoResponseError("the thread that requested the token was interrupted"))
            raise
        else:
            with self._lock:
                if self._end(key, mine):
                    self._entries.store(key, request, token, started_at)
        future.set_result(token)
        return token

    def _end(self, key: bytes, mine: _Pending[Future[PlaybackToken]]) -> bool:
        """End a request. False if it was discarded: then another may be under way or complete, whose entry stays."""
        if self._pending.get(key) is not mine:
            return False
        del self._pending[key]
        return True

    def discard_viewer(self, *, viewer_id: str | None = None, subject: str | None = None) -> None:
        """Forget the tokens of a viewer, by what their requests had. Call it after revoking or denying the viewer."""
        self._discard(_is_of(viewer_id, subject))

    def clear(self) -> None:
        """Forget all tokens."""
        self._discard(_is_any)

    def _discard(self, is_affected: Callable[[TokenRequest], bool]) -> None:
        with self._lock:
            self._entries.discard(is_affected)
            self._pending = _discard_pending(self._pending, is_affected)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=TokenCache._start_process_of_all)  # noqa: SLF001 - of this module


class AsyncTokenCache:
    """A cache of the tokens of an AsyncTokensClient, for its event loop."""

    def __init__(
        self,
        client: AsyncTokensClient,
        *,
        max_entries: int = MAX_ENTRIES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """As of TokenCache."""
        self._client = client
        self._entries = _Entries(max_entries, monotonic)
        self._pending: dict[bytes, _Pending[asyncio.Task[PlaybackToken]]] = {}

    async def get(self, request: TokenRequest) -> PlaybackToken:
        """As of TokenCache. When a call is cancelled, the request goes on for the others."""
        key = self._entries.key(request)
        if (token := self._entries.fresh(key)) is not None:
            return token
        loop = asyncio.get_running_loop()
        pending = self._pending.get(key)
        if pending is None or pending.result.get_loop() is not loop:
            task = loop.create_task(self._request(key, request))
            pending = self._pending[key] = _Pending(request, task)
            task.add_done_callback(lambda done: self._finish(key, done))
        return await asyncio.shield(pending.result)

    async def _request(self, key: bytes, request: TokenRequest) -> PlaybackToken:
        started_at = self._entries.now()
        try:
            token = await self._client.issue_token(request)
        except Exception as error:
            stale = self._entries.after_failure(key, error) if self._is_pending(key, asyncio.current_task()) else None
            if stale is None:
                raise
            return stale
        if self._is_pending(key, asyncio.current_task()):
            self._entries.store(key, request, token, started_at)
        return token

    def _is_pending(self, key: bytes, task: asyncio.Task[Any] | None) -> bool:
        """Whether this request has not been discarded."""
        return key in self._pending and self._pending[key].result is task

    def _finish(self, key: bytes, task: asyncio.Task[PlaybackToken]) -> None:
        if self._is_pending(key, task):
            del self._pending[key]
        if not task.cancelled():
            task.exception()  # or asyncio reports it as never retrieved, where everybody who waited was cancelled

    def discard_viewer(self, *, viewer_id: str | None = None, subject: str | None = None) -> None:
        """As of TokenCache."""
        self._discard(_is_of(viewer_id, subject))

    def clear(self) -> None:
        """Forget all tokens."""
        self._discard(_is_any)

    def _discard(self, is_affected: Callable[[TokenRequest], bool]) -> None:
        self._entries.discard(is_affected)
        self._pending = _discard_pending(self._pending, is_affected)

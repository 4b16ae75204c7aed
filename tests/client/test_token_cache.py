"""Caches of tokens, sync and async, by a manual clock, with a server that issues a new token for each request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.client_calls import API_KEY, KINDS, Kind
from tests.support.processes import wait_until
from tests.support.scripted_server import ReceivedRequest, ScriptedServer, http_response, problem, scripted_server
from tokensvc.client import (
    AsyncTokenCache,
    AsyncTokensClient,
    NoResponseError,
    PermissionDeniedError,
    PlaybackToken,
    RetryPolicy,
    TokenCache,
    TokenRequest,
    TokensClient,
    UnavailableError,
)

CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
REQUEST = TokenRequest(CHANNEL, viewer_id="ada")
ONCE = RetryPolicy(max_attempts=1)
LIFETIME, REFRESH = 120, 96
"""Seconds from the server's time, 10:00:00."""


def waiting_threads(cache: TokenCache) -> int:
    """How many threads wait for another's request."""
    waiters: Any = [pending.result._condition for pending in [*cache._pending.values()]]
    return sum(len(condition._waiters) for condition in waiters)


@dataclass
class _Issuer:
    """Issues token 1, 2, 3 and so on, unless it is away or denies."""

    issued: int = 0
    failure: bytes | None = None
    members: dict[str, Any] = field(default_factory=dict)
    before: Any = None
    """Called before each response."""

    def __call__(self, request: ReceivedRequest) -> bytes:
        if self.before is not None:
            self.before()
        if self.failure is not None:
            return self.failure
        self.issued += 1
        return http_response(
            201,
            {
                "token": f"token-{self.issued}",
                "expiresAt": "2026-11-21T10:02:00Z",
                "refreshAfter": "2026-11-21T10:01:36Z",
                "requiresOriginHeader": False,
                "playbackUrl": "https://playback.example.com/a.m3u8",
            }
            | self.members,
        )


class _Cache:
    """A cache of either kind, to be called from synchronous tests."""

    def __init__(self, kind: Kind, url: str) -> None:
        self.now = 1000.0
        self._runner = asyncio.Runner()
        self._client: Any
        self.cache: Any
        if kind == "sync":
            self._client = TokensClient(url, API_KEY, retries=ONCE)
            self.cache = TokenCache(self._client, max_entries=3, monotonic=lambda: self.now)
        else:
            self._client = AsyncTokensClient(url, API_KEY, retries=ONCE)
            self.cache = AsyncTokenCache(self._client, max_entries=3, monotonic=lambda: self.now)

    def get(self, request: TokenRequest = REQUEST) -> str:
        found = self.cache.get(request)
        token: PlaybackToken = found if isinstance(found, PlaybackToken) else self._runner.run(found)
        return token.token

    def close(self) -> None:
        closing = self._client.close()
        if closing is not None:
            self._runner.run(closing)
        self._runner.close()


@pytest.fixture
def issuer() -> _Issuer:
    return _Issuer()


@pytest.fixture
def server(issuer: _Issuer) -> Iterator[ScriptedServer]:
    with scripted_server(issuer) as server:
        yield server


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest, server: ScriptedServer) -> Iterator[_Cache]:
    with contextlib.closing(_Cache(request.param, server.url)) as cache:
        yield cache


def test_a_token_is_requested_once_until_refresh_after(cache: _Cache) -> None:
    assert [cache.get(), cache.get()] == ["token-1", "token-1"]
    cache.now += REFRESH - 3
    assert cache.get() == "token-1"
    cache.now += 3
    assert [cache.get(), cache.get()] == ["token-2", "token-2"]


def test_another_request_has_another_token(cache: _Cache) -> None:
    others = [TokenRequest(CHANNEL, viewer_id="bob"), TokenRequest(CHANNEL, viewer_id="ada", ttl_seconds=60)]
    assert [cache.get(each) for each in (REQUEST, *others, REQUEST)] == ["token-1", "token-2", "token-3", "token-1"]


def test_lifetimes_are_counted_from_the_services_clock_and_not_from_this_machines(
    cache: _Cache, issuer: _Issuer
) -> None:
    """The server's clock says 2026-11-21T10:00:00, whatever the time is where the test runs."""
    cache.get()
    cache.now += 60
    assert cache.get() == "token-1"


def test_a_token_without_its_url_is_requested_again_when_there_will_be_one(cache: _Cache, issuer: _Issuer) -> None:
    issuer.members = {"playbackUrl": None, "playbackUrlRetryAfterSeconds": 1}
    assert cache.get() == "token-1"
    issuer.members = {}
    cache.now += 1
    assert [cache.get(), cache.get()] == ["token-2", "token-2"]


@pytest.mark.parametrize("failure", [problem(503, "store_unavailable"), problem(500, "internal_error"), b"\r\n"])
def test_a_token_that_is_still_valid_is_returned_while_the_service_is_away(
    cache: _Cache, issuer: _Issuer, server: ScriptedServer, failure: bytes
) -> None:
    cache.get()
    issuer.failure = failure
    cache.now += REFRESH
    assert [cache.get(), cache.get()] == ["token-1", "token-1"]
    assert len(server.requests) == 2, "the second call does not wait for the service again"
    cache.now += 6
    assert cache.get() == "token-1"
    assert len(server.requests) == 3


def test_an_expired_token_is_never_returned(cache: _Cache, issuer: _Issuer) -> None:
    cache.get()
    issuer.failure = problem(503, "store_unavailable")
    cache.now += LIFETIME - 2
    with pytest.raises(UnavailableError):
        cache.get()


def test_a_viewer_that_the_service_refuses_loses_the_cached_token(cache: _Cache, issuer: _Issuer) -> None:
    cache.get()
    issuer.failure = problem(403, "viewer_denied")
    cache.now += REFRESH
    for _ in range(2):
        with pytest.raises(PermissionDeniedError):
            cache.get()


def test_tokens_of_a_viewer_are_forgotten_on_demand(cache: _Cache) -> None:
    subject = TokenRequest(CHANNEL, subject="ada")
    cache.get()
    cache.get(subject)
    cache.cache.discard_viewer(viewer_id="ada")
    assert [cache.get(), cache.get(subject)] == ["token-3", "token-2"]
    cache.cache.discard_viewer(subject="ada")
    assert [cache.get(), cache.get(subject)] == ["token-3", "token-4"]
    cache.cache.clear()
    assert cache.get() == "token-5"
    with pytest.raises(ValueError, match="viewer_id or subject"):
        cache.cache.discard_viewer()


def test_a_token_that_was_under_way_when_its_viewer_was_revoked_is_not_cached(cache: _Cache, issuer: _Issuer) -> None:
    tokens = cache.cache
    issuer.before = lambda: tokens.discard_viewer(viewer_id="ada")
    cache.get()
    issuer.before = None
    assert cache.get() == "token-2"


def test_the_least_recently_used_token_is_forgotten_first(cache: _Cache) -> None:
    ada, bob, eve, zoe = (TokenRequest(CHANNEL, viewer_id=each) for each in ("ada", "bob", "eve", "zoe"))
    for each in (ada, bob, eve, ada, zoe):
        cache.get(each)
    assert cache.get(ada) == "token-1"
    assert cache.get(bob) == "token-5"


def test_single_use_tokens_cannot_be_cached(cache: _Cache) -> None:
    with pytest.raises(ValueError, match="single_use"):
        cache.get(TokenRequest(CHANNEL, viewer_id="ada", single_use=True))


@pytest.mark.parametrize("refused", [False, True])
def test_a_discard_of_another_viewer_changes_nothing_for_a_request_under_way(
    cache: _Cache, issuer: _Issuer, refused: bool
) -> None:
    cache.get()
    cache.now += REFRESH
    tokens = cache.cache
    issuer.before = lambda: tokens.discard_viewer(viewer_id="eve")
    if refused:
        issuer.failure = problem(403, "viewer_denied")
        with pytest.raises(PermissionDeniedError):
            cache.get()
        issuer.failure = problem(503, "overloaded")
        with pytest.raises(UnavailableError):
            cache.get()
    else:
        assert [cache.get(), cache.get()] == ["token-2", "token-2"]


def _discard_viewer(cache: TokenCache | AsyncTokenCache) -> None:
    cache.discard_viewer(viewer_id="ada")


@pytest.mark.parametrize("old_fails", [False, True])
@pytest.mark.parametrize("discard", [_discard_viewer, lambda cache: cache.clear()], ids=["viewer", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_after_tokens_were_discarded_never_gets_what_was_asked_before(
    issuer: _Issuer, server: ScriptedServer, kind: Kind, discard: Callable[[Any], None], old_fails: bool
) -> None:
    """Such as a token of a viewer who has been denied since."""
    arrived, released = threading.Event(), threading.Event()

    def hold_the_first() -> None:
        if not arrived.is_set():
            arrived.set()
            assert released.wait(30)
            issuer.failure = problem(403, "viewer_denied") if old_fails else None

    issuer.before = hold_the_first

    def in_threads() -> tuple[Any, str, str]:
        with TokensClient(server.url, API_KEY) as client, ThreadPoolExecutor(1) as pool:
            cache = TokenCache(client)
            old = pool.submit(cache.get, REQUEST)
            assert arrived.wait(10)
            discard(cache)
            new = cache.get(REQUEST).token
            released.set()
            return old.exception(10) or old.result().token, new, cache.get(REQUEST).token

    async def in_tasks() -> tuple[Any, str, str]:
        async with AsyncTokensClient(server.url, API_KEY) as client:
            cache = AsyncTokenCache(client)
            old = asyncio.create_task(cache.get(REQUEST))
            assert await asyncio.to_thread(arrived.wait, 10)
            discard(cache)
            new = (await cache.get(REQUEST)).token
            released.set()
            [found] = await asyncio.gather(old, return_exceptions=True)
            return getattr(found, "token", found), new, (await cache.get(REQUEST)).token

    old, new, again = in_threads() if kind == "sync" else asyncio.run(in_tasks())
    assert (new, again) == ("token-1", "token-1")
    assert isinstance(old, PermissionDeniedError) if old_fails else old == "token-2"


def test_threads_that_want_the_same_token_send_one_request(issuer: _Issuer, server: ScriptedServer) -> None:
    issuer.before = lambda: time.sleep(0.1)
    with TokensClient(server.url, API_KEY) as client, ThreadPoolExecutor(8) as pool:
        cache = TokenCache(client)
        tokens = list(pool.map(lambda _: cache.get(REQUEST).token, range(50)))
    assert (set(tokens), len(server.requests)) == ({"token-1"}, 1)


@pytest.mark.slow
def test_threads_that_wait_for_a_request_that_fails_get_its_error(issuer: _Issuer, server: ScriptedServer) -> None:
    issuer.failure = problem(403, "viewer_denied")
    with TokensClient(server.url, API_KEY) as client, ThreadPoolExecutor(4) as pool:
        cache = TokenCache(client)
        issuer.before = lambda: wait_until(lambda: waiting_threads(cache) == 3, "the others wait")
        for call in [pool.submit(cache.get, REQUEST) for _ in range(4)]:
            with pytest.raises(PermissionDeniedError):
                call.result(10)
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of fork beside threads
@pytest.mark.parametrize("first", [lambda _: None, lambda cache: cache.discard_viewer(viewer_id="x"), TokenCache.clear])
def test_a_process_that_is_forked_while_the_lock_is_held_does_not_wait_for_it(
    server: ScriptedServer, first: Callable[[TokenCache], None]
) -> None:
    with TokensClient(server.url, API_KEY) as client:
        cache = TokenCache(client)
        with cache._lock:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(10)  # ends the child if it waits
                    first(cache)
                    status = int(cache.get(REQUEST).token != "token-1")
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
        assert status == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of fork beside threads
def test_a_process_that_is_forked_during_a_request_does_not_wait_for_it(
    issuer: _Issuer, server: ScriptedServer
) -> None:
    requested, proceed = threading.Event(), threading.Event()

    def wait() -> None:
        requested.set()
        proceed.wait(10)

    issuer.before = wait
    with TokensClient(server.url, API_KEY) as client, ThreadPoolExecutor(1) as pool:
        cache = TokenCache(client)
        parent = pool.submit(cache.get, REQUEST)
        assert requested.wait(10)
        issuer.before = None
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(cache.get(REQUEST).token != "token-1")
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        proceed.set()
        assert status == 0
        assert parent.result(10).token == "token-2"


def test_a_cancelled_call_does_not_cancel_the_request_that_others_wait_for(
    issuer: _Issuer, server: ScriptedServer
) -> None:
    requested, proceed = threading.Event(), threading.Event()

    def wait() -> None:
        requested.set()
        proceed.wait(10)

    issuer.before = wait

    async def two_calls() -> str:
        async with AsyncTokensClient(server.url, API_KEY) as client:
            cache = AsyncTokenCache(client)
            first, second = asyncio.create_task(cache.get(REQUEST)), asyncio.create_task(cache.get(REQUEST))
            await asyncio.to_thread(requested.wait, 10)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            proceed.set()
            return (await second).token

    assert asyncio.run(two_calls()) == "token-1"
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # nobody can close what a closed loop left open
def test_a_cache_serves_the_next_event_loop_too(issuer: _Issuer, server: ScriptedServer) -> None:
    async def once(cache: AsyncTokenCache) -> str:
        return (await cache.get(REQUEST)).token

    client = AsyncTokensClient(server.url, API_KEY)
    cache = AsyncTokenCache(client)
    issuer.failure = problem(503, "overloaded", {"retry-after": "60"})
    with pytest.raises(UnavailableError):
        asyncio.run(once(cache))
    issuer.failure = None

    async def again() -> str:
        try:
            return await once(cache)
        finally:
            await client.close()

    assert asyncio.run(again()) == "token-1"
    gc.collect()


@pytest.mark.parametrize("kind", [TokenCache, AsyncTokenCache])
def test_a_cache_without_room_is_rejected(kind: Any) -> None:
    with pytest.raises(ValueError, match="max_entries"):
        kind(TokensClient("http://127.0.0.1:1", API_KEY), max_entries=0)


def test_a_request_that_was_interrupted_is_an_error_for_those_that_waited(server: ScriptedServer) -> None:
    class _Interrupted(TokensClient):
        def issue_token(self, request: TokenRequest) -> PlaybackToken:
            requested.set()
            wait_until(lambda: waiting_threads(cache) == 1, "the other thread waits")
            raise KeyboardInterrupt

    requested = threading.Event()
    with _Interrupted(server.url, API_KEY) as client, ThreadPoolExecutor(2) as pool:
        cache = TokenCache(client)
        first = pool.submit(cache.get, REQUEST)
        assert requested.wait(10)
        second = pool.submit(cache.get, REQUEST)
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
        with pytest.raises(NoResponseError, match="interrupted"):
            second.result(10)

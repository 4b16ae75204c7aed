"""Request authentication, and store calls in threads."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.asgi_client import make_receive, scope_of
from tests.support.clocks import OFFSET, ManualClock
from tokensvc import web
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import InsufficientScope, SnapshotStale, Unauthenticated
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.authentication import MAX_CONCURRENT_STORE_CALLS, RequestAuthenticator
from tokensvc.web.context import RequestContext

KEY = "tsk_abc_secret"
LEASE_SECONDS = 900
SNAPSHOT = Snapshot(
    secrets={
        "abc": KnownSecret(key_digest(KEY), None, Caller("dashboard", CallerPolicy((), frozenset({"keys:read"})))),
    },
    refresh_started_at=1000.0,
    wall_offset_seconds=OFFSET,
)


@pytest.fixture
def authenticator(clock: ManualClock) -> RequestAuthenticator:
    return RequestAuthenticator(lambda: SNAPSHOT, clock, lease_seconds=LEASE_SECONDS)


def caller_of(
    authenticator: RequestAuthenticator, scope: dict[str, Any], required: str, context: RequestContext | None = None
) -> Caller:
    return asyncio.run(authenticator.caller(scope, context or RequestContext("request-1", 1000.0), required))


def test_a_caller_with_the_scope_is_authenticated_and_logged(authenticator: RequestAuthenticator) -> None:
    context = RequestContext("request-1", 1000.0)
    assert caller_of(authenticator, scope_of(authorization=f"Bearer {KEY}"), "keys:read", context).name == "dashboard"
    assert context.caller == "dashboard"


def test_each_accepted_api_key_is_noted_with_time_and_address(clock: ManualClock) -> None:
    uses = []
    known = SNAPSHOT.secrets["abc"]
    known = known._replace(caller=known.caller._replace(key_id="abc"))
    authenticator = RequestAuthenticator(
        lambda: SNAPSHOT._replace(secrets={"abc": known}),
        clock,
        lease_seconds=LEASE_SECONDS,
        record_use=lambda *use: uses.append(use),
    )
    for key, expected_scope in ((KEY, "keys:read"), (KEY, "keys:admin"), ("tsk_abc_wrong", "keys:read")):
        with contextlib.suppress(InsufficientScope, Unauthenticated):
            scope = scope_of(authorization=f"Bearer {key}")
            caller_of(authenticator, scope, expected_scope)
    assert uses == [("abc", clock.now(), "192.0.2.7")] * 2, "a wrong key is not used"


def test_a_caller_without_the_scope_is_rejected(authenticator: RequestAuthenticator) -> None:
    with pytest.raises(InsufficientScope, match="keys:admin"):
        caller_of(authenticator, scope_of(authorization=f"Bearer {KEY}"), "keys:admin")


@pytest.mark.parametrize("header", ["", "Bearer tsk_abc_wrong", f"Basic {KEY}"])
def test_a_missing_or_wrong_key_is_unauthenticated(authenticator: RequestAuthenticator, header: str) -> None:
    with pytest.raises(Unauthenticated):
        caller_of(authenticator, scope_of(authorization=header), "keys:read")


def test_a_worker_with_a_stale_snapshot_authenticates_nobody(
    authenticator: RequestAuthenticator, clock: ManualClock
) -> None:
    clock.advance(LEASE_SECONDS + 1)
    with pytest.raises(SnapshotStale):
        caller_of(authenticator, scope_of(authorization=f"Bearer {KEY}"), "keys:read")


def test_hanging_store_calls_delay_only_each_other(authenticator: RequestAuthenticator) -> None:
    proceed, started = threading.Event(), threading.Semaphore(0)

    def hang() -> int:
        started.release()
        assert proceed.wait(5)
        return 1

    async def call_all() -> list[int]:
        calls = [asyncio.create_task(authenticator.run_in_thread(hang)) for _ in range(MAX_CONCURRENT_STORE_CALLS + 1)]
        for _ in range(MAX_CONCURRENT_STORE_CALLS):
            assert await asyncio.to_thread(started.acquire, timeout=5)
        assert not started.acquire(blocking=False), "one call more than there are threads waits"
        proceed.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(call_all()) == [1] * (MAX_CONCURRENT_STORE_CALLS + 1)


@pytest.mark.parametrize(
    ("failure", "seconds", "secrets"),
    [
        pytest.param(Unauthenticated, 0, {}, id="disabled"),
        pytest.param(Unauthenticated, 61, None, id="expired"),
        pytest.param(SnapshotStale, LEASE_SECONDS + 1, None, id="stale"),
    ],
)
def test_a_caller_is_authenticated_again_once_the_body_is_complete(
    clock: ManualClock, failure: type[Exception], seconds: float, secrets: dict[str, KnownSecret] | None
) -> None:
    expiring = SNAPSHOT.secrets["abc"]._replace(expires_at=datetime.fromtimestamp(clock.now() + 60, UTC))
    snapshot = SNAPSHOT._replace(secrets={"abc": expiring}, refresh_started_at=clock.monotonic())

    def meanwhile() -> None:
        nonlocal snapshot
        clock.advance(seconds)
        snapshot = snapshot if secrets is None else snapshot._replace(secrets=secrets)

    authenticator = RequestAuthenticator(lambda: snapshot, clock, lease_seconds=LEASE_SECONDS)
    scope, context = scope_of(authorization=f"Bearer {KEY}"), RequestContext("request-1", clock.monotonic())
    receive = make_receive([b"{", b"}"], meanwhile)
    with pytest.raises(failure):
        asyncio.run(authenticator.caller_and_body(scope, receive, context, "keys:read", 100))


def test_no_route_reads_a_body_without_authenticating_again() -> None:
    """Only `authentication.py` uses `read_json`."""
    folder = Path(str(web.__file__)).parent
    callers = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id == "read_json"
    }
    assert callers == {"authentication.py"}


def test_a_worker_whose_clock_jumped_authenticates_nobody(
    authenticator: RequestAuthenticator, clock: ManualClock
) -> None:
    """API keys expire by that clock, and writes are dated by it."""
    clock.jump(-3600)
    with pytest.raises(SnapshotStale, match="jumped by -3600 seconds"):
        caller_of(authenticator, scope_of(authorization=f"Bearer {KEY}"), "keys:read")

"""The policy hook: what it is asked, what its decisions do, and that nothing is issued without one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.clocks import START, ManualClock
from tests.support.policy_hook import Hook, running_hook
from tests.support.processes import wait_until
from tests.support.tokens import CHANNEL
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import PolicyHookDenied, PolicyHookUnavailable
from tokensvc.outages import FailureLog
from tokensvc.tokens.request import parse_token_request
from tokensvc.web.admission import ADMITTED, AdmissionRequest, Decision, Narrowing
from tokensvc.web.policy_hook import MAX_CONNECTIONS, MAX_OF_BATCH, MAX_RESPONSE_BYTES, TIMEOUT_SECONDS, PolicyHook

pytestmark = pytest.mark.slow

SECRET = "a secret of the hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as running:
        yield running


def asked(
    viewer: str | None = "viewer-1", *, address: str = "192.0.2.1", request_id: str = "r1", **fields: Any
) -> AdmissionRequest:
    limit_seconds = fields.pop("limit_seconds", 3600)
    request = parse_token_request({"channelArn": str(CHANNEL), "viewerId": viewer, **fields})
    return AdmissionRequest(Caller("shop", CallerPolicy(("*",))), request, limit_seconds, address, request_id)


class Asking:
    """A policy hook's client with a clock of the test's own."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self.url = url
        self.timeout = timeout
        self.clock = ManualClock()
        self.failures: Counter[str] = Counter()

    def run(self, use: Callable[[PolicyHook], Coroutine[Any, Any, Any]]) -> Any:
        async def with_hook() -> Any:
            client = PolicyHook(
                self.url,
                SECRET,
                clock=self.clock,
                count_failure=lambda reason: self.failures.update([reason]),
                failure_log=FailureLog(),
                timeout_seconds=self.timeout,
            )
            try:
                return await use(client)
            finally:
                await client.close()

        return asyncio.run(with_hook())

    def admit(self, *tokens: AdmissionRequest) -> list[Decision]:
        decisions: list[Decision] = self.run(lambda client: client.admit(tokens))
        return decisions

    def admit_one_by_one(self, *tokens: AdmissionRequest) -> list[Decision]:
        async def use(client: PolicyHook) -> list[Decision]:
            return [decision for token in tokens for decision in await client.admit([token])]

        decisions: list[Decision] = self.run(use)
        return decisions


def test_it_is_asked_about_the_request_with_everything_that_policy_forces(hook: Hook) -> None:
    token = asked(singleUse=True, ttlSeconds=60)
    assert Asking(hook.url).admit(token) == [ADMITTED]
    assert hook.asked == [
        {
            "caller": "shop",
            "clientAddress": "192.0.2.1",
            "request": {
                "channelArn": str(CHANNEL),
                "viewerId": "viewer-1",
                "ttlSeconds": 60,
                "strictOriginEnforcement": False,
                "singleUse": True,
                "requirePlaybackUrl": False,
            },
            "requestId": "r1",
        }
    ]
    assert hook.headers[0]["content-type"] == "application/json"


def test_a_body_is_signed_with_its_time(hook: Hook) -> None:
    Asking(hook.url).admit(asked())
    timestamp = hook.headers[0]["tokensvc-timestamp"]
    assert timestamp == str(int(START))
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + hook.bodies[0], hashlib.sha256).hexdigest()
    assert hook.headers[0]["tokensvc-signature"] == f"v1={expected}"


def test_a_denial_has_the_reason_of_the_hook(hook: Hook) -> None:
    hook.response = lambda _asked: {"allow": False, "reason": "this viewer has not paid"}
    [decision] = Asking(hook.url).admit(asked())
    assert isinstance(decision, PolicyHookDenied)
    assert decision.message == "the policy hook denied this token: this viewer has not paid"


def test_a_decision_restricts(hook: Hook) -> None:
    hook.response = lambda _asked: {
        "allow": True,
        "maxTtlSeconds": 30,
        "maximumResolution": "SD",
        "allowedOrigins": ["https://app.example.com"],
    }
    assert Asking(hook.url).admit(asked()) == [Narrowing(30, "SD", ("https://app.example.com",))]


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"yes",
        b"null",
        b"[]",
        b"\xff",
        {},
        {"allow": "true"},
        {"allow": 1},
        {"allow": None},
        {"allow": True, "maxTTLSeconds": 30},
        {"allow": True, "maxTtlSeconds": 0},
        {"allow": True, "maxTtlSeconds": -1},
        {"allow": True, "maximumResolution": "UHD"},
        {"allow": True, "allowedOrigins": []},
        {"allow": True, "allowedOrigins": ["https://app.example.com/path"]},
        {"allow": True, "cacheSeconds": -1},
        {"allow": True, "cacheSeconds": 1e9},
        {"allow": False, "reason": "two\nlines"},
        {"allow": False, "reason": "x" * 201},
        b'{"allow": true}' + b" " * MAX_RESPONSE_BYTES,
    ],
    ids=lambda response: str(response)[:40],
)
def test_anything_but_a_valid_decision_admits_nothing(hook: Hook, response: Any) -> None:
    """A restriction whose name the hook misspells is not ignored."""
    hook.response = lambda _asked: response
    asking = Asking(hook.url)
    [decision] = asking.admit(asked())
    assert isinstance(decision, PolicyHookUnavailable)
    assert asking.failures == {"invalid_response": 1}


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 500, 503])
def test_a_status_other_than_200_is_not_a_decision(hook: Hook, status: int) -> None:
    """403 denies nothing: it may come from a proxy."""
    hook.status = status
    hook.response = lambda _asked: b"" if status == 204 else {"allow": True}
    assert isinstance(Asking(hook.url).admit(asked())[0], PolicyHookUnavailable)


def test_a_redirect_is_not_followed(hook: Hook) -> None:
    hook.location = hook.url
    assert isinstance(Asking(hook.url).admit(asked())[0], PolicyHookUnavailable)
    assert len(hook.bodies) == 1


def test_a_redirect_to_an_invalid_url_admits_nothing(hook: Hook) -> None:
    """httpx resolves `Location` without following it; a URL that is too long is not one of its HTTP errors."""
    hook.location = "/" + "x" * 65_530
    asking = Asking(hook.url)
    assert isinstance(asking.admit(asked())[0], PolicyHookUnavailable)
    assert asking.failures == {"connection": 1}


def test_a_hook_that_does_not_respond_refuses_in_time(hook: Hook) -> None:
    hook.goes_on.clear()
    asking, started = Asking(hook.url, TIMEOUT_SECONDS), time.perf_counter()
    [decision] = asking.admit(asked())
    assert time.perf_counter() - started < TIMEOUT_SECONDS + 5
    assert isinstance(decision, PolicyHookUnavailable)
    assert decision.retry_after_seconds
    assert asking.failures == {"timeout": 1}


def test_an_outage_is_logged_once_without_the_secret() -> None:
    asking = Asking("http://127.0.0.1:1/decide")
    with capture_logs() as lines:
        decisions = asking.admit_one_by_one(*[asked()] * 5)
    assert all(isinstance(decision, PolicyHookUnavailable) for decision in decisions)
    assert asking.failures == {"connection": 5}
    assert [(line["task"], line["code"]) for line in lines] == [("policy_hook", "policy_hook_unavailable")]
    assert SECRET not in str(lines)


def test_a_decision_is_not_used_again_unless_the_hook_allows_it(hook: Hook) -> None:
    Asking(hook.url).admit_one_by_one(asked(), asked())
    assert len(hook.bodies) == 2


@pytest.mark.parametrize("response", [{"allow": True, "maximumResolution": "SD"}, {"allow": False, "reason": "no"}])
def test_a_decision_is_used_again_for_an_equal_request_while_the_hook_allows_it(
    hook: Hook, response: dict[str, Any]
) -> None:
    hook.response = lambda _asked: {**response, "cacheSeconds": 10}
    asking = Asking(hook.url)

    async def use(client: PolicyHook) -> None:
        [first] = await client.admit([asked()])
        asking.clock.advance(9.9)
        [again] = await client.admit([asked(request_id="r2")])
        assert repr(again) == repr(first)
        assert len(hook.bodies) == 1
        for other in (asked("viewer-2"), asked(ttlSeconds=20), asked(address="192.0.2.2"), asked(singleUse=True)):
            await client.admit([other])
        assert len(hook.bodies) == 5
        asking.clock.advance(0.1)
        await client.admit([asked()])
        assert len(hook.bodies) == 6

    asking.run(use)


@pytest.mark.parametrize(
    ("fields", "response", "seconds"),
    [
        ({}, {}, 300),
        ({"ttlSeconds": 60}, {}, 60),
        ({"limit_seconds": 40}, {}, 40),
        ({"ttlSeconds": 600}, {}, 590),
        ({"ttlSeconds": 1200, "viewer": None}, {}, 1200),
        ({"ttlSeconds": 600, "viewer": None, "singleUse": True}, {}, 590),
        ({"ttlSeconds": 60}, {"maxTtlSeconds": 20}, 20),
    ],
)
def test_a_decision_is_cached_no_longer_than_the_token_lives(
    hook: Hook, fields: dict[str, Any], response: dict[str, Any], seconds: int
) -> None:
    hook.response = lambda _asked: {"allow": True, "cacheSeconds": 10**6, **response}
    asking = Asking(hook.url)

    async def use(client: PolicyHook) -> None:
        await client.admit([asked(**fields)])
        asking.clock.advance(seconds - 0.1)
        await client.admit([asked(**fields)])
        assert len(hook.bodies) == 1
        asking.clock.advance(0.1)
        await client.admit([asked(**fields)])
        assert len(hook.bodies) == 2

    asking.run(use)


def test_a_failure_is_not_cached(hook: Hook) -> None:
    hook.status = 500
    asking = Asking(hook.url)

    async def use(client: PolicyHook) -> list[Decision]:
        first = await client.admit([asked()])
        hook.status = 200
        return first + await client.admit([asked()])

    first, second = asking.run(use)
    assert isinstance(first, PolicyHookUnavailable)
    assert second == ADMITTED


def test_a_batch_asks_about_each_of_its_requests_a_few_at_once(hook: Hook) -> None:
    hook.response = lambda request: {"allow": request["request"]["viewerId"] != "viewer-7"}
    decisions = Asking(hook.url).admit(*[asked(f"viewer-{number}") for number in range(60)])
    assert [number for number, decision in enumerate(decisions) if decision != ADMITTED] == [7]
    assert len(hook.bodies) == 60
    assert hook.most_running <= MAX_OF_BATCH


def test_a_batch_stops_asking_at_the_first_failure(hook: Hook) -> None:
    """Otherwise a batch would wait for a time-out of each of its requests."""
    hook.goes_on.clear()
    asking, started = Asking(hook.url, TIMEOUT_SECONDS), time.perf_counter()
    decisions = asking.admit(*[asked(f"viewer-{number}") for number in range(500)])
    assert time.perf_counter() - started < TIMEOUT_SECONDS + 9
    assert all(isinstance(decision, PolicyHookUnavailable) for decision in decisions)
    assert len(hook.bodies) <= MAX_OF_BATCH


def test_a_batch_leaves_connections_to_single_requests(hook: Hook) -> None:
    hook.goes_on.clear()
    asking = Asking(hook.url)

    async def use(client: PolicyHook) -> None:
        batches = [asyncio.create_task(client.admit([asked(f"{n}-{k}") for k in range(20)])) for n in range(3)]
        await asyncio.to_thread(wait_until, lambda: len(hook.bodies) == 3 * MAX_OF_BATCH, "the batches to ask")
        single = asyncio.create_task(client.admit([asked("single")]))
        await asyncio.to_thread(wait_until, lambda: b"single" in hook.bodies[-1], "the single request to ask")
        hook.goes_on.set()
        await asyncio.gather(single, *batches)

    asking.run(use)


def test_a_cached_denial_holds_no_request(hook: Hook) -> None:
    """An exception that is raised again and again would hold the frames of every request that it refused."""
    hook.response = lambda _asked: {"allow": False, "cacheSeconds": 60}
    first, second = Asking(hook.url).admit_one_by_one(asked(), asked())
    assert len(hook.bodies) == 1
    assert isinstance(first, PolicyHookDenied)
    assert isinstance(second, PolicyHookDenied)
    assert first is not second


def test_a_name_that_occurs_twice_makes_a_response_invalid(hook: Hook) -> None:
    """Another parser would choose the denial."""
    hook.response = lambda _asked: b'{"allow": false, "allow": true}'
    asking = Asking(hook.url)
    assert isinstance(asking.admit(asked())[0], PolicyHookUnavailable)
    assert asking.failures == {"invalid_response": 1}


def test_a_cookie_of_one_response_is_not_sent_with_the_next_request(hook: Hook) -> None:
    """A framework's session would mix up the viewers."""
    hook.response_headers = {"Set-Cookie": "session=viewer-1; Path=/"}
    Asking(hook.url).admit_one_by_one(asked(), asked("viewer-2"))
    assert len(hook.headers) == 2
    assert not any("cookie" in headers for headers in hook.headers)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_response_with_a_content_coding_is_not_decoded(hook: Hook, coding: str) -> None:
    """What a few bytes decode to has no bound."""
    hook.response_headers = {"Content-Encoding": coding}
    hook.response = lambda _asked: {"allow": True}
    asking = Asking(hook.url)
    assert isinstance(asking.admit(asked())[0], PolicyHookUnavailable)
    assert asking.failures == {"invalid_response": 1}
    assert hook.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("cancelled", [False, True], ids=["timed out", "cancelled"])
def test_after_an_outage_every_connection_serves_again(hook: Hook, cancelled: bool) -> None:
    """Many more requests than connections, for several times: none may keep its connection, or its place in a queue."""
    hook.goes_on.clear()
    asking = Asking(hook.url, TIMEOUT_SECONDS)

    async def use(client: PolicyHook) -> None:
        for attempt in range(3):
            running = [
                asyncio.create_task(client.admit([asked(f"{attempt}-{number}")]))
                for number in range(3 * MAX_CONNECTIONS)
            ]
            if cancelled:
                await asyncio.sleep(0.02)
                for task in running:
                    task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        hook.goes_on.set()
        hook.bodies.clear()
        deadline = time.monotonic() + 30
        while await client.admit([asked()]) != [ADMITTED]:  # the hook still responds to those that have gone
            assert time.monotonic() < deadline
        ends_at = time.monotonic() + 30
        while await ask_together(client) < MAX_CONNECTIONS:  # on a busy machine some may time out before they ask
            assert time.monotonic() < ends_at, "not all connections serve again"

    async def ask_together(client: PolicyHook) -> int:
        """How many connections ask at the same time."""
        hook.goes_on.clear()
        hook.bodies.clear()
        viewers = [f"{time.monotonic()}-{number}" for number in range(MAX_CONNECTIONS)]
        together = [asyncio.create_task(client.admit([asked(viewer)])) for viewer in viewers]
        reached = 0
        while reached < MAX_CONNECTIONS and (await asyncio.wait(together, timeout=0.005))[1]:
            reached = len(hook.bodies)
        hook.goes_on.set()
        await asyncio.gather(*together)
        return reached

    asking.run(use)

"""Requests that came in together are signed together: nobody waits for company, and one that fails takes none along."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.asgi_client import scope_of
from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tests.support.tokens import Prepared
from tokensvc.errors import NotAllowed
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route
from tokensvc.web.signing_batch import MAX_BATCH

SECRET = "tsk_pasted_secret"


class Counter:
    """A route whose requests are answered once signed; keeps what happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.writer = CapturedLog()
        self.log = AccessLog(self.writer, ManualClock(), as_json=True)
        self.front = Application(
            {"/quick": [Route("POST", self._never, self._begin)]}, self._never, ManualClock(), self.log
        )

    def ask(self, body: str) -> bool:
        """Hand in one request."""
        return self.front.handle_nowait(
            scope_of(path="/quick"), body.encode(), lambda answer, _: self._told(body, answer)
        )

    def _told(self, body: str, answer: Response) -> None:
        self.events.append(f"{body} got {answer.status}")
        if body == "gone":
            raise ConnectionError(SECRET)

    def _begin(self, _scope: object, body: bytes, exchange: RequestContext) -> _Begun | None:
        exchange.caller = "shop"
        if body == b"refused":
            raise NotAllowed("you may not")
        return _Begun(self, body.decode()) if body != b"later" else None

    async def _never(self, *_: object) -> Any:
        raise AssertionError("not asked for")


class _Begun:
    def __init__(self, counter: Counter, body: str) -> None:
        self._counter = counter
        self._body = body
        self.key = Prepared(self._sign)
        self.digest = body.encode()

    def _sign(self, digest: bytes) -> bytes:
        assert digest == self.digest
        self._counter.events.append(f"{self._body} signed")
        if self._body == "unsigned":
            raise RuntimeError(SECRET)
        return b"signature"

    def complete(self, signature: bytes, seconds: float) -> Response:
        assert signature == b"signature"
        assert seconds >= 0
        if self._body == "unanswered":
            raise RuntimeError(SECRET)
        return Response(201, b"{}", (JSON,), "issued")


@pytest.fixture
def counter() -> Counter:
    return Counter()


def asked(counter: Counter, *bodies: str) -> list[str]:
    """What happened in the turn in which these came in."""

    async def turn() -> list[str]:
        for body in bodies:
            assert counter.ask(body)
        await asyncio.sleep(0)
        return counter.events

    return asyncio.run(turn())


def test_all_members_are_signed_before_any_response_in_order(counter: Counter) -> None:
    assert asked(counter, "a", "b") == ["a signed", "b signed", "a got 201", "b got 201"]


def test_a_full_batch_is_flushed_immediately(counter: Counter) -> None:
    async def turn() -> None:
        for number in range(MAX_BATCH + 1):
            assert counter.events == [], "not before there are enough"
            counter.ask(f"{number}")
            if number == MAX_BATCH - 1:
                assert len(counter.events) == 2 * MAX_BATCH, "without waiting for the turn to end"
                counter.events.clear()
        await asyncio.sleep(0)
        assert counter.events == [f"{MAX_BATCH} signed", f"{MAX_BATCH} got 201"]

    asyncio.run(turn())


def test_flushing_twice_responds_once(counter: Counter) -> None:
    async def turn() -> None:
        counter.ask("a")
        counter.front.flush()
        assert counter.events == ["a signed", "a got 201"]
        counter.front.flush()
        await asyncio.sleep(0)
        assert len(counter.events) == 2

    asyncio.run(turn())


def test_a_rejected_request_does_not_wait_for_the_batch(counter: Counter) -> None:
    assert asked(counter, "a", "refused") == ["refused got 403", "a signed", "a got 201"]


@pytest.mark.parametrize("failing", ["unsigned", "unanswered"])
def test_a_failing_member_affects_no_other(counter: Counter, failing: str) -> None:
    with capture_logs() as logs:
        events = asked(counter, "a", failing, "b")
    assert [event for event in events if "got" in event] == ["a got 201", f"{failing} got 500", "b got 201"]
    assert [line["error"] for line in logs] == ["RuntimeError"]
    assert SECRET not in str(logs)


def test_a_lost_connection_affects_no_other_member(counter: Counter) -> None:
    with capture_logs() as logs:
        events = asked(counter, "gone", "b")
    assert events[-1] == "b got 201"
    assert [line["error"] for line in logs] == ["ConnectionError"]
    assert SECRET not in str(logs)


def test_a_request_that_would_have_to_wait_is_declined(counter: Counter) -> None:
    async def turn() -> None:
        assert not counter.ask("later")

    asyncio.run(turn())


def test_each_member_has_a_log_line(counter: Counter) -> None:
    asked(counter, "a", "refused", "b")
    lines = counter.writer.text.splitlines()
    assert [line.count('"status":201') for line in lines] == [0, 1, 1]
    assert all('"path":"/quick"' in line and '"caller":"shop"' in line for line in lines)

"""Requests of one event-loop iteration are signed together, without added wait and without affecting each other."""

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


class RecordingApplication:
    """An application with a fast route that records what happens, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.writer = CapturedLog()
        self.log = AccessLog(self.writer, ManualClock(), as_json=True)
        self.app = Application(
            {"/quick": [Route("POST", self._never, self._prepare)]}, self._never, ManualClock(), self.log
        )

    def offer(self, body: str) -> bool:
        """Offer one request."""
        return self.app.handle_nowait(
            scope_of(path="/quick"), body.encode(), lambda response, _: self._record_response(body, response)
        )

    def _record_response(self, body: str, response: Response) -> None:
        self.events.append(f"{body} got {response.status}")
        if body == "gone":
            raise ConnectionError(SECRET)

    def _prepare(self, _scope: object, body: bytes, context: RequestContext) -> _Pending | None:
        context.caller = "shop"
        if body == b"rejected":
            raise NotAllowed("not allowed")
        return _Pending(self, body.decode()) if body != b"waiting" else None

    async def _never(self, *_: object) -> Any:
        raise AssertionError("not expected")


class _Pending:
    def __init__(self, recorder: RecordingApplication, body: str) -> None:
        self._recorder = recorder
        self._body = body
        self.key = Prepared(self._sign)
        self.digest = body.encode()

    def _sign(self, digest: bytes) -> bytes:
        assert digest == self.digest
        self._recorder.events.append(f"{self._body} signed")
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
def recorder() -> RecordingApplication:
    return RecordingApplication()


def events_of(recorder: RecordingApplication, *bodies: str) -> list[str]:
    """What happens in the iteration in which these requests arrive."""

    async def iterate() -> list[str]:
        for body in bodies:
            assert recorder.offer(body)
        await asyncio.sleep(0)
        return recorder.events

    return asyncio.run(iterate())


def test_all_members_are_signed_before_any_response_in_order(recorder: RecordingApplication) -> None:
    assert events_of(recorder, "a", "b") == ["a signed", "b signed", "a got 201", "b got 201"]


def test_a_full_batch_is_flushed_immediately(recorder: RecordingApplication) -> None:
    async def iterate() -> None:
        for number in range(MAX_BATCH + 1):
            assert recorder.events == [], "not before the batch is full"
            recorder.offer(f"{number}")
            if number == MAX_BATCH - 1:
                assert len(recorder.events) == 2 * MAX_BATCH, "without waiting for the iteration to end"
                recorder.events.clear()
        await asyncio.sleep(0)
        assert recorder.events == [f"{MAX_BATCH} signed", f"{MAX_BATCH} got 201"]

    asyncio.run(iterate())


def test_flushing_twice_responds_once(recorder: RecordingApplication) -> None:
    async def iterate() -> None:
        recorder.offer("a")
        recorder.app.flush()
        assert recorder.events == ["a signed", "a got 201"]
        recorder.app.flush()
        await asyncio.sleep(0)
        assert len(recorder.events) == 2

    asyncio.run(iterate())


def test_a_rejected_request_does_not_wait_for_the_batch(recorder: RecordingApplication) -> None:
    assert events_of(recorder, "a", "rejected") == ["rejected got 403", "a signed", "a got 201"]


@pytest.mark.parametrize("failing", ["unsigned", "unanswered"])
def test_a_failing_member_affects_no_other(recorder: RecordingApplication, failing: str) -> None:
    with capture_logs() as logs:
        events = events_of(recorder, "a", failing, "b")
    assert [event for event in events if "got" in event] == ["a got 201", f"{failing} got 500", "b got 201"]
    assert [line["error"] for line in logs] == ["RuntimeError"]
    assert SECRET not in str(logs)


def test_a_lost_connection_affects_no_other_member(recorder: RecordingApplication) -> None:
    with capture_logs() as logs:
        events = events_of(recorder, "gone", "b")
    assert events[-1] == "b got 201"
    assert [line["error"] for line in logs] == ["ConnectionError"]
    assert SECRET not in str(logs)


def test_a_request_that_would_have_to_wait_is_declined(recorder: RecordingApplication) -> None:
    async def iterate() -> None:
        assert not recorder.offer("waiting")

    asyncio.run(iterate())


@pytest.mark.slow
def test_each_member_has_a_log_line(recorder: RecordingApplication) -> None:
    events_of(recorder, "a", "rejected", "b")
    lines = recorder.writer.text.splitlines()
    assert [line.count('"status":201') for line in lines] == [0, 1, 1]
    assert all('"path":"/quick"' in line and '"caller":"shop"' in line for line in lines)

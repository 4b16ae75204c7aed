"""Overload: what exceeds the bound is rejected before any work, bursts are served, and standing queues are not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope

from tests.support.asgi_client import make_receive, request, scope_of
from tests.support.clocks import ManualClock
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route
from tokensvc.web.overload import (
    INTERVAL_SECONDS,
    MIN_ADMITTED,
    MIN_STANDING,
    REJECTION,
    TARGET_SECONDS,
    OverloadLimit,
    StandingQueue,
)

TOKEN_SECONDS = 0.0001


class _Worker:
    """The iterations of an event loop, on a clock of their own."""

    def __init__(self, request_seconds: float = TOKEN_SECONDS) -> None:
        self.queue = StandingQueue()
        self.request_seconds = request_seconds
        self.now = 1000.0

    def iterate(self, arrived: int) -> int:
        """Serve one iteration; the number of requests that it rejected."""
        self.queue.start(self.now)
        accepted = arrived if self.queue.limit is None else min(arrived, self.queue.limit)
        started, rejected = self.now, arrived - accepted
        self.now += accepted * self.request_seconds
        accepted_seconds = self.now - started
        self.now += rejected * TOKEN_SECONDS / 10
        self.queue.end(started, self.now, accepted=accepted, accepted_seconds=accepted_seconds, rejected=rejected)
        return rejected

    def run(self, seconds: float, per_second: float) -> float:
        """Iterate under a steady load for so long; the share that was rejected."""
        until, due, arrived_all, rejected_all = self.now + seconds, 0.0, 0, 0
        last = self.now
        while self.now < until:
            due += (self.now - last) * per_second
            last = self.now
            if due < 1:
                self.now += (1.001 - due) / per_second
                continue
            arrived, due = int(due), due % 1
            arrived_all += arrived
            rejected_all += self.iterate(arrived)
        return rejected_all / arrived_all


def test_a_burst_shorter_than_the_interval_is_served_whole() -> None:
    worker = _Worker()
    assert worker.iterate(500) == 0
    assert worker.iterate(400) == 0
    assert worker.queue.limit is None


def test_one_iteration_says_nothing_however_long_it_takes() -> None:
    """Such as one in which a busy machine suspended the process."""
    worker = _Worker()
    for _ in range(5):
        assert worker.iterate(int(5 * INTERVAL_SECONDS / TOKEN_SECONDS)) == 0
        assert worker.iterate(MIN_STANDING - 1) == 0


def test_repeated_bursts_with_pauses_are_served_whole() -> None:
    worker = _Worker()
    for _ in range(20):
        assert worker.iterate(500) == 0
        worker.now += TARGET_SECONDS * 2


def test_a_standing_queue_is_rejected_except_for_a_little_work_per_iteration() -> None:
    worker = _Worker()
    while worker.queue.limit is None:
        worker.iterate(400)
        assert worker.now < 1000 + 2 * INTERVAL_SECONDS
    assert worker.queue.limit == pytest.approx(20, abs=1)
    assert worker.iterate(400) == 400 - worker.queue.limit


def test_slow_requests_are_still_accepted_a_few_at_a_time() -> None:
    worker = _Worker(request_seconds=0.01)
    while worker.queue.limit is None:
        worker.iterate(MIN_STANDING)
    assert worker.queue.limit == MIN_ADMITTED


def test_a_few_clients_on_a_starved_machine_are_never_rejected() -> None:
    worker = _Worker(request_seconds=0.01)
    assert not any(worker.iterate(MIN_STANDING - 1) for _ in range(50))


@pytest.mark.parametrize(("load", "at_least", "at_most"), [(0.7, 0, 0), (0.95, 0, 0), (4, 0.6, 0.95)])
def test_only_what_exceeds_a_worker_s_rate_is_rejected(load: float, at_least: float, at_most: float) -> None:
    worker = _Worker()
    worker.run(2, load / TOKEN_SECONDS)  # the queue has built up
    assert at_least <= worker.run(5, load / TOKEN_SECONDS) <= at_most


def test_rejecting_ends_soon_after_the_overload() -> None:
    worker = _Worker()
    worker.run(2, 4 / TOKEN_SECONDS)
    assert worker.queue.limit is not None
    worker.run(3 * INTERVAL_SECONDS, 0.5 / TOKEN_SECONDS)
    assert worker.queue.limit is None


def test_a_burst_after_a_quiet_time_meets_no_limit() -> None:
    worker = _Worker()
    while worker.queue.limit is None:
        worker.iterate(400)
    worker.now += INTERVAL_SECONDS * 1.1
    assert worker.iterate(400) == 0


def test_requests_of_one_iteration_beyond_the_bound_are_rejected_and_the_next_has_room() -> None:
    async def run() -> tuple[list[bool], list[bool]]:
        limit = OverloadLimit(3, ManualClock().monotonic, lambda: None)
        first = [limit.admit() for _ in range(5)]
        await asyncio.sleep(0)
        return first, [limit.admit() for _ in range(4)]

    assert asyncio.run(run()) == ([True] * 3 + [False] * 2, [True] * 3 + [False])


def test_what_was_accepted_is_answered_before_the_first_rejection() -> None:
    async def run() -> list[str]:
        events: list[str] = []
        limit = OverloadLimit(2, ManualClock().monotonic, lambda: events.append("answered"))
        while len(events) < 5:
            admitted = limit.admit()
            events.append("accepted" if admitted else "rejected")
        return events.copy()

    assert asyncio.run(run()) == ["accepted", "accepted", "answered", "rejected", "rejected"]


def test_tasks_count_until_their_response_and_probes_never() -> None:
    async def run() -> tuple[list[Any], list[str]]:
        release, rejected = asyncio.Event(), list[str]()

        async def waiting(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
            await release.wait()
            return Response(200, b"{}", (JSON,), "ok")

        async def probe(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
            return Response(200, b"{}", (JSON,), "ok")

        routes = {"/wait": [Route("POST", waiting)], "/livez": [Route("GET", probe, logs_success=False)]}
        app = Application(routes, _unused, ManualClock(), None, max_in_flight=2, on_rejected=rejected.append)
        tasks = [asyncio.create_task(request(app, scope_of(path="/wait"))) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reads = SimpleNamespace(count=0)

        def count() -> None:
            reads.count += 1

        over = await request(app, scope_of(path="/wait"), receive=make_receive(b"{}", count))
        live = await request(app, scope_of("GET", "/livez"))
        release.set()
        done = [await task for task in tasks]
        await asyncio.sleep(0)
        after = await request(app, scope_of(path="/wait"))
        assert reads.count == 0, "the body of a rejected request was read"
        return [
            over.status,
            over.json["code"],
            over.headers["retry-after"],
            live.status,
            done[0].status,
            after.status,
        ], rejected

    results, rejected = asyncio.run(run())
    assert results == [503, "overloaded", "1", 200, 200, 200]
    assert rejected == ["/wait"]


def test_the_fast_path_rejects_before_the_endpoint_sees_the_request() -> None:
    async def run() -> tuple[int, list[Response]]:
        seen, responses = 0, list[Response]()

        def endpoint(_scope: Scope, _body: bytes, _context: RequestContext) -> None:
            nonlocal seen
            seen += 1
            raise ValueError

        async def unused(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
            raise AssertionError

        app = Application({"/t": [Route("POST", unused, endpoint)]}, _unused, ManualClock(), None, max_in_flight=1)
        for _ in range(3):
            assert app.handle_nowait(scope_of(path="/t"), b"", lambda response, _id: responses.append(response))
        return seen, responses

    seen, responses = asyncio.run(run())
    assert seen == 1
    assert [response.status for response in responses] == [500, 503, 503]
    assert responses[1] is REJECTION, "a rejection is made once"


async def _unused(_scope: Scope, _receive: Receive, _send: Any) -> None:
    raise AssertionError


def test_a_task_that_waits_for_its_body_is_not_in_flight() -> None:
    """Clients that send no bodies hold connections, and nobody else's places."""

    async def run() -> list[int]:
        arrived = asyncio.Event()

        async def slow() -> Message:
            await arrived.wait()
            return {"type": "http.request", "body": b"{}"}

        async def reading(_scope: Scope, receive: Receive, _context: RequestContext) -> Response:
            await receive()
            await asyncio.sleep(0)
            return Response(200, b"{}", (JSON,), "ok")

        app = Application({"/t": [Route("POST", reading)]}, _unused, ManualClock(), None, max_in_flight=2)
        waiting = [asyncio.create_task(request(app, scope_of(path="/t"), receive=slow)) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        waiting += [asyncio.create_task(request(app, scope_of(path="/t"), receive=slow)) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        other = await request(app, scope_of(path="/t"))
        arrived.set()
        statuses = sorted([(await task).status for task in waiting])
        await asyncio.sleep(0)
        return [other.status, *statuses, (await request(app, scope_of(path="/t"))).status]

    assert asyncio.run(run()) == [200, 200, 200, 503, 503, 200]

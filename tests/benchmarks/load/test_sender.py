"""Open loop: the schedule does not depend on the server, and latency includes waiting."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.load.latency import FINE, longest, percentile
from benchmarks.load.sender import Sender
from tests.benchmarks.load.simulated_loop import SimulatedLoop, SimulatedServer, run_load

pytestmark = pytest.mark.slow


def test_the_latency_of_a_fast_server_is_its_service_time() -> None:
    tally = run_load(SimulatedServer(service_seconds=0.002))
    assert percentile(tally.kinds["token"], 50, FINE) == pytest.approx(2, rel=0.01)
    assert longest(tally.kinds["token"], FINE) == pytest.approx(2, rel=0.01)
    assert sum(second.completed for second in tally.seconds.values()) == 400
    assert not tally.errors


def test_a_stall_affects_every_request_that_was_due_during_it() -> None:
    """No coordinated omission: four connections wait, but a hundred requests were due, and each one's wait counts."""
    tally = run_load(SimulatedServer(service_seconds=0.001, stall=(1, 2)), connections=4)
    slow = sum(number for micros, number in tally.kinds["token"].items() if micros > 100_000)
    assert 90 <= slow <= 105
    assert longest(tally.kinds["token"], FINE) == pytest.approx(1000, rel=0.02)
    assert percentile(tally.kinds["token"], 50, FINE) < 10
    assert percentile(tally.kinds["token"], 90, FINE) == pytest.approx(600, rel=0.1)


def test_a_stalled_server_is_sent_as_many_requests_as_before() -> None:
    tally = run_load(SimulatedServer(stall=(1, 2)))
    assert [tally.seconds[second].sent for second in range(4)] == [100, 100, 100, 100]
    assert tally.seconds[1].completed == 0
    assert tally.seconds[2].completed == 200
    assert tally.waited == pytest.approx(96 + 9, abs=10), "four wait for their responses, the others for a connection"


def test_the_latency_of_an_overloaded_server_grows_steadily() -> None:
    tally = run_load(SimulatedServer(service_seconds=0.020), seconds=4, rate=100)
    assert longest(tally.kinds["token"], FINE) == pytest.approx(4000, rel=0.02)
    assert sum(tally.seconds[second].completed for second in range(4)) == pytest.approx(200, abs=2)


def test_waiting_for_the_server_is_not_a_scheduling_delay() -> None:
    tally = run_load(SimulatedServer(stall=(1, 2)))
    assert longest(tally.scheduling_delays, FINE) < 0.001
    assert sum(tally.scheduling_delays.values()) == 400


def test_a_delayed_generator_reports_its_delay_and_still_sends_everything() -> None:
    async def delay(loop: SimulatedLoop, _: Sender, start_at: float) -> None:
        await asyncio.sleep(start_at + 1 - loop.time())
        loop.busy(0.5)

    tally = run_load(SimulatedServer(), alongside=delay)
    assert longest(tally.scheduling_delays, FINE) == pytest.approx(495, rel=0.01)
    assert percentile(tally.scheduling_delays, 99, FINE) > 1
    assert longest(tally.kinds["token"], FINE) >= 495
    assert sum(second.completed for second in tally.seconds.values()) == 400


def test_a_request_without_a_response_times_out_and_counts_with_its_waiting_time() -> None:
    server = SimulatedServer(stall=(1, 1_000_000))
    tally = run_load(server, seconds=2, connections=4)
    assert set(tally.errors) == {"timeout", "timeout, never sent"}
    assert tally.errors.total() == 100
    assert tally.seconds[1].failed == 100
    assert longest(tally.kinds["token"], FINE) == pytest.approx(10_000, rel=0.01)
    assert percentile(tally.kinds["token"], 99, FINE) >= 10_000


def test_a_rejection_is_counted_by_its_code_and_has_no_latency() -> None:
    body = b'{"code":"no_signing_key"}'
    response = b"HTTP/1.1 503 No\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    tally = run_load(SimulatedServer(response=response), seconds=1)
    assert tally.errors == {"503 no_signing_key": 100}
    assert tally.seconds[0].failed == 100
    assert not tally.kinds


def test_a_connection_closed_by_the_server_is_reopened() -> None:
    response = b'HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{"token":"t"}'
    server = SimulatedServer(response=response)
    tally = run_load(server, seconds=2, rate=10, connections=4)
    assert sum(second.completed for second in tally.seconds.values()) == 20
    assert not tally.errors
    assert server.connections > 10


@pytest.mark.parametrize(("response", "code"), [(b"", "connection lost"), (b"SSH-2.0-x\r\n", "response is not HTTP")])
def test_a_broken_connection_fails_only_its_own_request(response: bytes, code: str) -> None:
    tally = run_load(SimulatedServer(response=response), seconds=2, rate=10, connections=4)
    assert tally.errors == {code: 20}


def test_the_warm_up_is_sent_but_not_counted() -> None:
    tally = run_load(SimulatedServer(stall=(0, 0.5)), seconds=4, warmup_seconds=2)
    assert sum(tally.scheduling_delays.values()) == sum(tally.kinds["token"].values()) == 200
    assert longest(tally.kinds["token"], FINE) < 10
    assert [tally.seconds[second].tokens for second in range(4)] == [100, 100, 100, 100], (
        "the server's throughput is still recorded"
    )


def test_a_stopped_run_ends_when_requests_in_flight_are_completed() -> None:
    async def stop(loop: SimulatedLoop, sender: Sender, start_at: float) -> None:
        await asyncio.sleep(start_at + 1 - loop.time())
        sender.stop()

    tally = run_load(SimulatedServer(service_seconds=0.002), alongside=stop)
    assert sum(tally.scheduling_delays.values()) == sum(tally.kinds["token"].values()) == 100
    assert not tally.errors

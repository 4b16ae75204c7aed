"""The lag of the event loop is how late its timers run."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from tokensvc.container import event_loop_lag
from tokensvc.container.event_loop_lag import EventLoopLag

pytestmark = pytest.mark.slow


def test_a_loop_that_is_blocked_is_late_and_one_that_is_free_is_not() -> None:
    observed: list[float] = []

    async def until(count: int) -> None:
        while len(observed) < count:  # noqa: ASYNC110 - it waits for the timer of another object
            await asyncio.sleep(0.005)

    async def run() -> None:
        lag = EventLoopLag(observed.append)
        lag.start()
        await until(1)
        time.sleep(1.0)  # noqa: ASYNC251 - it blocks the loop, as a request that takes long does
        await until(2)
        lag.stop()
        await asyncio.sleep(2 * event_loop_lag.INTERVAL_SECONDS)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert len(observed) == 2, "nothing is measured after the end"
    assert observed[1] > 0.6
    assert observed[0] >= 0

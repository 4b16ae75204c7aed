"""The clock of tests: advanced, set back, and followed."""

from __future__ import annotations

import time

import pytest

from tests.support.clocks import ManualClock
from tokensvc.testing.clock import ResettableClock, ServiceClock


def test_it_can_be_set_back() -> None:
    clock = ResettableClock(ManualClock(1000.0))
    clock.advance(60)
    assert (clock.now(), clock.offset_seconds) == (1060.0, 60.0)
    clock.reset()
    assert (clock.now(), clock.offset_seconds) == (1000.0, 0.0)


def test_followers_learn_of_each_change_after_it_while_their_block_runs() -> None:
    clock = ResettableClock(ManualClock(1000.0))
    seen: list[float] = []
    clock.advance(1)
    with clock.followed_by(lambda: seen.append(clock.now())), clock.followed_by(lambda: seen.append(0.0)):
        clock.advance(60)
        clock.reset()
        clock.reset()
    clock.advance(5)
    assert seen == [1061.0, 0.0, 1000.0, 0.0]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_time_does_not_pass_backwards_and_nobody_hears_of_it(seconds: float) -> None:
    clock, seen = ResettableClock(ManualClock(1000.0)), []
    with clock.followed_by(lambda: seen.append(1)), pytest.raises(ValueError, match="positive"):
        clock.advance(seconds)
    assert (seen, clock.offset_seconds) == ([], 0.0)


def test_the_clock_of_a_service_has_the_same_time_and_the_machines_durations() -> None:
    clock = ResettableClock(ManualClock(1000.0))
    service = ServiceClock(clock)
    before = time.monotonic()
    clock.advance(3600)
    assert service.now() == 4600.0
    assert before <= service.monotonic() < before + 3600

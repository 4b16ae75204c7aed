"""The local IVS's time can be put forward and never back."""

from __future__ import annotations

import math

import pytest

from tests.local_ivs.environment import START, StandingClock
from tokensvc.local_ivs.clock import AdvanceableClock


def test_both_clocks_go_forward_together() -> None:
    base = StandingClock()
    clock = AdvanceableClock(base)
    clock.advance(600)
    clock.advance(0.5)
    base.at += 1
    assert clock.now() == clock.monotonic() == START + 601.5
    assert clock.offset_seconds == 600.5
    assert clock.base.now() == START + 1


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, -math.inf])
def test_it_goes_forward_alone(seconds: float) -> None:
    clock = AdvanceableClock(StandingClock())
    with pytest.raises(ValueError, match="positive"):
        clock.advance(seconds)
    assert clock.offset_seconds == 0

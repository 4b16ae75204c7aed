"""The clock of the local IVS can be advanced but never set back."""

from __future__ import annotations

import math

import pytest

from tests.local_ivs.environment import START, FrozenClock
from tokensvc.local_ivs.clock import AdvanceableClock


def test_advancing_moves_both_clocks() -> None:
    base = FrozenClock()
    clock = AdvanceableClock(base)
    clock.advance(600)
    clock.advance(0.5)
    base.at += 1
    assert clock.now() == clock.monotonic() == START + 601.5
    assert clock.offset_seconds == 600.5
    assert clock.base.now() == START + 1


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, -math.inf])
def test_the_clock_cannot_be_set_back(seconds: float) -> None:
    clock = AdvanceableClock(FrozenClock())
    with pytest.raises(ValueError, match="positive"):
        clock.advance(seconds)
    assert clock.offset_seconds == 0

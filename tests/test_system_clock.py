"""The implementations of `Clock`."""

from __future__ import annotations

import time

import pytest

from tokensvc.clock import ConfirmedClock, StoreClock, SystemClock


def test_the_system_clock_is_the_machine_s() -> None:
    assert SystemClock().now() == pytest.approx(time.time(), abs=30)
    assert SystemClock().monotonic() == pytest.approx(time.monotonic(), abs=30)


def test_the_store_clock_continues_from_its_reading_whatever_the_wall_clock_says() -> None:
    clock = StoreClock(1_000.0)
    first = clock.now()
    time.sleep(0.01)
    assert 1_000 <= first < clock.now() < 1_010


def test_the_confirmed_clock_follows_the_last_refresh_not_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 1_000.0 - time.monotonic()
    clock = ConfirmedClock(lambda: offset)
    monkeypatch.setattr(time, "time", lambda: 5e9)
    assert 1_000 <= clock.now() < 1_010
    offset += 3600
    assert 4_600 <= clock.now() < 4_610

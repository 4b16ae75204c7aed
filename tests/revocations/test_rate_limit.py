"""Allowances are never overdrawn and never starve; a slow-down recovers; waits double, with chance in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.service import HANDLERS
from tokensvc.revocations.rate_limit import (
    GUARD_SECONDS,
    MAX_BACKOFF_SECONDS,
    MIN_PACE,
    VIEWERS_PER_SECOND,
    AimdThrottle,
    RateLimiter,
    backoff,
    delivery_seconds,
)

rates = st.sampled_from([10 * 1.0, 2 * 1.0, 10 * 0.8, 2 * 0.8, 10 * 0.35, 2 * 0.1, 0.5])
steps = st.lists(st.tuples(st.floats(0, 1.5), st.integers(0, 15)), max_size=60)
START = 1000.0


def test_the_inferred_sum_is_of_the_documented_rates() -> None:
    [single] = HANDLERS["StartViewerSessionRevocation"].rate_limits
    [batch] = HANDLERS["BatchStartViewerSessionRevocation"].rate_limits
    assert single.per_second + batch.per_second * 20 == VIEWERS_PER_SECOND == 50


def test_a_storm_takes_as_long_as_our_share_of_the_rates_allows() -> None:
    assert [delivery_seconds(queued, share) for queued, share in ((0, 0.8), (100, 1.0), (10_000, 0.8))] == [0, 2, 250]


@given(rate=rates, moves=steps)
def test_no_span_holds_more_calls_than_the_rate_allows(rate: float, moves: list[tuple[float, int]]) -> None:
    """Of any n + 1 calls in a row the last comes at least n / rate after the first, n being a second's worth: as many
    as are free are made, however seldom or often somebody looks."""
    allowance, now, made = RateLimiter(rate, START), START, list[float]()
    for pause, wish in moves:
        now += pause
        for _ in range(min(wish, allowance.available(now))):
            allowance.record_call(now)
            made.append(now)
    second = max(1, int(rate))
    assert all(later - sooner >= second / rate for sooner, later in zip(made, made[second:], strict=False))
    for whole in range(1, 5):
        span = whole * second / rate
        assert all(sum(at <= call < at + span for call in made) <= whole * second for at in made)


ways = st.tuples(st.one_of(st.sampled_from([0.0, 0.4]), st.floats(0, 0.4)), st.one_of(st.just(1.0), st.floats(0, 1)))
journeys = st.lists(
    st.tuples(
        st.one_of(st.just(1.01), st.floats(0, 1.5)),
        st.one_of(ways.map(lambda way: [way] * 12), st.lists(ways, min_size=8, max_size=12)),
    ),
    max_size=10,
)
"""Pauses, and after each the calls that are wished for: how long one takes, and after which part of that IVS counts."""


@given(operation=st.sampled_from(["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"]), moves=journeys)
def test_ivs_throttles_nothing_however_unlike_the_ways_of_its_calls_are(
    operation: str, moves: list[tuple[float, list[tuple[float, float]]]]
) -> None:
    """At the whole of its rate, calls side by side, each held up on its way there and back for as long as it likes."""
    [documented] = HANDLERS[operation].rate_limits
    allowance, now, counted = RateLimiter(documented.per_second, START), START, [START] * documented.per_second
    for pause, calls in moves:
        now += pause
        begun = calls[: allowance.available(now)]
        counted += [now + seconds * part for seconds, part in begun]
        for end in sorted(now + seconds for seconds, _ in begun):
            allowance.record_call(end)
            now = end
    limiter = OperationRateLimiter()
    for at in sorted(counted):
        limiter.acquire(operation, HANDLERS[operation].rate_limits, AccountRegion("1" * 12, "us-east-1"), {}, at)  # raises IvsError when it comes too soon


@given(rate=rates, moves=st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_at_a_slower_pace_there_are_still_fewer(rate: float, moves: list[tuple[float, bool]]) -> None:
    allowance, slowdown, now = RateLimiter(rate, START), AimdThrottle(), START
    made: list[float] = []
    for pause, throttled in moves:
        now += pause
        if throttled:
            slowdown.record_throttle(now)
        for _ in range(allowance.available(now, slowdown.pace(now))):
            allowance.record_call(now)
            made.append(now)
    second = max(1, int(rate))
    assert all(later - sooner >= second / rate for sooner, later in zip(made, made[second:], strict=False))


@given(rate=rates, pace=st.floats(MIN_PACE, 1.0), used=st.integers(0, 30))
def test_nobody_starves(rate: float, pace: float, used: int) -> None:
    """Whatever was used, the next call is free at the instant that is foretold, and that is soon."""
    allowance, now = RateLimiter(rate, START), START
    for _ in range(used):
        allowance.record_call(now)
    free_at = allowance.next_available_at(pace)
    assert allowance.available(free_at, pace) >= 1
    longest = max(max(1, int(r)) / r for r in (rate, rate * pace))
    assert free_at - now <= longest + GUARD_SECONDS + 1e-6
    assert allowance.available(now, pace) == 0


@given(rate=rates)
def test_a_new_leader_begins_with_nothing(rate: float) -> None:
    """The one before may have spent a second's worth a moment ago."""
    allowance = RateLimiter(rate, START)
    assert allowance.available(START) == 0
    assert allowance.available(START + max(1, int(rate)) / rate - 0.001) == 0
    assert allowance.available(START + max(1, int(rate)) / rate + GUARD_SECONDS + 1e-6) == max(1, int(rate))


@given(rate=rates, seconds=st.integers(20, 200))
def test_nearly_the_whole_rate_is_used(rate: float, seconds: int) -> None:
    allowance, now, made = RateLimiter(rate, START), START, 0
    while now < START + seconds:
        now = max(now, allowance.next_available_at())
        while allowance.available(now):
            allowance.record_call(now)
            made += 1
    assert made >= 0.98 * rate * seconds - max(1, int(rate))


def test_a_throttle_halves_the_pace_and_a_second_one_at_once_does_not() -> None:
    slowdown = AimdThrottle()
    assert slowdown.pace(START) == 1.0
    slowdown.record_throttle(START)
    slowdown.record_throttle(START + 0.5)
    assert slowdown.pace(START + 0.5) == pytest.approx(0.525)
    slowdown.record_throttle(START + 1)
    assert slowdown.pace(START + 1) == pytest.approx(0.275)


@given(st.lists(st.floats(0, 30), max_size=40))
def test_the_pace_stays_in_its_bounds_and_comes_back_to_the_full_one(pauses: list[float]) -> None:
    slowdown, now = AimdThrottle(), START
    for pause in pauses:
        now += pause
        slowdown.record_throttle(now)
        assert MIN_PACE <= slowdown.pace(now) <= 1.0
    assert slowdown.pace(now + 20) == 1.0


def test_waits_double_up_to_the_longest() -> None:
    whole = [backoff(failures, 1.0) for failures in range(1, 12)]
    assert whole[:4] == [1, 2, 4, 8]
    assert whole[-1] == MAX_BACKOFF_SECONDS == backoff(10_000, 1.0)
    assert backoff(0, 1.0) == backoff(1, 1.0)


@given(failures=st.integers(1, 60), jitter=st.floats(0, 1), longest=st.floats(1, 1000))
def test_chance_takes_at_most_half_of_a_wait(failures: int, jitter: float, longest: float) -> None:
    whole = backoff(failures, 1.0, longest)
    assert whole / 2 <= backoff(failures, jitter, longest) <= whole <= longest

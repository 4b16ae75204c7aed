"""Rate limiters are never exceeded and never starve; the throttle recovers; back-off doubles, with jitter."""

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

pytestmark = pytest.mark.slow

rates = st.sampled_from([10 * 1.0, 2 * 1.0, 10 * 0.8, 2 * 0.8, 10 * 0.35, 2 * 0.1, 0.5])
steps = st.lists(st.tuples(st.floats(0, 1.5), st.integers(0, 15)), max_size=60)
START = 1000.0


def test_the_inferred_total_is_the_sum_of_the_documented_rates() -> None:
    [single] = HANDLERS["StartViewerSessionRevocation"].rate_limits
    [batch] = HANDLERS["BatchStartViewerSessionRevocation"].rate_limits
    assert single.per_second + batch.per_second * 20 == VIEWERS_PER_SECOND == 50


def test_the_delivery_time_follows_from_the_rate_fraction() -> None:
    assert [
        delivery_seconds(queued, rate_fraction) for queued, rate_fraction in ((0, 0.8), (100, 1.0), (10_000, 0.8))
    ] == [0, 2, 250]


@given(rate=rates, moves=steps)
def test_no_window_contains_more_calls_than_the_rate_allows(rate: float, moves: list[tuple[float, int]]) -> None:
    """In any run of n + 1 calls the last comes at least n / rate after the first, where n is the number of calls in one
    second, however rarely or often the limiter is queried."""
    limiter, now, made = RateLimiter(rate, START), START, list[float]()
    for pause, wanted in moves:
        now += pause
        for _ in range(min(wanted, limiter.available(now))):
            limiter.record_call(now)
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
"""Pauses, and after each the calls: how long each takes, and after which fraction of that time IVS counts it."""


@given(operation=st.sampled_from(["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"]), moves=journeys)
def test_ivs_throttles_nothing_however_much_latencies_vary(
    operation: str, moves: list[tuple[float, list[tuple[float, float]]]]
) -> None:
    """At the full rate, with concurrent calls, each delayed arbitrarily on its way to IVS and back."""
    [documented] = HANDLERS[operation].rate_limits
    limiter, now, counted = RateLimiter(documented.per_second, START), START, [START] * documented.per_second
    for pause, calls in moves:
        now += pause
        started = calls[: limiter.available(now)]
        counted += [now + seconds * part for seconds, part in started]
        for end in sorted(now + seconds for seconds, _ in started):
            limiter.record_call(end)
            now = end
    ivs_limiter = OperationRateLimiter()
    for at in sorted(counted):
        # raises IvsError if the call comes too soon
        ivs_limiter.acquire(operation, HANDLERS[operation].rate_limits, AccountRegion("1" * 12, "us-east-1"), {}, at)


@given(rate=rates, moves=st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_a_reduced_pace_stays_within_the_rate(rate: float, moves: list[tuple[float, bool]]) -> None:
    limiter, throttle, now = RateLimiter(rate, START), AimdThrottle(), START
    made: list[float] = []
    for pause, throttled in moves:
        now += pause
        if throttled:
            throttle.record_throttle(now)
        for _ in range(limiter.available(now, throttle.pace(now))):
            limiter.record_call(now)
            made.append(now)
    second = max(1, int(rate))
    assert all(later - sooner >= second / rate for sooner, later in zip(made, made[second:], strict=False))


@given(rate=rates, pace=st.floats(MIN_PACE, 1.0), used=st.integers(0, 30))
def test_the_limiter_never_starves(rate: float, pace: float, used: int) -> None:
    """However many calls were made, the next one is available at the predicted instant, which is soon."""
    limiter, now = RateLimiter(rate, START), START
    for _ in range(used):
        limiter.record_call(now)
    available_at = limiter.next_available_at(pace)
    assert limiter.available(available_at, pace) >= 1
    longest = max(max(1, int(r)) / r for r in (rate, rate * pace))
    assert available_at - now <= longest + GUARD_SECONDS + 1e-6
    assert limiter.available(now, pace) == 0


@given(rate=rates)
def test_a_new_limiter_starts_exhausted(rate: float) -> None:
    """The previous leader may have made a second's worth of calls a moment ago."""
    limiter = RateLimiter(rate, START)
    assert limiter.available(START) == 0
    assert limiter.available(START + max(1, int(rate)) / rate - 0.001) == 0
    assert limiter.available(START + max(1, int(rate)) / rate + GUARD_SECONDS + 1e-6) == max(1, int(rate))


@given(rate=rates, seconds=st.integers(20, 200))
def test_nearly_the_full_rate_is_used(rate: float, seconds: int) -> None:
    limiter, now, made = RateLimiter(rate, START), START, 0
    while now < START + seconds:
        now = max(now, limiter.next_available_at())
        while limiter.available(now):
            limiter.record_call(now)
            made += 1
    assert made >= 0.98 * rate * seconds - max(1, int(rate))


def test_throttling_halves_the_pace_once_in_a_second() -> None:
    throttle = AimdThrottle()
    assert throttle.pace(START) == 1.0
    throttle.record_throttle(START)
    throttle.record_throttle(START + 0.5)
    assert throttle.pace(START + 0.5) == pytest.approx(0.525)
    throttle.record_throttle(START + 1)
    assert throttle.pace(START + 1) == pytest.approx(0.275)


@given(st.lists(st.floats(0, 30), max_size=40))
def test_the_pace_stays_within_bounds_and_recovers_fully(pauses: list[float]) -> None:
    throttle, now = AimdThrottle(), START
    for pause in pauses:
        now += pause
        throttle.record_throttle(now)
        assert MIN_PACE <= throttle.pace(now) <= 1.0
    assert throttle.pace(now + 20) == 1.0


def test_backoff_doubles_up_to_the_maximum() -> None:
    whole = [backoff(failures, 1.0) for failures in range(1, 12)]
    assert whole[:4] == [1, 2, 4, 8]
    assert whole[-1] == MAX_BACKOFF_SECONDS == backoff(10_000, 1.0)
    assert backoff(0, 1.0) == backoff(1, 1.0)


@given(failures=st.integers(1, 60), jitter=st.floats(0, 1), longest=st.floats(1, 1000))
def test_jitter_shortens_backoff_by_at_most_half(failures: int, jitter: float, longest: float) -> None:
    whole = backoff(failures, 1.0, longest)
    assert whole / 2 <= backoff(failures, jitter, longest) <= whole <= longest

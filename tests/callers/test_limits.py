"""Rate limits: no more than the rate and the burst in any window, and nothing taken by what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tokensvc.callers.limits import MIN_SHARED_BURST, GcraTable, TokenLimiter
from tokensvc.callers.policy import NO_LIMITS, Caller, CallerPolicy, Rate, RateLimits
from tokensvc.errors import RateLimited

CHANNEL, OTHER = "arn:aws:ivs:us-east-1:1:channel/a", "arn:aws:ivs:us-east-1:1:channel/b"
RATES = st.builds(Rate, st.integers(1, 6000), st.integers(1, 50))
GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 5)), min_size=1, max_size=80)


def caller_with(
    name: str = "shop", *, caller: Rate | None = None, viewer: Rate | None = None, channel: Rate | None = None
) -> Caller:
    return Caller(name, CallerPolicy(channels=("*",), limits=RateLimits(caller, viewer, channel)))


def caller_with_one(limit: str, rate: Rate) -> Caller:
    return Caller("shop", CallerPolicy(channels=("*",), limits=replace(NO_LIMITS, **{limit: rate})))


def admitted(limiter: TokenLimiter, caller: Caller, count: int, channel: str = CHANNEL, viewer: str = "v") -> int:
    """How many of `count` requests are admitted."""
    total = 0
    for _ in range(count):
        try:
            limiter.take(caller, channel, viewer, None)
            total += 1
        except RateLimited:
            pass
    return total


@given(RATES, GAPS)
def test_no_window_has_more_than_the_burst_and_the_rate_allow(rate: Rate, gaps: list[float]) -> None:
    table, now, taken = GcraTable(), 1000.0, list[float]()
    for gap in gaps:
        now += gap
        if table.take("k", rate, now) == 0.0:
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            window = taken[last] - taken[first]
            assert last - first + 1 <= rate.burst + rate.per_minute * window / 60 + 0.01


@given(RATES, GAPS, st.integers(1, 3))
def test_it_admits_what_a_bucket_of_tokens_admits(rate: Rate, gaps: list[float], cost: int) -> None:
    """The oracle fills a bucket of `burst` tokens at the rate; decisions within a rounding error are not compared."""
    table, now, bucket = GcraTable(), 1000.0, float(rate.burst)
    for gap in gaps:
        now += gap
        bucket = min(rate.burst, bucket + gap * rate.per_minute / 60)
        wait = table.take("k", rate, now, cost)
        if abs(bucket - cost) > 0.001:
            assert (wait == 0.0) == (bucket >= cost)
        if wait == 0.0:
            bucket -= cost
        elif cost <= rate.burst:
            assert wait == pytest.approx((cost - bucket) * 60 / rate.per_minute, abs=0.001)


@given(RATES, GAPS)
def test_a_refusal_and_a_check_take_nothing(rate: Rate, gaps: list[float]) -> None:
    asked_often, asked_once, now = GcraTable(), GcraTable(), 1000.0
    for gap in gaps:
        now += gap
        for _ in range(3):
            asked_often.check("k", rate, now)
            if asked_often.check("k", rate, now) > 0:
                asked_often.take("k", rate, now)
        assert asked_often.take("k", rate, now) == asked_once.take("k", rate, now)


def test_a_refused_request_is_admitted_after_exactly_the_stated_time() -> None:
    table, rate = GcraTable(), Rate(60, 1)
    assert table.take("k", rate, 10.0) == 0.0
    wait = table.take("k", rate, 10.25)
    assert wait == pytest.approx(0.75)
    assert table.check("k", rate, 10.25 + wait - 0.01) > 0
    assert table.take("k", rate, 10.25 + wait) == 0.0


@given(st.integers(2, 50), st.lists(st.integers(0, 200), max_size=300))
def test_a_table_is_bounded(max_keys: int, keys: list[int]) -> None:
    table = GcraTable(max_keys)
    for at, key in enumerate(keys):
        table.take(key, Rate(60, 5), float(at))
        assert len(table) <= max_keys


def test_a_key_in_use_is_not_forgotten_for_keys_that_come_and_go() -> None:
    table, rate = GcraTable(10), Rate(1, 40)
    for round_ in range(40):
        assert table.take("in use", rate, 0.0) == 0.0
        for number in range(4):
            table.take((round_, number), rate, 0.0)
    assert table.take("in use", rate, 0.0) > 0


def test_a_policy_without_limits_admits_everything() -> None:
    assert admitted(TokenLimiter(ManualClock().monotonic), Caller("shop", CallerPolicy(channels=("*",))), 1000) == 1000


@pytest.mark.parametrize("limit", ["caller", "viewer", "channel"])
def test_each_limit_refuses_with_its_name_policy_and_whole_seconds(limit: str) -> None:
    limiter, caller = TokenLimiter(ManualClock().monotonic), caller_with_one(limit, Rate(7, 2))
    assert admitted(limiter, caller, 2) == 2
    with pytest.raises(RateLimited, match=f"too many tokens for this {limit}: at most 7 a minute, and 2 at once") as e:
        limiter.take(caller, CHANNEL, "v", None)
    assert (e.value.limit, e.value.policy, e.value.retry_after_seconds) == (limit, f'"{limit}";q=7;w=60', 9)


def test_callers_viewers_and_channels_are_counted_apart() -> None:
    limiter = TokenLimiter(ManualClock().monotonic)
    by_viewer, by_channel = caller_with(viewer=Rate(1, 1)), caller_with("other", channel=Rate(1, 1))
    assert admitted(limiter, by_viewer, 2, viewer="a") == admitted(limiter, by_viewer, 2, viewer="b") == 1
    assert admitted(limiter, by_channel, 2) == admitted(limiter, by_channel, 2, channel=OTHER) == 1
    assert admitted(limiter, caller_with("third", viewer=Rate(1, 1)), 2, viewer="a") == 1, "callers share nothing"
    limiter.take(by_viewer, CHANNEL, None, "a")  # a subject is not the viewer id of the same text
    limiter.take(by_viewer, CHANNEL, None, None)
    limiter.take(by_viewer, CHANNEL, None, None)  # without a viewer, there is no viewer's limit


def test_a_request_that_one_limit_refuses_takes_nothing_of_the_others() -> None:
    limiter, caller = TokenLimiter(ManualClock().monotonic), caller_with(caller=Rate(1, 3), viewer=Rate(1, 1))
    assert admitted(limiter, caller, 50, viewer="a") == 1
    assert admitted(limiter, caller, 1, viewer="b") == admitted(limiter, caller, 1, viewer="c") == 1
    assert admitted(limiter, caller, 1, viewer="d") == 0


def test_the_longest_wait_is_the_one_that_is_stated() -> None:
    limiter, caller = TokenLimiter(ManualClock().monotonic), caller_with(caller=Rate(60, 1), viewer=Rate(2, 1))
    admitted(limiter, caller, 1)
    with pytest.raises(RateLimited) as e:
        limiter.take(caller, CHANNEL, "v", None)
    assert (e.value.limit, e.value.retry_after_seconds) == ("viewer", 30)


@pytest.mark.parametrize(("workers", "of_caller"), [(1, 100), (2, 50), (5, 20), (50, MIN_SHARED_BURST)])
def test_workers_share_the_limits_of_callers_and_channels_and_not_those_of_viewers(
    workers: int, of_caller: int
) -> None:
    for limit, expected in (("caller", of_caller), ("channel", of_caller), ("viewer", 100)):
        limiter = TokenLimiter(ManualClock().monotonic, lambda: workers)
        assert admitted(limiter, caller_with_one(limit, Rate(60, 100)), 200) == expected


def test_a_burst_below_ten_is_not_divided_and_not_raised() -> None:
    assert admitted(TokenLimiter(ManualClock().monotonic, lambda: 8), caller_with(caller=Rate(60, 4)), 200) == 4


def test_the_rate_is_divided_anew_when_workers_come_and_go() -> None:
    clock, workers = ManualClock(), [1]
    limiter, caller = TokenLimiter(clock.monotonic, lambda: workers[0]), caller_with(caller=Rate(60, 10))
    assert admitted(limiter, caller, 20) == 10
    workers[0] = 2
    clock.advance(10)
    assert admitted(limiter, caller, 20) == 10
    clock.advance(10)
    assert admitted(limiter, caller, 20) == 5


def test_an_explanation_counts_as_one_token_of_the_caller() -> None:
    limiter, caller = TokenLimiter(ManualClock().monotonic), caller_with(caller=Rate(60, 2), viewer=Rate(1, 1))
    limiter.take_of_caller(caller)
    limiter.take_of_caller(caller)
    with pytest.raises(RateLimited):
        limiter.take_of_caller(caller)
    limiter.take_of_caller(Caller("other", CallerPolicy(channels=("*",))))


def test_a_rate_that_is_raised_applies_immediately() -> None:
    clock = ManualClock()
    limiter = TokenLimiter(clock.monotonic)
    assert admitted(limiter, caller_with(caller=Rate(1, 100)), 200) == 100
    clock.advance(2)
    assert admitted(limiter, caller_with(caller=Rate(6000, 100)), 10) == 0
    clock.advance(1)
    assert admitted(limiter, caller_with(caller=Rate(6000, 100)), 200) == 100


def test_a_worker_that_remains_alone_has_the_whole_rate_immediately() -> None:
    clock, workers = ManualClock(), [8]
    limiter, caller = TokenLimiter(clock.monotonic, lambda: workers[0]), caller_with(caller=Rate(10, 10))
    assert admitted(limiter, caller, 20) == 10
    workers[0] = 1
    clock.advance(1)
    assert admitted(limiter, caller, 20) == 0
    clock.advance(6)
    assert admitted(limiter, caller, 20) == 1

"""The denylist: small, fast, and its entries expire."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import NotAllowed, ViewerDenied
from tokensvc.tokens.denylist import SLICE_ROWS, Denylist, ViewerRestriction, viewer_digest

NOW = 1_800_000_000
CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/a"
OTHER = "arn:aws:ivs:us-east-1:123456789012:channel/b"
SWEEPS = 256


def denylist_with(restriction: ViewerRestriction, channel: str = CHANNEL) -> Denylist:
    denylist = Denylist()
    denylist.apply([(viewer_digest(channel, "v"), restriction)], NOW)
    return denylist


def is_denied(denylist: Denylist, channel: str, viewer: str, now: int) -> bool:
    try:
        denylist.min_session_version(channel, viewer, now)
    except ViewerDenied:
        return True
    return False


def test_a_viewer_is_denied_until_the_stated_second() -> None:
    denylist = denylist_with(ViewerRestriction(NOW + 60))
    with pytest.raises(ViewerDenied, match="until 2027-01-15T08:01:00Z"):
        denylist.min_session_version(CHANNEL, "v", NOW)
    assert is_denied(denylist, CHANNEL, "v", NOW + 59)
    assert not is_denied(denylist, CHANNEL, "v", NOW + 60)


def test_a_denial_is_a_policy_error_that_names_no_viewer() -> None:
    with pytest.raises(NotAllowed) as refused:
        denylist_with(ViewerRestriction(NOW + 60), ALL_CHANNELS).min_session_version(CHANNEL, "v", NOW)
    assert refused.value.code == "viewer_denied"
    assert "'v'" not in refused.value.message


def test_other_viewers_and_channels_are_not_denied() -> None:
    denylist = denylist_with(ViewerRestriction(NOW + 60))
    assert denylist.min_session_version(OTHER, "v", NOW) == denylist.min_session_version(CHANNEL, "w", NOW) == 0


def test_a_denial_for_all_channels_applies_to_each() -> None:
    denylist = denylist_with(ViewerRestriction(NOW + 60), ALL_CHANNELS)
    assert is_denied(denylist, CHANNEL, "v", NOW)
    assert is_denied(denylist, OTHER, "v", NOW)
    assert not is_denied(denylist, OTHER, "w", NOW)


def test_of_two_denials_the_later_end_is_reported() -> None:
    denylist = denylist_with(ViewerRestriction(NOW + 60))
    denylist.apply([(viewer_digest(ALL_CHANNELS, "v"), ViewerRestriction(NOW + 3600))], NOW)
    with pytest.raises(ViewerDenied, match="until 2027-01-15T09:00:00Z"):
        denylist.min_session_version(CHANNEL, "v", NOW)


def test_a_viewer_that_is_not_denied_gets_the_minimum_version() -> None:
    assert denylist_with(ViewerRestriction(0, NOW + 911)).min_session_version(CHANNEL, "v", NOW) == NOW + 911
    assert denylist_with(ViewerRestriction(NOW, NOW + 911)).min_session_version(CHANNEL, "v", NOW) == NOW + 911


def test_a_later_change_replaces_an_earlier_one() -> None:
    denylist = denylist_with(ViewerRestriction(NOW + 60))
    denylist.apply([(viewer_digest(CHANNEL, "v"), ViewerRestriction(0, NOW + 911))], NOW)
    assert denylist.min_session_version(CHANNEL, "v", NOW) == NOW + 911
    denylist.apply([(viewer_digest(CHANNEL, "v"), ViewerRestriction())], NOW)
    assert len(denylist) == 0


@pytest.mark.slow
@given(
    changes=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), max_size=30
    ),
    sweep=st.booleans(),
)
def test_the_last_change_applies_and_sweeping_changes_no_result(
    changes: list[tuple[str, int, int, int]], sweep: bool
) -> None:
    """Compared with a plain dictionary; time only moves forward."""
    denylist, model, now = Denylist(), dict[str, ViewerRestriction](), 0
    for viewer, until, minimum, at in changes:
        now = max(now, at)
        denylist.apply([(viewer_digest(CHANNEL, viewer), ViewerRestriction(until, minimum))], now)
        model[viewer] = ViewerRestriction(until, minimum)
        if sweep:
            for _ in range(SWEEPS):
                denylist.sweep(now)
            assert len(denylist) == len([s for s in model.values() if s.expires_at > now])
        for name in "abc":
            restriction = model.get(name, ViewerRestriction())
            assert is_denied(denylist, CHANNEL, name, now) is (restriction.denied_until > now)
            if restriction.denied_until <= now:
                assert max(now, denylist.min_session_version(CHANNEL, name, now)) == max(
                    now, restriction.minimum_version
                )


def test_expired_entries_are_removed() -> None:
    denylist = Denylist()
    rows = [
        (viewer_digest(CHANNEL, str(number)), ViewerRestriction(NOW + 1 + number % 2 * 60)) for number in range(1000)
    ]
    denylist.apply(rows, NOW)
    for _ in range(SWEEPS):
        denylist.sweep(NOW + 1)
    assert len(denylist) == 500
    assert all(is_denied(denylist, CHANNEL, str(number), NOW + 1) for number in range(1, 1000, 2))


@pytest.fixture(scope="module")
def full() -> tuple[Denylist, int]:
    """A denylist of 200,000 entries, and its size in bytes."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    denylist = Denylist()
    denylist.apply(
        ((number.to_bytes(16, "little"), ViewerRestriction(NOW + number, NOW)) for number in range(1, 200_001)), NOW
    )
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return denylist, taken


@pytest.mark.long
def test_two_hundred_thousand_entries_take_less_than_a_hundred_megabytes(full: tuple[Denylist, int]) -> None:
    denylist, taken = full
    assert len(denylist) == 200_000
    assert taken < 100e6


def cpu_seconds(operation: object, times: int) -> float:
    """The shortest time of several runs, which leaves out other load on the machine."""
    assert callable(operation)
    least = float("inf")
    for _ in range(times):
        before = time.thread_time()
        operation()
        least = min(least, time.thread_time() - before)
    return least


@pytest.mark.long
def test_a_slice_and_a_sweep_step_are_short(full: tuple[Denylist, int]) -> None:
    """Each must end within 5 ms."""
    denylist, _ = full
    rows = [(viewer_digest(CHANNEL, str(number)), ViewerRestriction(NOW + 60, NOW)) for number in range(SLICE_ROWS)]
    assert cpu_seconds(lambda: denylist.apply(rows, NOW), 5) < 0.005
    assert cpu_seconds(lambda: denylist.sweep(NOW + 100_000), 20) < 0.005


def test_no_digest_shows_in_a_repr() -> None:
    denylist = Denylist()
    denylist.apply([(viewer_digest(CHANNEL, "a"), ViewerRestriction(NOW + 60))], NOW)
    assert repr(denylist).startswith("Denylist(")
    assert len(repr(denylist)) < 20

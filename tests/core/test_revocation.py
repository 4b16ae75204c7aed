"""The arithmetic of session versions: no token from a worker that has not heard outlives a revocation."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.core.revocation import (
    State,
    denied_until,
    minimum_after,
    overall,
    readmit_after,
    session_version,
    version_filter,
)
from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS

NOW = 1_800_000_000.25
LEASE, TIMEOUT = 60.0, 5.0
REACH = LEASE + TIMEOUT + CLOCK_SKEW_SECONDS


class Revoked(NamedTuple):
    """One revocation as it went: the store's clock when it was worked out and when it was committed."""

    at: float
    committed_at: float
    version: int
    minimum: int


class Minted(NamedTuple):
    """One token: when, on the store's clock; with which version; and how many revocations its worker had heard of."""

    at: float
    version: int
    heard: int
    skew: float


def revoked_at(times: list[tuple[float, float, int | None]]) -> list[Revoked]:
    """Revocations of one viewer, one after the other: each gap, time to commit, and `issued_before` as an age."""
    done: list[Revoked] = []
    now, minimum = NOW, 0
    for gap, commit, age in times:
        now += gap
        issued_before = None if age is None else math.floor(now) - age
        version = version_filter(now, REACH, minimum, issued_before)
        minimum = minimum_after(version)
        done.append(Revoked(now, now + commit, version, minimum))
        now += commit
    return done


def minted(done: list[Revoked], at: float, age: float, skew: float) -> Minted:
    """A token minted then by a worker whose snapshot is that old and whose clock is that far ahead."""
    heard = sum(revoked.committed_at <= at - age for revoked in done)
    minimum = done[heard - 1].minimum if heard else 0
    return Minted(at, session_version(math.floor(at + skew), minimum), heard, skew)


gaps = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0, 300))
histories = st.lists(st.tuples(gaps, st.floats(0, TIMEOUT), st.none()), min_size=1, max_size=6)
aged = st.lists(
    st.tuples(gaps, st.floats(0, TIMEOUT), st.one_of(st.none(), st.integers(0, 200))), min_size=1, max_size=6
)
skews = st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)
mints = st.lists(st.tuples(st.floats(-100, 600), st.floats(0, LEASE), skews), max_size=30)


@given(times=histories, tokens=mints)
def test_no_token_of_a_worker_that_has_not_heard_outlives_the_revocation(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """However stale and skewed the workers are; two revocations in one second, re-admissions between them included."""
    done = revoked_at(times)
    for offset, age, skew in tokens:
        token = minted(done, NOW + offset, age, skew)
        for number, revoked in enumerate(done):
            assert (token.version <= revoked.version) is (number >= token.heard)


@given(times=aged, tokens=mints)
def test_what_was_issued_before_an_instant_does_not_outlive_its_revocation(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    done = revoked_at(times)
    for offset, age, skew in tokens:
        token = minted(done, NOW + offset, age, skew)
        for number, (revoked, (_, _, issued_before_age)) in enumerate(zip(done, times, strict=True)):
            if number < token.heard:
                assert token.version > revoked.version
            elif issued_before_age is not None and token.at < math.floor(revoked.at) - issued_before_age:
                assert token.version <= revoked.version


@given(times=aged)
def test_filters_and_minimums_only_rise(times: list[tuple[float, float, int | None]]) -> None:
    done = revoked_at(times)
    assert [r.version for r in done] == sorted({r.version for r in done})
    assert all(r.minimum == r.version + 1 for r in done)
    assert all(r.version >= 0 for r in done), "IVS takes no filter below 0"


@given(times=aged, tokens=mints, deny=st.one_of(st.none(), st.integers(0, 100)))
def test_after_the_readmission_every_worker_gives_a_token_that_lives(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]], deny: int | None
) -> None:
    done = revoked_at(times)
    last, age = done[-1], times[-1][2]
    before = None if age is None else math.floor(last.at) - age
    until = denied_until(last.at, REACH, before, deny)
    readmit = readmit_after(last.at, REACH, last.version, until)
    assert readmit >= max(until, last.at)
    for offset, staleness, skew in tokens:
        token = minted(done, readmit + max(offset, 0.0), staleness, skew)
        assert token.version > last.version


def test_by_default_all_that_was_issued_until_now_ends() -> None:
    """With R on top, since a worker may go on for that long before it hears; so never 0, the default that IVS takes."""
    assert version_filter(NOW, 910, 0) == math.floor(NOW) + 910
    assert version_filter(0.0, 0.0, 0) == 0


def test_a_second_revocation_in_the_same_second_ends_what_was_issued_between_them() -> None:
    first = version_filter(NOW, 910, 0)
    between = session_version(math.floor(NOW), minimum_after(first))
    second = version_filter(NOW, 910, minimum_after(first))
    assert first < between <= second < session_version(math.floor(NOW), minimum_after(second))


def test_an_instant_ends_what_is_older_and_spares_what_is_newer() -> None:
    """But for a clock that may have been ahead, by as much as clocks may be."""
    before = math.floor(NOW) - 3600
    version = version_filter(NOW, 910, 0, before)
    assert before - 1 < version < before + CLOCK_SKEW_SECONDS
    assert session_version(math.floor(NOW), minimum_after(version)) == math.floor(NOW)


@pytest.mark.parametrize(
    ("issued_before", "deny_seconds", "until"),
    [
        pytest.param(None, None, 1_800_000_911, id="until every worker has heard"),
        pytest.param(1_700_000_000, None, 0, id="later tokens are spared, so there are some"),
        pytest.param(None, 0, 0, id="asked for none"),
        pytest.param(None, 60, 1_800_000_061, id="asked for a minute"),
        pytest.param(1_700_000_000, 60, 1_800_000_061, id="asked for a minute, with an instant"),
    ],
)
def test_how_long_a_viewer_is_denied(issued_before: int | None, deny_seconds: int | None, until: int) -> None:
    assert denied_until(NOW, 910, issued_before, deny_seconds) == until


def test_who_is_readmitted_waits_for_the_workers_and_for_the_denial() -> None:
    version = version_filter(NOW, 910, 0)
    assert readmit_after(NOW, 910, version, 0) == 1_800_000_911
    assert readmit_after(NOW, 910, version, 1_900_000_000) == 1_900_000_000
    old = version_filter(NOW, 910, 0, 1_700_000_000)
    assert readmit_after(NOW, 910, old, 0) == math.ceil(NOW), "every clock is past it already"


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ("QSFC", State.QUEUED),
        ("SFC", State.FAILED),
        ("SC", State.SENT),
        ("CC", State.CANCELLED),
    ],
)
def test_a_revocation_is_as_far_as_the_part_that_is_least_well_off(states: str, whole: State) -> None:
    letters = {"Q": State.QUEUED, "S": State.SENT, "F": State.FAILED, "C": State.CANCELLED}
    assert overall(letters[letter] for letter in states) is whole
    assert overall(letters[letter] for letter in reversed(states)) is whole

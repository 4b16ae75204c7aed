"""The arithmetic of session versions: no token from a stale worker outlives a revocation."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.revocations.model import (
    MINIMUM_AHEAD_MAX_SECONDS,
    RevocationState,
    denied_until,
    overall_state,
    readmit_after,
    restriction_after,
    versions_up_to,
)
from tokensvc.tokens.denylist import VERSION_STEP_SECONDS, ViewerRestriction, session_version

pytestmark = pytest.mark.slow

NOW = 1_800_000_000.25
LEASE, TIMEOUT = 60.0, 5.0
REACH = LEASE + TIMEOUT + CLOCK_SKEW_SECONDS


class Revoked(NamedTuple):
    """One revocation, with the store's time when it was computed and when it was committed."""

    at: float
    committed_at: float
    issued_before: int | None
    version: int
    restriction: ViewerRestriction


class Issued(NamedTuple):
    """One token: its second of issue by its worker's clock, its version, and how many revocations the worker knew."""

    second: int
    version: int
    known: int


def revoked_at(times: list[tuple[float, float, int | None]]) -> list[Revoked]:
    """Successive revocations of one viewer, from each gap, time to commit, and `issued_before` as an age."""
    revocations: list[Revoked] = []
    now, restriction = NOW, ViewerRestriction()
    for gap, commit, age in times:
        now += gap
        issued_before = None if age is None else math.floor(now) - age
        version = versions_up_to(now, REACH, restriction, issued_before)
        restriction = restriction_after(now, restriction, version, issued_before)
        revocations.append(Revoked(now, now + commit, issued_before, version, restriction))
        now += commit
    return revocations


def issue(revocations: list[Revoked], at: float, staleness: float, skew: float) -> Issued:
    """A token issued at that instant by a worker with a snapshot that stale and a clock that far ahead."""
    known = sum(revoked.committed_at <= at - staleness for revoked in revocations)
    second = math.floor(at + skew)
    restriction = revocations[known - 1].restriction if known else ViewerRestriction()
    return Issued(second, session_version(second, restriction.lowest_version(second)), known)


gaps = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0, 300))
commits = st.floats(0, TIMEOUT)
histories = st.lists(st.tuples(gaps, commits, st.none()), min_size=1, max_size=6)
aged = st.lists(st.tuples(gaps, commits, st.one_of(st.none(), st.integers(0, 200))), min_size=1, max_size=6)
skews = st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)
mints = st.lists(st.tuples(st.floats(-100, 600), st.floats(0, LEASE), skews), max_size=30)


@given(times=aged, tokens=mints)
def test_a_revocation_ends_exactly_the_tokens_of_workers_that_do_not_know_it(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """However stale and skewed the workers are, also with two revocations in one second and readmissions between."""
    revocations = revoked_at(times)
    for offset, staleness, skew in tokens:
        token = issue(revocations, NOW + offset, staleness, skew)
        for number, revoked in enumerate(revocations):
            if revoked.issued_before is None:
                assert (token.version <= revoked.version) is (number >= token.known)


def ended_by_another(revocations: list[Revoked], token: Issued) -> bool:
    return any(r.issued_before is None and token.version <= r.version for r in revocations)


@given(times=aged, tokens=mints)
def test_a_revocation_with_issued_before_never_ends_a_later_token(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """Whatever was revoked before and after it: each revocation only ends its own tokens."""
    revocations = revoked_at(times)
    for offset, staleness, skew in tokens:
        token = issue(revocations, NOW + offset, staleness, skew)
        for revoked in revocations:
            if revoked.issued_before is not None and token.version <= revoked.version:
                assert token.second < revoked.issued_before or ended_by_another(revocations, token)


@given(times=aged, tokens=mints)
def test_tokens_issued_before_the_instant_are_ended(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """By this or another revocation. While the minimum is ahead of the clock, tokens of one step share a version; and a
    worker that knows a revocation accepted at that instant or later signs after it, whatever its clock says."""
    revocations = revoked_at(times)
    for offset, staleness, skew in tokens:
        token = issue(revocations, NOW + offset, staleness, skew)
        for number, revoked in enumerate(revocations):
            if revoked.issued_before is None or token.known > number:
                continue
            if token.known and math.floor(revocations[token.known - 1].at) >= revoked.issued_before:
                continue
            if token.version > max(r.version for r in revocations):
                ramp = token.version > token.second
                assert token.second >= revoked.issued_before - (VERSION_STEP_SECONDS - 1 if ramp else 0)


@given(times=aged)
def test_minimums_never_decrease_and_filters_are_valid_for_ivs(times: list[tuple[float, float, int | None]]) -> None:
    revocations = revoked_at(times)
    for before, after in itertools.pairwise([ViewerRestriction(), *(r.restriction for r in revocations)]):
        assert after.minimum_version >= before.minimum_version
    full = [r.version for r in revocations if r.issued_before is None]
    assert full == sorted(set(full))
    assert all(r.version >= 0 for r in revocations), "IVS accepts no filter below 0"


@given(times=aged)
@example(times=[(0.0, 0.0, None), (130.0, 0.0, 10)])
def test_every_version_that_was_ended_is_below_the_minimum(times: list[tuple[float, float, int | None]]) -> None:
    """`/authorize` ends the sessions of versions below it, also of tokens with versions ahead of the clock."""
    for revoked in revoked_at(times):
        assert revoked.version < revoked.restriction.minimum_version


@given(times=aged, seconds=st.lists(st.integers(0, 2000), min_size=1, max_size=30))
def test_an_instant_does_not_change_the_versions_of_later_tokens(
    times: list[tuple[float, float, int | None]], seconds: list[int]
) -> None:
    """Only the minimum below them, which nobody who is in sync reaches."""
    before, restriction = revoked_at(times)[-1], revoked_at([*times, (60.0, 0.0, 0)])[-1].restriction
    for second in (math.floor(before.committed_at) + 61 + later for later in seconds):
        unchanged = session_version(second, before.restriction.lowest_version(second))
        assert session_version(second, restriction.lowest_version(second)) == unchanged


@given(times=aged, seconds=st.lists(st.integers(0, 2000), min_size=2, max_size=30))
def test_versions_rise_with_the_time_of_issue(times: list[tuple[float, float, int | None]], seconds: list[int]) -> None:
    """For a worker that is always in sync, across all revocations until their restrictions have expired."""
    revocations = revoked_at(times)
    tokens = [issue(revocations, NOW + offset, 0.0, 0.0) for offset in sorted(seconds)]
    for earlier, later in itertools.pairwise(tokens):
        assert earlier.version <= later.version
        assert earlier.version < later.version or later.second - earlier.second < VERSION_STEP_SECONDS


@given(times=aged, tokens=mints, deny=st.one_of(st.none(), st.integers(0, 100)))
@example(times=[(0.0, 0.0, 0), (0.0, 0.0, 4)], tokens=[(0.0, 1.0, -2.0)], deny=None)
def test_after_readmission_every_worker_issues_a_valid_token(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]], deny: int | None
) -> None:
    """Whatever was revoked before."""
    revocations = revoked_at(times)
    last = revocations[-1]
    until = denied_until(last.at, REACH, last.issued_before, deny)
    readmit = readmit_after(last.at, REACH, last.version, last.restriction._replace(denied_until=until))
    assert readmit >= max(until, last.at)
    for offset, staleness, skew in tokens:
        token = issue(revocations, readmit + max(offset, 0.0), staleness, skew)
        assert token.version > max(r.version for r in revocations)


def test_an_earlier_revocation_does_not_raise_the_filter_of_issued_before() -> None:
    """The viewer was revoked ten seconds ago and is back: `issued_before` of an hour ago does not end its new token."""
    full = versions_up_to(NOW - 10, 910, ViewerRestriction())
    restriction = restriction_after(NOW - 10, ViewerRestriction(), full)
    token = session_version(math.floor(NOW), restriction.lowest_version(math.floor(NOW)))
    an_hour_ago = math.floor(NOW) - 3600
    assert versions_up_to(NOW, 910, restriction, an_hour_ago) == an_hour_ago - 1 < token


def test_issued_before_separates_tokens_that_were_issued_after_a_revocation() -> None:
    """The viewer was readmitted immediately, and its tokens have versions ahead of the clock."""
    now = math.floor(NOW)
    restriction = restriction_after(now, ViewerRestriction(), versions_up_to(now, 910, ViewerRestriction()))
    old, new = (session_version(at, restriction.lowest_version(at)) for at in (now + 60, now + 120))
    assert old <= versions_up_to(now + 130, 910, restriction, now + 120) < new


def test_hundreds_of_revocations_of_one_viewer_keep_its_versions_near_the_clock() -> None:
    restriction = ViewerRestriction()
    for _ in range(10_000):
        version = versions_up_to(NOW, 910, restriction)
        assert version >= restriction.minimum_version
        restriction = restriction_after(NOW, restriction, version)
    assert restriction.minimum_version < NOW + MINIMUM_AHEAD_MAX_SECONDS + 12_000


def test_by_default_every_token_issued_until_now_is_ended() -> None:
    """Plus max_staleness, since a stale worker may sign for that long; so the filter is never 0, IVS's default."""
    assert versions_up_to(NOW, 910, ViewerRestriction()) == math.floor(NOW) + 910
    assert versions_up_to(0.0, 0.0, ViewerRestriction()) == 0


def test_a_second_revocation_in_the_same_second_ends_tokens_issued_in_between() -> None:
    now = math.floor(NOW)
    first = versions_up_to(NOW, 910, ViewerRestriction())
    restriction = restriction_after(NOW, ViewerRestriction(), first)
    between = session_version(now, restriction.lowest_version(now))
    second = versions_up_to(NOW, 910, restriction)
    after = restriction_after(NOW, restriction, second)
    assert first < between <= second < session_version(now, after.lowest_version(now))


def test_issued_before_ends_older_tokens_and_keeps_newer_ones() -> None:
    """To the second, by the clocks of the issuing workers."""
    before = math.floor(NOW) - 3600
    version = versions_up_to(NOW, 910, ViewerRestriction(), before)
    assert version == before - 1
    assert restriction_after(NOW, ViewerRestriction(), version, before) == ViewerRestriction(0, before)


@pytest.mark.parametrize(
    ("issued_before", "deny_seconds", "until"),
    [
        pytest.param(None, None, 1_800_000_911, id="until every worker is in sync"),
        pytest.param(1_700_000_000, None, 0, id="none, since later tokens stay valid"),
        pytest.param(None, 0, 0, id="none requested"),
        pytest.param(None, 60, 1_800_000_061, id="a minute requested"),
        pytest.param(1_700_000_000, 60, 1_800_000_061, id="a minute requested, with issued_before"),
    ],
)
def test_how_long_a_viewer_is_denied(issued_before: int | None, deny_seconds: int | None, until: int) -> None:
    assert denied_until(NOW, 910, issued_before, deny_seconds) == until


def test_readmission_waits_for_the_workers_and_for_the_denial() -> None:
    version = versions_up_to(NOW, 910, ViewerRestriction())
    restriction = restriction_after(NOW, ViewerRestriction(), version)
    assert readmit_after(NOW, 910, version, restriction) == 1_800_000_911
    assert readmit_after(NOW, 910, version, restriction._replace(denied_until=1_900_000_000)) == 1_900_000_000
    old = versions_up_to(NOW, 910, ViewerRestriction(), 1_700_000_000)
    assert readmit_after(NOW, 910, old, ViewerRestriction(0, 1_700_000_000)) == math.ceil(NOW), (
        "every clock has passed it"
    )
    assert readmit_after(NOW, 910, old, restriction) == 1_800_000_911, (
        "some workers do not know the earlier revocation yet"
    )


@pytest.mark.parametrize(
    ("states", "overall"),
    [
        ("QSFC", RevocationState.QUEUED),
        ("SFC", RevocationState.FAILED),
        ("SC", RevocationState.SENT),
        ("CC", RevocationState.CANCELLED),
    ],
)
def test_the_overall_state_follows_from_the_targets_states(states: str, overall: RevocationState) -> None:
    letters = {
        "Q": RevocationState.QUEUED,
        "S": RevocationState.SENT,
        "F": RevocationState.FAILED,
        "C": RevocationState.CANCELLED,
    }
    assert overall_state(letters[letter] for letter in states) is overall
    assert overall_state(letters[letter] for letter in reversed(states)) is overall

"""The arithmetic of session versions: no token from a worker that has not heard outlives a revocation."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
from hypothesis import given
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

NOW = 1_800_000_000.25
LEASE, TIMEOUT = 60.0, 5.0
REACH = LEASE + TIMEOUT + CLOCK_SKEW_SECONDS


class Revoked(NamedTuple):
    """One revocation as it went: the store's clock when it was worked out and when it was committed."""

    at: float
    committed_at: float
    issued_before: int | None
    version: int
    standing: ViewerRestriction


class Minted(NamedTuple):
    """One token: its second of issue by its worker's clock, its version, and how many revocations the worker knew."""

    second: int
    version: int
    known: int


def revoked_at(times: list[tuple[float, float, int | None]]) -> list[Revoked]:
    """Revocations of one viewer, one after the other: each gap, time to commit, and `issued_before` as an age."""
    done: list[Revoked] = []
    now, standing = NOW, ViewerRestriction()
    for gap, commit, age in times:
        now += gap
        issued_before = None if age is None else math.floor(now) - age
        version = versions_up_to(now, REACH, standing, issued_before)
        standing = restriction_after(now, standing, version, issued_before)
        done.append(Revoked(now, now + commit, issued_before, version, standing))
        now += commit
    return done


def minted(done: list[Revoked], at: float, age: float, skew: float) -> Minted:
    """A token minted then by a worker whose snapshot is that old and whose clock is that far ahead."""
    known = sum(revoked.committed_at <= at - age for revoked in done)
    second = math.floor(at + skew)
    standing = done[known - 1].standing if known else ViewerRestriction()
    return Minted(second, session_version(second, standing.lowest_version(second)), known)


gaps = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0, 300))
commits = st.floats(0, TIMEOUT)
histories = st.lists(st.tuples(gaps, commits, st.none()), min_size=1, max_size=6)
aged = st.lists(st.tuples(gaps, commits, st.one_of(st.none(), st.integers(0, 200))), min_size=1, max_size=6)
skews = st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)
mints = st.lists(st.tuples(st.floats(-100, 600), st.floats(0, LEASE), skews), max_size=30)


@given(times=aged, tokens=mints)
def test_a_revocation_of_everything_ends_what_workers_sign_that_do_not_know_it_and_nothing_else(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """However stale and skewed the workers are; two revocations in one second, re-admissions between them included."""
    done = revoked_at(times)
    for offset, age, skew in tokens:
        token = minted(done, NOW + offset, age, skew)
        for number, revoked in enumerate(done):
            if revoked.issued_before is None:
                assert (token.version <= revoked.version) is (number >= token.known)


def ended_by_another(done: list[Revoked], token: Minted) -> bool:
    return any(r.issued_before is None and token.version <= r.version for r in done)


@given(times=aged, tokens=mints)
def test_a_revocation_with_an_instant_never_ends_what_was_issued_after_it(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """Whatever was revoked before and after it: what one of everything has to end is that one's own."""
    done = revoked_at(times)
    for offset, age, skew in tokens:
        token = minted(done, NOW + offset, age, skew)
        for revoked in done:
            if revoked.issued_before is not None and token.version <= revoked.version:
                assert token.second < revoked.issued_before or ended_by_another(done, token)


@given(times=aged, tokens=mints)
def test_what_was_issued_before_an_instant_is_ended(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]]
) -> None:
    """By it, or by another revocation. While the minimum is ahead of the clock, a step of time is one version;
    who signs knowing of a revocation of that instant, or of a later one, signs after it, whatever the clock says."""
    done = revoked_at(times)
    for offset, age, skew in tokens:
        token = minted(done, NOW + offset, age, skew)
        for number, revoked in enumerate(done):
            if revoked.issued_before is None or token.known > number:
                continue
            if token.known and math.floor(done[token.known - 1].at) >= revoked.issued_before:
                continue
            if token.version > max(r.version for r in done):
                ramp = token.version > token.second
                assert token.second >= revoked.issued_before - (VERSION_STEP_SECONDS - 1 if ramp else 0)


@given(times=aged)
def test_minimums_never_fall_and_filters_are_what_ivs_takes(times: list[tuple[float, float, int | None]]) -> None:
    done = revoked_at(times)
    for before, after in itertools.pairwise([ViewerRestriction(), *(r.standing for r in done)]):
        assert after.minimum_version >= before.minimum_version
    everything = [r.version for r in done if r.issued_before is None]
    assert everything == sorted(set(everything))
    assert all(r.version >= 0 for r in done), "IVS takes no filter below 0"


@given(times=aged, seconds=st.lists(st.integers(0, 2000), min_size=2, max_size=30))
def test_versions_rise_with_the_time_of_issue(times: list[tuple[float, float, int | None]], seconds: list[int]) -> None:
    """Of a worker that knows everything at once, from each revocation to the next and on to where nothing matters."""
    done = revoked_at(times)
    tokens = [minted(done, NOW + offset, 0.0, 0.0) for offset in sorted(seconds)]
    for earlier, later in itertools.pairwise(tokens):
        assert earlier.version <= later.version
        assert earlier.version < later.version or later.second - earlier.second < VERSION_STEP_SECONDS


@given(times=aged, tokens=mints, deny=st.one_of(st.none(), st.integers(0, 100)))
def test_after_the_readmission_every_worker_gives_a_token_that_lives(
    times: list[tuple[float, float, int | None]], tokens: list[tuple[float, float, float]], deny: int | None
) -> None:
    """Whatever was revoked before."""
    done = revoked_at(times)
    last = done[-1]
    until = denied_until(last.at, REACH, last.issued_before, deny)
    readmit = readmit_after(last.at, REACH, last.version, last.standing._replace(denied_until=until))
    assert readmit >= max(until, last.at)
    for offset, staleness, skew in tokens:
        token = minted(done, readmit + max(offset, 0.0), staleness, skew)
        assert token.version > max(r.version for r in done)


def test_an_earlier_revocation_does_not_raise_the_filter_of_an_instant() -> None:
    """One of everything ten seconds ago, and the viewer is back: an instant of an hour ago does not end its token."""
    everything = versions_up_to(NOW - 10, 910, ViewerRestriction())
    standing = restriction_after(NOW - 10, ViewerRestriction(), everything)
    token = session_version(math.floor(NOW), standing.lowest_version(math.floor(NOW)))
    an_hour_ago = math.floor(NOW) - 3600
    assert versions_up_to(NOW, 910, standing, an_hour_ago) == an_hour_ago - 1 < token


def test_an_instant_tells_tokens_apart_that_were_issued_after_a_revocation_of_everything() -> None:
    """The viewer was let in again at once, and its tokens have versions ahead of the clock."""
    now = math.floor(NOW)
    standing = restriction_after(now, ViewerRestriction(), versions_up_to(now, 910, ViewerRestriction()))
    old, new = (session_version(at, standing.lowest_version(at)) for at in (now + 60, now + 120))
    assert old <= versions_up_to(now + 130, 910, standing, now + 120) < new


def test_hundreds_of_revocations_of_one_viewer_keep_its_versions_near_the_clock() -> None:
    standing = ViewerRestriction()
    for _ in range(10_000):
        version = versions_up_to(NOW, 910, standing)
        assert version >= standing.minimum_version
        standing = restriction_after(NOW, standing, version)
    assert standing.minimum_version < NOW + MINIMUM_AHEAD_MAX_SECONDS + 12_000


def test_by_default_all_that_was_issued_until_now_ends() -> None:
    """With R on top, since a worker may go on for that long before it hears; so never 0, the default that IVS takes."""
    assert versions_up_to(NOW, 910, ViewerRestriction()) == math.floor(NOW) + 910
    assert versions_up_to(0.0, 0.0, ViewerRestriction()) == 0


def test_a_second_revocation_in_the_same_second_ends_what_was_issued_between_them() -> None:
    now = math.floor(NOW)
    first = versions_up_to(NOW, 910, ViewerRestriction())
    standing = restriction_after(NOW, ViewerRestriction(), first)
    between = session_version(now, standing.lowest_version(now))
    second = versions_up_to(NOW, 910, standing)
    after = restriction_after(NOW, standing, second)
    assert first < between <= second < session_version(now, after.lowest_version(now))


def test_an_instant_ends_what_is_older_and_spares_what_is_newer() -> None:
    """To the second, by the clocks that issued the tokens."""
    before = math.floor(NOW) - 3600
    version = versions_up_to(NOW, 910, ViewerRestriction(), before)
    assert version == before - 1
    assert restriction_after(NOW, ViewerRestriction(), version, before) == ViewerRestriction(0, before)


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
    version = versions_up_to(NOW, 910, ViewerRestriction())
    standing = restriction_after(NOW, ViewerRestriction(), version)
    assert readmit_after(NOW, 910, version, standing) == 1_800_000_911
    assert readmit_after(NOW, 910, version, standing._replace(denied_until=1_900_000_000)) == 1_900_000_000
    old = versions_up_to(NOW, 910, ViewerRestriction(), 1_700_000_000)
    assert readmit_after(NOW, 910, old, ViewerRestriction(0, 1_700_000_000)) == math.ceil(NOW), (
        "every clock is past it already"
    )
    assert readmit_after(NOW, 910, old, standing) == 1_800_000_911, "one of everything is not known everywhere yet"


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ("QSFC", RevocationState.QUEUED),
        ("SFC", RevocationState.FAILED),
        ("SC", RevocationState.SENT),
        ("CC", RevocationState.CANCELLED),
    ],
)
def test_a_revocation_is_as_far_as_the_part_that_is_least_well_off(states: str, whole: RevocationState) -> None:
    letters = {
        "Q": RevocationState.QUEUED,
        "S": RevocationState.SENT,
        "F": RevocationState.FAILED,
        "C": RevocationState.CANCELLED,
    }
    assert overall_state(letters[letter] for letter in states) is whole
    assert overall_state(letters[letter] for letter in reversed(states)) is whole

"""Tokens for a revoked viewer, however outdated the worker's snapshot is and whatever its clock says."""

from __future__ import annotations

import math
import uuid
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import START
from tests.support.tokens import CHANNEL, OTHER_CHANNEL, SUBJECT_KEY, Prepared
from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import ViewerDenied
from tokensvc.revocations.model import denied_until, restriction_after, versions_up_to
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import Denylist, ViewerRestriction, viewer_digest
from tokensvc.tokens.issuer import UnsignedToken, prepare
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_ids import viewer_id

LEASE, TIMEOUT = 60.0, 5.0
MAX_STALENESS_SECONDS = LEASE + TIMEOUT + CLOCK_SKEW_SECONDS
KEY = SigningKey("k1", Prepared(lambda _data: bytes(96)), 600)
SNAPSHOT = Snapshot(
    Keyring({CHANNEL.account_region: RegionKeys(KEY, {})}), subject_key=SUBJECT_KEY, max_ttl_seconds=600
)
LIMITS = TokenLimits(600, "default")
NOW = int(START)


def issued(denylist: Denylist, now: int = NOW, **viewer_fields: str) -> UnsignedToken:
    request = parse_token_request({"channelArn": str(CHANNEL)} | (viewer_fields or {"viewerId": "v"}))
    return prepare(request, LIMITS, SNAPSHOT._replace(denylist=denylist), now, uuid.uuid4)


def denylist_with(viewer: str, restriction: ViewerRestriction, channel: str = str(CHANNEL)) -> Denylist:
    denied = Denylist()
    denied.apply([(viewer_digest(channel, viewer), restriction)], NOW)
    return denied


@pytest.mark.parametrize("channel", [str(CHANNEL), ALL_CHANNELS])
def test_a_denied_viewer_gets_no_token_and_the_error_says_until_when(channel: str) -> None:
    with pytest.raises(ViewerDenied, match="until 2027-01-15T08:01:00Z"):
        issued(denylist_with("v", ViewerRestriction(NOW + 60), channel))
    assert issued(denylist_with("v", ViewerRestriction(NOW + 60), channel), NOW + 60).signed()
    assert issued(denylist_with("w", ViewerRestriction(NOW + 60), channel)).signed()
    assert issued(denylist_with("v", ViewerRestriction(NOW + 60), str(OTHER_CHANNEL))).signed()


def test_a_subject_is_denied_by_its_viewer_id() -> None:
    viewer = viewer_id(SUBJECT_KEY, LIMITS.namespace, "jane")
    denied = denylist_with(viewer, ViewerRestriction(NOW + 60))
    with pytest.raises(ViewerDenied):
        issued(denied, subject="jane")
    with pytest.raises(ViewerDenied):
        issued(denied, viewerId=viewer)
    assert issued(denied, subject="joan").signed()


def test_a_subject_is_denied_under_every_version_of_the_subject_key() -> None:
    """A revocation by subject denies the viewer ids of every stored version."""
    older = bytes(reversed(SUBJECT_KEY))
    denied = Denylist()
    for key in (SUBJECT_KEY, older):
        viewer_fields = viewer_digest(str(CHANNEL), viewer_id(key, LIMITS.namespace, "jane"))
        denied.apply([(viewer_fields, ViewerRestriction(NOW + 60, NOW + 911))], NOW)
    request = parse_token_request({"channelArn": str(CHANNEL), "subject": "jane"})
    for key in (SUBJECT_KEY, older):
        snapshot = SNAPSHOT._replace(denylist=denied, subject_key=key)
        with pytest.raises(ViewerDenied):
            prepare(request, LIMITS, snapshot, NOW, uuid.uuid4)
        assert prepare(request, LIMITS, snapshot, NOW + 60, uuid.uuid4).viewer_session_version == NOW + 911


def test_an_anonymous_viewer_cannot_be_denied() -> None:
    """Not even by a denial of an empty viewer id."""
    request = parse_token_request({"channelArn": str(CHANNEL)})
    for name in ("", "None"):
        snapshot = SNAPSHOT._replace(denylist=denylist_with(name, ViewerRestriction(NOW + 60), ALL_CHANNELS))
        assert prepare(request, LIMITS, snapshot, NOW, uuid.uuid4).viewer_session_version is None


def test_a_token_carries_the_second_of_issue_or_the_viewers_minimum_version() -> None:
    assert issued(Denylist()).viewer_session_version == NOW
    assert issued(denylist_with("v", ViewerRestriction(0, NOW + 911))).viewer_session_version == NOW + 911
    assert issued(denylist_with("v", ViewerRestriction(0, NOW + 911)), NOW + 912).viewer_session_version == NOW + 912


class Revoked(NamedTuple):
    """One revocation, as the store computed and committed it."""

    at: float
    committed_at: float
    version: int
    restriction: ViewerRestriction


def history(times: list[tuple[float, float, int | None]]) -> list[Revoked]:
    """Consecutive revocations of one viewer, each with the gap before it, its commit time and the length of its
    denial."""
    done: list[Revoked] = []
    now, restriction = START, ViewerRestriction()
    for gap, commit, deny in times:
        now += gap
        version = versions_up_to(now, MAX_STALENESS_SECONDS, restriction)
        until = max(restriction.denied_until, denied_until(now, MAX_STALENESS_SECONDS, None, deny))
        restriction = restriction_after(now, restriction, version)._replace(denied_until=until)
        done.append(Revoked(now, now + commit, version, restriction))
        now += commit
    return done


gaps = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0, 200))
histories = st.lists(
    st.tuples(gaps, st.floats(0, TIMEOUT), st.one_of(st.none(), st.integers(0, 100))), min_size=1, max_size=5
)
request_times = st.lists(
    st.tuples(st.floats(-50, 600), st.floats(0, LEASE), st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)),
    max_size=20,
)


@pytest.mark.slow
@given(times=histories, requests=request_times)
def test_any_token_after_a_revocation_is_revoked_or_a_readmission(
    times: list[tuple[float, float, int | None]], requests: list[tuple[float, float, float]]
) -> None:
    """For any snapshot age within the lease and any clock error within the skew."""
    done = history(times)
    for offset, age, skew in requests:
        at = START + offset
        now = math.floor(at + skew)
        seen = [revoked for revoked in done if revoked.committed_at <= at - age]
        denied = Denylist()
        for revoked in seen:
            denied.apply([(viewer_digest(str(CHANNEL), "v"), revoked.restriction)], at - age - CLOCK_SKEW_SECONDS)
        try:
            version = issued(denied, now).viewer_session_version
        except ViewerDenied:
            assert now < max(revoked.restriction.denied_until for revoked in seen)
            continue
        assert version is not None
        for revoked in done:
            if revoked in seen:
                assert version > revoked.version, "readmitted viewers can play"
                assert now >= revoked.restriction.denied_until
            else:
                assert version <= revoked.version, "tokens from an outdated snapshot are revoked"

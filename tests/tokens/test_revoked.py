"""What the hot path mints for a viewer who was revoked, whatever the worker has heard and whatever its clock says."""

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
REACH = LEASE + TIMEOUT + CLOCK_SKEW_SECONDS
KEY = SigningKey("k1", Prepared(lambda _data: bytes(96)), 600)
SNAPSHOT = Snapshot(
    Keyring({CHANNEL.account_region: RegionKeys(KEY, {})}), subject_key=SUBJECT_KEY, max_ttl_seconds=600
)
GRANT = TokenLimits(600, "default")
NOW = int(START)


def minted(denylist: Denylist, now: int = NOW, **who: str) -> UnsignedToken:
    ask = parse_token_request({"channelArn": str(CHANNEL)} | (who or {"viewerId": "v"}))
    return prepare(ask, GRANT, SNAPSHOT._replace(denylist=denylist), now, uuid.uuid4)


def knowing(viewer: str, standing: ViewerRestriction, channel: str = str(CHANNEL)) -> Denylist:
    denied = Denylist()
    denied.apply([(viewer_digest(channel, viewer), standing)], NOW)
    return denied


@pytest.mark.parametrize("channel", [str(CHANNEL), ALL_CHANNELS])
def test_a_denied_viewer_gets_no_token_and_is_told_until_when(channel: str) -> None:
    with pytest.raises(ViewerDenied, match="until 2027-01-15T08:01:00Z"):
        minted(knowing("v", ViewerRestriction(NOW + 60), channel))
    assert minted(knowing("v", ViewerRestriction(NOW + 60), channel), NOW + 60).signed()
    assert minted(knowing("w", ViewerRestriction(NOW + 60), channel)).signed()
    assert minted(knowing("v", ViewerRestriction(NOW + 60), str(OTHER_CHANNEL))).signed()


def test_a_subject_is_denied_by_the_viewer_id_that_it_becomes() -> None:
    viewer = viewer_id(SUBJECT_KEY, GRANT.namespace, "jane")
    denied = knowing(viewer, ViewerRestriction(NOW + 60))
    with pytest.raises(ViewerDenied):
        minted(denied, subject="jane")
    with pytest.raises(ViewerDenied):
        minted(denied, viewerId=viewer)
    assert minted(denied, subject="joan").signed()


def test_a_subject_is_out_whichever_version_of_the_subject_key_a_worker_goes_by() -> None:
    """As a revocation by subject writes it: under every version that is kept."""
    older = bytes(reversed(SUBJECT_KEY))
    denied = Denylist()
    for key in (SUBJECT_KEY, older):
        who = viewer_digest(str(CHANNEL), viewer_id(key, GRANT.namespace, "jane"))
        denied.apply([(who, ViewerRestriction(NOW + 60, NOW + 911))], NOW)
    ask = parse_token_request({"channelArn": str(CHANNEL), "subject": "jane"})
    for key in (SUBJECT_KEY, older):
        snapshot = SNAPSHOT._replace(denylist=denied, subject_key=key)
        with pytest.raises(ViewerDenied):
            prepare(ask, GRANT, snapshot, NOW, uuid.uuid4)
        assert prepare(ask, GRANT, snapshot, NOW + 60, uuid.uuid4).viewer_session_version == NOW + 911


def test_who_is_nobody_cannot_be_denied() -> None:
    """Not even by a denial of nobody."""
    ask = parse_token_request({"channelArn": str(CHANNEL)})
    for name in ("", "None"):
        snapshot = SNAPSHOT._replace(denylist=knowing(name, ViewerRestriction(NOW + 60), ALL_CHANNELS))
        assert prepare(ask, GRANT, snapshot, NOW, uuid.uuid4).viewer_session_version is None


def test_a_token_carries_the_second_of_issue_or_the_viewers_minimum_version() -> None:
    assert minted(Denylist()).viewer_session_version == NOW
    assert minted(knowing("v", ViewerRestriction(0, NOW + 911))).viewer_session_version == NOW + 911
    assert minted(knowing("v", ViewerRestriction(0, NOW + 911)), NOW + 912).viewer_session_version == NOW + 912


class Revoked(NamedTuple):
    """One revocation as the store worked it out and committed it."""

    at: float
    committed_at: float
    version: int
    standing: ViewerRestriction


def history(times: list[tuple[float, float, int | None]]) -> list[Revoked]:
    """Revocations of one viewer, each a gap after the other, by how long it took to commit and how long it denies."""
    done: list[Revoked] = []
    now, standing = START, ViewerRestriction()
    for gap, commit, deny in times:
        now += gap
        version = versions_up_to(now, REACH, standing)
        until = max(standing.denied_until, denied_until(now, REACH, None, deny))
        standing = restriction_after(now, standing, version)._replace(denied_until=until)
        done.append(Revoked(now, now + commit, version, standing))
        now += commit
    return done


gaps = st.one_of(st.just(0.0), st.floats(0, 0.9), st.floats(0, 200))
histories = st.lists(
    st.tuples(gaps, st.floats(0, TIMEOUT), st.one_of(st.none(), st.integers(0, 100))), min_size=1, max_size=5
)
asked = st.lists(
    st.tuples(st.floats(-50, 600), st.floats(0, LEASE), st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)),
    max_size=20,
)


@given(times=histories, asks=asked)
def test_whatever_a_worker_mints_after_a_revocation_dies_by_it_or_is_a_readmission(
    times: list[tuple[float, float, int | None]], asks: list[tuple[float, float, float]]
) -> None:
    """However old its snapshot is, within the lease, and wherever its clock is, within the skew."""
    done = history(times)
    for offset, age, skew in asks:
        at = START + offset
        now = math.floor(at + skew)
        heard = [revoked for revoked in done if revoked.committed_at <= at - age]
        denied = Denylist()
        for revoked in heard:
            denied.apply([(viewer_digest(str(CHANNEL), "v"), revoked.standing)], at - age - CLOCK_SKEW_SECONDS)
        try:
            version = minted(denied, now).viewer_session_version
        except ViewerDenied:
            assert now < max(revoked.standing.denied_until for revoked in heard)
            continue
        assert version is not None
        for revoked in done:
            if revoked in heard:
                assert version > revoked.version, "it was let in again, and plays"
                assert now >= revoked.standing.denied_until
            else:
                assert version <= revoked.version, "it was minted on old news, and dies"

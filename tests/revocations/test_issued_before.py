"""Histories of revocations with and without `issued_before`, checked against what the local IVS has recorded: tokens
that a revocation covers are ended, tokens that were issued after all of them stay valid."""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import EVERYONE, make_due
from tests.support.audit import EVENT
from tests.support.dispatchers import DispatchScenario
from tests.support.local_control_plane import ACCOUNT_REGION, LocalControlPlane
from tests.support.tokens import Prepared, raw_sign
from tokensvc.aws.arn import parse_arn
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.versions import Position
from tokensvc.errors import ControlPlaneError, ControlPlaneResourceMissing, ControlPlaneThrottled, ViewerDenied
from tokensvc.jose.keypair import PrivateKey
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.store import NewRevocation
from tokensvc.storage import revocation_writer
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import VERSION_STEP_SECONDS, Denylist, ViewerRestriction, viewer_digest
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, validate

pytestmark = pytest.mark.slow

LEASE = 60.0
REACH = LEASE + CLOCK_SKEW_SECONDS
OPERATIONS = ("StartViewerSessionRevocation", "BatchStartViewerSessionRevocation")
_names = itertools.count()


class Requested(NamedTuple):
    """An accepted revocation."""

    id: str
    at: float
    issued_before: int | None
    version: int


class Issued(NamedTuple):
    """A token: its second of issue by its worker's clock, and the number of revocations that the worker knew."""

    token: str
    second: int
    version: int
    known: int


class History:
    """The history of one viewer of one channel. The test sets the time, also for the store; it is in the past, so that
    everything queued is due."""

    def __init__(self, dispatch: DispatchScenario, key: PrivateKey) -> None:
        self.dispatch = dispatch
        self.store = dispatch.store
        self.viewer = f"viewer-{next(_names)}"
        self.now = math.floor(time.time()) - 1_000_000 + 0.25
        self.requested: list[Requested] = []
        self.issued: list[Issued] = []
        self.restrictions = [ViewerRestriction()]
        """The restriction in the store after each revocation."""
        self.unexpected_filters: list[int] = []
        """Filters sent to IVS that do not belong to any active revocation."""
        self._key = key
        self._keyring = Keyring(
            {ACCOUNT_REGION: RegionKeys(SigningKey("k1", Prepared(lambda data: raw_sign(key, data)), 600), {})}
        )

    def revoke(self, age: int | None, deny_seconds: int | None) -> None:
        """Accept a revocation, with `issued_before` if an age is given."""
        name = f"{self.viewer}-{len(self.requested)}"
        issued_before = None if age is None else math.floor(self.now) - age
        new = NewRevocation(name, (self.dispatch.channel,), (self.viewer,), issued_before, deny_seconds)
        with write_transaction(self.store.engine) as connection:
            [accepted] = revocation_writer.write_revocations(
                connection, "backend", [new], Priority.INTERACTIVE, REACH, self.now
            )
        self.requested.append(Requested(name, self.now, issued_before, accepted.version))
        digest = viewer_digest(self.dispatch.channel, self.viewer)
        rows = {row.digest: row.restriction for row in self.store.denials.changed_since(Position(), 10_000).rows}
        assert rows[digest].minimum_version >= self.restrictions[-1].minimum_version, "the minimum never decreases"
        self.restrictions.append(rows[digest])

    def issue(self, older: int, skew: int) -> None:
        """Request a token from a worker that does not know the last `older` revocations, if its lease allows that."""
        known = max(0, len(self.requested) - older)
        while known < len(self.requested) and self.requested[known].at + LEASE < self.now:
            known += 1
        second = math.floor(self.now + skew)
        denylist = Denylist()
        denylist.apply(
            [(viewer_digest(self.dispatch.channel, self.viewer), self.restrictions[known])], self.now - 2 * LEASE
        )
        snapshot = Snapshot(self._keyring, max_ttl_seconds=600, denylist=denylist)
        request = parse_token_request({"channelArn": self.dispatch.channel, "viewerId": self.viewer})
        try:
            unsigned = prepare(request, TokenLimits(600, "default"), snapshot, second, uuid.uuid4)
        except ViewerDenied:
            return
        assert unsigned.viewer_session_version is not None
        self.issued.append(Issued(unsigned.signed(), second, unsigned.viewer_session_version, known))

    def deliver(self, failure: ControlPlaneError | None = None) -> None:
        """Run a new dispatcher for two seconds, with IVS rejecting everything or nothing."""
        self.dispatch.ivs.errors = {} if failure is None else dict.fromkeys(OPERATIONS, failure)
        self.dispatch.ivs.call = self._recorded  # type: ignore[method-assign]
        make_due(self.store)
        self.dispatch.run(self.dispatch.dispatcher(), 2.0)
        self.dispatch.ivs.errors = {}

    def _recorded(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        for entry in request.get("viewerSessions", [request]):
            sent = entry["viewerSessionVersionsLessThanOrEqualTo"]
            if entry["viewerId"] == self.viewer and sent not in {requested.version for requested in self.active()}:
                self.unexpected_filters.append(sent)
        return LocalControlPlane.call(self.dispatch.ivs, region, operation, request)

    def retry(self) -> None:
        for requested in self.requested:
            self.store.revocations.retry(requested.id, EVERYONE, event=EVENT)

    def cancel(self, which: int) -> None:
        if self.requested:
            self.store.revocations.cancel(self.requested[which % len(self.requested)].id, EVERYONE, event=EVENT)

    def active(self) -> list[Requested]:
        """The revocations that were not cancelled before they were sent."""
        found = self.store.revocations.get
        return [
            requested
            for requested in self.requested
            if found(requested.id, EVERYONE).state is not RevocationState.CANCELLED
        ]

    def plays(self, issued: Issued) -> bool:
        """Whether the edge allows the token, given what the local IVS has recorded."""
        revoked = self.dispatch.ivs.revoked(self.dispatch.channel, self.viewer)
        where = parse_arn(self.dispatch.channel, "channel")
        attempt = PlaybackAttempt(issued.token, issued.second, where, [self._key.public_key()], revoked_version=revoked)
        return validate(attempt).outcome is Outcome.ALLOW

    def may_be_ended(self, issued: Issued, requested: Requested) -> bool:
        """Whether a revocation may end this token: it was issued before `issued_before`, or by a worker that did not
        know the revocation without one."""
        if requested.issued_before is None:
            return issued.known <= self.requested.index(requested)
        return issued.second < requested.issued_before

    def must_be_ended(self, issued: Issued, requested: Requested) -> bool:
        """Whether a revocation must end this token. While versions are ahead of the clock, tokens of one step share a
        version; and a worker that knows a revocation accepted at that instant or later issues after the instant,
        whatever its clock says."""
        if not self.may_be_ended(issued, requested) or requested.issued_before is None:
            return self.may_be_ended(issued, requested)
        if issued.known > self.requested.index(requested):
            return False
        if issued.known and math.floor(self.requested[issued.known - 1].at) >= requested.issued_before:
            return False
        ahead = issued.version > issued.second
        return issued.second < requested.issued_before - (VERSION_STEP_SECONDS - 1 if ahead else 0)


rejected = ControlPlaneResourceMissing("gone", operation="x", ivs_code="ResourceNotFoundException")
throttled = ControlPlaneThrottled("slow down", operation="x", ivs_code="ThrottlingException")
steps = st.one_of(
    st.tuples(st.just("wait"), st.one_of(st.integers(0, 10), st.integers(0, 100))),
    st.tuples(st.just("revoke"), st.one_of(st.none(), st.integers(0, 150)), st.sampled_from([None, 0, 0, 3])),
    st.tuples(st.just("issue"), st.integers(0, 2), st.integers(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)),
    st.tuples(st.just("issue"), st.just(0), st.just(0)),
    st.tuples(st.just("deliver"), st.sampled_from([None, None, rejected, throttled])),
    st.tuples(st.just("retry")),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
)


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    unsigned = DispatchScenario(store)
    yield unsigned
    unsigned.close()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(steps, min_size=3, max_size=25))
def test_covered_tokens_are_ended_and_later_ones_stay_valid(
    dispatch: DispatchScenario, private_key: PrivateKey, history: list[tuple[Any, ...]]
) -> None:
    scenario = History(dispatch, private_key)
    for step, *arguments in history:
        if step == "wait":
            scenario.now += arguments[0]
        else:
            getattr(scenario, step)(*arguments)
    scenario.retry()
    scenario.deliver()
    dispatch.drain(dispatch.dispatcher())
    assert scenario.unexpected_filters == []
    live = scenario.active()
    for issued in scenario.issued:
        if not scenario.plays(issued):
            assert any(scenario.may_be_ended(issued, requested) for requested in live), (
                "it ended without an active revocation"
            )
        elif live == scenario.requested:
            assert not any(scenario.must_be_ended(issued, requested) for requested in live), (
                "a revocation that covers it did not end it"
            )


def test_the_login_that_ends_all_other_sessions_stays_valid(
    dispatch: DispatchScenario, private_key: PrivateKey
) -> None:
    """The viewer is revoked and returns immediately; later it signs in again and ends its previous sessions."""
    scenario = History(dispatch, private_key)
    scenario.issue(0, 0)
    scenario.now += 10
    scenario.revoke(None, 0)
    scenario.now += 1
    scenario.issue(0, 0)
    scenario.now += 30
    scenario.issue(0, 0)
    scenario.revoke(0, None)
    scenario.deliver()
    assert [scenario.plays(issued) for issued in scenario.issued] == [False, False, True]


def test_an_old_issued_before_ends_no_recent_token(dispatch: DispatchScenario, private_key: PrivateKey) -> None:
    scenario = History(dispatch, private_key)
    scenario.revoke(None, 0)
    scenario.deliver()
    scenario.now += 2
    scenario.issue(0, 0)
    scenario.revoke(3600, None)
    scenario.deliver()
    assert [scenario.plays(issued) for issued in scenario.issued] == [True]

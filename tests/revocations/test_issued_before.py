"""Histories of revocations with and without an instant, up to what the local IVS has recorded: what some request covers
is ended, what was issued after every cut plays."""

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
from tests.support.dispatchers import DispatchScenario
from tests.support.local_control_plane import PLACE, LocalPlane
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


class Asked(NamedTuple):
    """A revocation that was accepted."""

    id: str
    at: float
    issued_before: int | None
    version: int


class Issued(NamedTuple):
    """A token: its second of issue by its worker's clock, and how many revocations the worker knew."""

    token: str
    second: int
    version: int
    known: int


class History:
    """What happens to one viewer of one channel. Time is the test's, for the store too; all of it lies in the past, so
    that whatever is queued is due."""

    def __init__(self, dispatch: DispatchScenario, key: PrivateKey) -> None:
        self.dispatch = dispatch
        self.store = dispatch.store
        self.viewer = f"viewer-{next(_names)}"
        self.now = math.floor(time.time()) - 1_000_000 + 0.25
        self.asked: list[Asked] = []
        self.issued: list[Issued] = []
        self.standings = [ViewerRestriction()]
        """As the store had it after each revocation."""
        self.raised: list[int] = []
        """Filters that IVS was sent and that no revocation asked for which was not given up."""
        self._key = key
        self._ring = Keyring({PLACE: RegionKeys(SigningKey("k1", Prepared(lambda data: raw_sign(key, data)), 600), {})})

    def revoke(self, age: int | None, deny_seconds: int | None) -> None:
        """Accept a revocation, of everything or of what was issued before an instant."""
        name = f"{self.viewer}-{len(self.asked)}"
        before = None if age is None else math.floor(self.now) - age
        new = NewRevocation(name, (self.dispatch.channel,), (self.viewer,), before, deny_seconds)
        with write_transaction(self.store.engine) as connection:
            [accepted] = revocation_writer.write_revocations(
                connection, "backend", [new], Priority.INTERACTIVE, REACH, self.now
            )
        self.asked.append(Asked(name, self.now, before, accepted.version))
        who = viewer_digest(self.dispatch.channel, self.viewer)
        rows = {row.digest: row.standing for row in self.store.denials.changed_since(Position(), 10_000).rows}
        assert rows[who].minimum_version >= self.standings[-1].minimum_version, "it never falls"
        self.standings.append(rows[who])

    def issue(self, older: int, skew: int) -> None:
        """Ask a worker for a token, one that does not know the last `older` revocations if its lease allows it."""
        known = max(0, len(self.asked) - older)
        while known < len(self.asked) and self.asked[known].at + LEASE < self.now:
            known += 1
        second = math.floor(self.now + skew)
        denied = Denylist()
        denied.apply([(viewer_digest(self.dispatch.channel, self.viewer), self.standings[known])], self.now - 2 * LEASE)
        snapshot = Snapshot(self._ring, max_ttl_seconds=600, denylist=denied)
        ask = parse_token_request({"channelArn": self.dispatch.channel, "viewerId": self.viewer})
        try:
            made = prepare(ask, TokenLimits(600, "default"), snapshot, second, uuid.uuid4)
        except ViewerDenied:
            return
        assert made.viewer_session_version is not None
        self.issued.append(Issued(made.signed(), second, made.viewer_session_version, known))

    def deliver(self, failure: ControlPlaneError | None = None) -> None:
        """Let a new dispatcher work for two seconds, with IVS refusing everything or nothing."""
        self.dispatch.ivs.refuse = {} if failure is None else dict.fromkeys(OPERATIONS, failure)
        self.dispatch.ivs.call = self._recorded  # type: ignore[method-assign]
        make_due(self.store)
        self.dispatch.run(self.dispatch.dispatcher(), 2.0)
        self.dispatch.ivs.refuse = {}

    def _recorded(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        for entry in request.get("viewerSessions", [request]):
            sent = entry["viewerSessionVersionsLessThanOrEqualTo"]
            if entry["viewerId"] == self.viewer and sent not in {asked.version for asked in self.live()}:
                self.raised.append(sent)
        return LocalPlane.call(self.dispatch.ivs, region, operation, request)

    def retry(self) -> None:
        for asked in self.asked:
            self.store.revocations.retry(asked.id, EVERYONE)

    def cancel(self, which: int) -> None:
        if self.asked:
            self.store.revocations.cancel(self.asked[which % len(self.asked)].id, EVERYONE)

    def live(self) -> list[Asked]:
        """The revocations that were not given up before they were sent."""
        found = self.store.revocations.get
        return [asked for asked in self.asked if found(asked.id, EVERYONE).state is not RevocationState.CANCELLED]

    def plays(self, issued: Issued) -> bool:
        """What the edge says to the token, by what the local IVS has recorded."""
        revoked = self.dispatch.ivs.revoked(self.dispatch.channel, self.viewer)
        where = parse_arn(self.dispatch.channel, "channel")
        attempt = PlaybackAttempt(issued.token, issued.second, where, [self._key.public_key()], revoked_version=revoked)
        return validate(attempt).outcome is Outcome.ALLOW

    def is_cut(self, issued: Issued, asked: Asked) -> bool:
        """Whether a revocation may end this token: it was issued before the instant, or by a worker that did not know
        the revocation of everything."""
        if asked.issued_before is None:
            return issued.known <= self.asked.index(asked)
        return issued.second < asked.issued_before

    def must_end(self, issued: Issued, asked: Asked) -> bool:
        """Whether it has to: while versions are ahead of the clock, a step of time is one version; and a worker that
        knows a revocation of the instant or later issues after the instant, whatever its clock says."""
        if not self.is_cut(issued, asked) or asked.issued_before is None:
            return self.is_cut(issued, asked)
        if issued.known > self.asked.index(asked):
            return False
        if issued.known and math.floor(self.asked[issued.known - 1].at) >= asked.issued_before:
            return False
        ahead = issued.version > issued.second
        return issued.second < asked.issued_before - (VERSION_STEP_SECONDS - 1 if ahead else 0)


refused = ControlPlaneResourceMissing("gone", operation="x", ivs_code="ResourceNotFoundException")
throttled = ControlPlaneThrottled("slow down", operation="x", ivs_code="ThrottlingException")
steps = st.one_of(
    st.tuples(st.just("wait"), st.one_of(st.integers(0, 10), st.integers(0, 100))),
    st.tuples(st.just("revoke"), st.one_of(st.none(), st.integers(0, 150)), st.sampled_from([None, 0, 0, 3])),
    st.tuples(st.just("issue"), st.integers(0, 2), st.integers(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS)),
    st.tuples(st.just("issue"), st.just(0), st.just(0)),
    st.tuples(st.just("deliver"), st.sampled_from([None, None, refused, throttled])),
    st.tuples(st.just("retry")),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
)


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    made = DispatchScenario(store)
    yield made
    made.close()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(steps, min_size=3, max_size=25))
def test_what_a_request_covers_is_ended_and_what_was_issued_after_every_cut_plays(
    dispatch: DispatchScenario, private_key: PrivateKey, history: list[tuple[Any, ...]]
) -> None:
    happens = History(dispatch, private_key)
    for what, *how in history:
        if what == "wait":
            happens.now += how[0]
        else:
            getattr(happens, what)(*how)
    happens.retry()
    happens.deliver()
    dispatch.drain(dispatch.dispatcher())
    assert happens.raised == []
    live = happens.live()
    for issued in happens.issued:
        if not happens.plays(issued):
            assert any(happens.is_cut(issued, asked) for asked in live), "nothing that stands ended it"
        elif live == happens.asked:
            assert not any(happens.must_end(issued, asked) for asked in live), "what covers it did not end it"


def test_the_login_that_logs_out_all_others_plays_whatever_was_revoked_before(
    dispatch: DispatchScenario, private_key: PrivateKey
) -> None:
    """Everything is revoked and the viewer is back at once; later it signs in anew and ends what it had before."""
    happens = History(dispatch, private_key)
    happens.issue(0, 0)
    happens.now += 10
    happens.revoke(None, 0)
    happens.now += 1
    happens.issue(0, 0)
    happens.now += 30
    happens.issue(0, 0)
    happens.revoke(0, None)
    happens.deliver()
    assert [happens.plays(issued) for issued in happens.issued] == [False, False, True]


def test_an_instant_long_ago_ends_no_token_of_seconds_ago(dispatch: DispatchScenario, private_key: PrivateKey) -> None:
    happens = History(dispatch, private_key)
    happens.revoke(None, 0)
    happens.deliver()
    happens.now += 2
    happens.issue(0, 0)
    happens.revoke(3600, None)
    happens.deliver()
    assert [happens.plays(issued) for issued in happens.issued] == [True]

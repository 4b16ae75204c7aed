"""Accepting: everything is checked before anything is written, and what is answered is durable."""

from __future__ import annotations

import time

import pytest

from tests.storage.samples import CHANNEL, EVERYONE, HERE, REACH, channel, revocation
from tests.support.crashes import Crash, CrashPoint
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import ChannelNotAllowed, InvalidRequest
from tokensvc.revocations.dispatcher import TARGETS_MAX, accept_revocations
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import Accepted, IdempotencyKey, NewRevocation
from tokensvc.storage.store import Store

BACKEND = Caller("backend", CallerPolicy((CHANNEL,)))
NOW = int(time.time())
KEY = IdempotencyKey("once", b"digest of the body")


def accepted(store: Store, *wanted: NewRevocation, caller: Caller = BACKEND) -> list[Accepted]:
    return accept_revocations(store.revocations, caller, wanted, NOW, REACH, [HERE].__contains__)


def claimed(store: Store, priority: Priority) -> list[str]:
    return [entry.viewer_id for entry in store.revocation_queue.claim(HERE, priority, 100, 60)]


def test_one_that_is_asked_for_by_itself_goes_before_a_storm(store: Store) -> None:
    accepted(store, revocation("r1"), revocation("r2"))
    accepted(store, revocation("r3", "v", "w"))
    assert claimed(store, Priority.INTERACTIVE) == ["v", "w"]
    assert claimed(store, Priority.BULK) == ["r1", "r2"]


def test_the_callers_name_is_written_on_it(store: Store) -> None:
    [answer] = accepted(store, revocation("r"))
    assert store.revocations.get(answer.id, EVERYONE).caller == "backend"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"issued_before": NOW + 1}, "issuedBefore", id="an instant to come"),
        pytest.param({"issued_before": -1}, "issuedBefore", id="before all time"),
        pytest.param({"deny_seconds": -1}, "denySeconds", id="a denial that ended"),
        pytest.param({"deny_seconds": 2**31}, "denySeconds", id="a denial beyond 2038"),
        pytest.param({"viewer_ids": ()}, "viewerIds", id="no viewer"),
        pytest.param({"viewer_ids": ("",)}, "viewerIds", id="a viewer without a name"),
        pytest.param({"viewer_ids": ("v" * 41,)}, "viewerIds", id="a viewer with too long a name"),
        pytest.param({"channel_arns": ()}, "channelArns", id="no channel"),
        pytest.param({"channel_arns": ("x",)}, "channelArns", id="no ARN"),
        pytest.param(
            {"channel_arns": (CHANNEL.replace("channel/", "playback-key/"),)}, "channelArns", id="a key's ARN"
        ),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_written(store: Store, fields: dict[str, object], named: str) -> None:
    bad = revocation("bad")._replace(**fields)  # type: ignore[arg-type] # each of its own type
    with pytest.raises(InvalidRequest) as refused:
        accepted(store, bad)
    assert [error.field for error in refused.value.errors] == [named]
    with pytest.raises(InvalidRequest) as refused:
        accepted(store, revocation("good"), bad, bad)
    assert [error.field for error in refused.value.errors] == [f"revocations[{number}].{named}" for number in (1, 2)]
    assert store.revocations.list(EVERYONE, limit=9) == []
    assert store.versions.read().denials.number == 0


def test_a_request_for_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="revocations: must not be empty"):
        accepted(store)


def test_an_instant_of_this_very_second_will_do(store: Store) -> None:
    assert accepted(store, revocation("r", issued_before=NOW))


def test_no_viewer_is_repeated_in_a_refusal(store: Store) -> None:
    with pytest.raises(InvalidRequest) as refused:
        accepted(store, revocation("r", "the viewer's name" * 3))
    assert "the viewer" not in refused.value.message


def test_one_channel_that_is_anothers_refuses_the_whole(store: Store) -> None:
    for wanted in (
        [revocation("r", where=(channel("b").arn,))],
        [revocation("r", where=(CHANNEL, channel("b").arn))],
        [revocation("r1"), revocation("r2", where=(channel("b").arn,))],
    ):
        with pytest.raises(ChannelNotAllowed):
            accepted(store, *wanted)
    assert store.revocations.list(EVERYONE, limit=9) == []


def test_more_than_a_transaction_should_hold_is_refused(store: Store) -> None:
    viewers = [f"v{number}" for number in range(TARGETS_MAX // 2 + 1)]
    with pytest.raises(InvalidRequest, match="5000"):
        accepted(store, revocation("r1", *viewers), revocation("r2", *viewers))


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_whoever_hears_no_answer_asks_again_and_it_is_accepted_once(store: Store, after: bool) -> None:
    wire = CrashPoint(0, after=after)
    with pytest.raises(Crash):
        accept_revocations(
            wire.around(store.revocations), BACKEND, [revocation("r1", "v")], NOW, REACH, [HERE].__contains__, KEY
        )
    assert len(store.revocations.list(EVERYONE, limit=9)) == int(after)
    [answer] = accept_revocations(
        store.revocations, BACKEND, [revocation("r2", "v")], NOW, REACH, [HERE].__contains__, KEY
    )
    assert answer.id == ("r1" if after else "r2")
    assert [found.id for found in store.revocations.list(EVERYONE, limit=9)] == [answer.id]
    assert claimed(store, Priority.INTERACTIVE) == ["v"]

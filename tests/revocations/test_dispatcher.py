"""Accepting revocations: all checks precede all writes, and an accepted revocation is durable."""

from __future__ import annotations

import time

import pytest

from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, channel, revocation
from tests.support.audit import EVENT
from tests.support.crashes import Crash, CrashPoint
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import ChannelNotAllowed, InvalidRequest
from tokensvc.revocations.acceptance import TARGETS_MAX, accept_revocations
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, NewRevocation
from tokensvc.storage.store import Store

BACKEND = Caller("backend", CallerPolicy((CHANNEL,)))
NOW = int(time.time())
KEY = IdempotencyKey("once", b"digest of the body")


def accepted(store: Store, *revocations: NewRevocation, caller: Caller = BACKEND) -> list[AcceptedRevocation]:
    return accept_revocations(
        store.revocations, caller, revocations, NOW, MAX_STALENESS_SECONDS, [HERE].__contains__, events=[EVENT]
    )


def claimed(store: Store, priority: Priority) -> list[str]:
    return [entry.viewer_id for entry in store.revocation_queue.claim(HERE, priority, 100, 60)]


def test_a_single_revocation_is_interactive_and_several_are_bulk(store: Store) -> None:
    accepted(store, revocation("r1"), revocation("r2"))
    accepted(store, revocation("r3", "v", "w"))
    assert claimed(store, Priority.INTERACTIVE) == ["v", "w"]
    assert claimed(store, Priority.BULK) == ["r1", "r2"]


def test_the_callers_name_is_stored(store: Store) -> None:
    [accepted_revocation] = accepted(store, revocation("r"))
    assert store.revocations.get(accepted_revocation.id, EVERYONE).caller == "backend"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"issued_before": NOW + 1}, "issuedBefore", id="an instant in the future"),
        pytest.param({"issued_before": -1}, "issuedBefore", id="an instant before 1970"),
        pytest.param({"deny_seconds": -1}, "denySeconds", id="a negative denial"),
        pytest.param({"deny_seconds": 2**31}, "denySeconds", id="a denial beyond 2038"),
        pytest.param({"viewer_ids": ()}, "viewerIds", id="no viewer"),
        pytest.param({"viewer_ids": ("",)}, "viewerIds", id="an empty viewer id"),
        pytest.param({"viewer_ids": ("v" * 41,)}, "viewerIds", id="a viewer id that is too long"),
        pytest.param({"channel_arns": ()}, "channelArns", id="no channel"),
        pytest.param({"channel_arns": ("x",)}, "channelArns", id="not an ARN"),
        pytest.param(
            {"channel_arns": (CHANNEL.replace("channel/", "playback-key/"),)}, "channelArns", id="a key's ARN"
        ),
    ],
)
def test_an_invalid_field_is_named_and_nothing_is_written(store: Store, fields: dict[str, object], field: str) -> None:
    bad = revocation("bad")._replace(**fields)  # type: ignore[arg-type] # each of its own type
    with pytest.raises(InvalidRequest) as raised:
        accepted(store, bad)
    assert [error.field for error in raised.value.errors] == [field]
    with pytest.raises(InvalidRequest) as raised:
        accepted(store, revocation("good"), bad, bad)
    assert [error.field for error in raised.value.errors] == [f"revocations[{number}].{field}" for number in (1, 2)]
    assert store.revocations.list(EVERYONE, limit=9) == []
    assert store.versions.read().denials.number == 0


def test_an_empty_request_is_rejected(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="revocations: must not be empty"):
        accepted(store)


def test_issued_before_may_be_the_current_second(store: Store) -> None:
    assert accepted(store, revocation("r", issued_before=NOW))


def test_no_error_message_repeats_a_viewer_id(store: Store) -> None:
    with pytest.raises(InvalidRequest) as raised:
        accepted(store, revocation("r", "the viewer's name" * 3))
    assert "the viewer" not in raised.value.message


def test_one_channel_that_is_not_allowed_rejects_the_whole_request(store: Store) -> None:
    for revocations in (
        [revocation("r", where=(channel("b").arn,))],
        [revocation("r", where=(CHANNEL, channel("b").arn))],
        [revocation("r1"), revocation("r2", where=(channel("b").arn,))],
    ):
        with pytest.raises(ChannelNotAllowed):
            accepted(store, *revocations)
    assert store.revocations.list(EVERYONE, limit=9) == []


def test_too_many_targets_for_one_transaction_are_rejected(store: Store) -> None:
    viewers = [f"v{number}" for number in range(TARGETS_MAX // 2 + 1)]
    with pytest.raises(InvalidRequest, match="5000"):
        accepted(store, revocation("r1", *viewers), revocation("r2", *viewers))


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_request_repeated_after_a_crash_is_accepted_once(store: Store, after: bool) -> None:
    crash = CrashPoint(0, after=after)
    with pytest.raises(Crash):
        accept_revocations(
            crash.wrap(store.revocations),
            BACKEND,
            [revocation("r1", "v")],
            NOW,
            MAX_STALENESS_SECONDS,
            [HERE].__contains__,
            KEY,
            events=[EVENT],
        )
    assert len(store.revocations.list(EVERYONE, limit=9)) == int(after)
    [accepted_revocation] = accept_revocations(
        store.revocations,
        BACKEND,
        [revocation("r2", "v")],
        NOW,
        MAX_STALENESS_SECONDS,
        [HERE].__contains__,
        KEY,
        events=[EVENT],
    )
    assert accepted_revocation.id == ("r1" if after else "r2")
    assert [found.id for found in store.revocations.list(EVERYONE, limit=9)] == [accepted_revocation.id]
    assert claimed(store, Priority.INTERACTIVE) == ["v"]

"""Changes reach the edge after the propagation delay, and the API immediately."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_REGION, START, FrozenClock, pem
from tokensvc.aws.arn import AccountRegion, Arn, parse_arn
from tokensvc.local_ivs.propagation import MAX_DELAY_SECONDS, EdgeView
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.tokens.validation import NOTHING_REVOKED

DELAY = 5.0


@pytest.fixture
def seen(resources: SqliteResourceStore) -> Callable[..., Any]:
    """What the edge knows at a time, with a delay."""

    def read(look: Callable[[EdgeView], Any], at: float = START, delay: float = DELAY) -> Any:
        with resources.begin(write=False) as transaction:
            return look(EdgeView(transaction, at, delay))

    return read


def names(account_region: AccountRegion = HERE) -> Callable[[EdgeView], list[str]]:
    return lambda view: [pair.body["fingerprint"] for pair in view.key_pairs(account_region)]


def exists(arn: str) -> Callable[[EdgeView], bool]:
    return lambda view: view.channel(parse_arn(arn)) is not None


def import_key(call: CallIvs, number: int = 1) -> Any:
    return call("ImportPlaybackKeyPair", publicKeyMaterial=pem(number))["keyPair"]


def test_without_a_delay_every_change_takes_effect_immediately(call: CallIvs, seen: Callable[..., Any]) -> None:
    pair, channel = import_key(call), call("CreateChannel")["channel"]["arn"]
    assert seen(names(), delay=0) == [pair["fingerprint"]]
    call("StartViewerSessionRevocation", channelArn=channel, viewerId="v")
    assert seen(lambda view: view.revoked_version(channel, "v"), delay=0) == 0
    call("DeletePlaybackKeyPair", arn=pair["arn"])
    call("DeleteChannel", arn=channel)
    assert seen(names(), delay=0) == []
    assert not seen(exists(channel), delay=0)


def test_an_imported_key_is_known_after_the_delay(call: CallIvs, seen: Callable[..., Any]) -> None:
    pair = import_key(call)
    assert [seen(names(), START + seconds) for seconds in (0, 4.9)] == [[], []]
    assert seen(names(), START + DELAY) == [pair["fingerprint"]]
    assert seen(names(OTHER_REGION), START + DELAY) == []


def test_a_deleted_key_is_known_until_the_delay_has_passed(
    call: CallIvs, seen: Callable[..., Any], clock: FrozenClock
) -> None:
    pair = import_key(call)
    clock.at = START + 100
    call("DeletePlaybackKeyPair", arn=pair["arn"])
    assert call("ListPlaybackKeyPairs")["keyPairs"] == []
    assert seen(names(), START + 104.9) == [pair["fingerprint"]]
    assert seen(names(), START + 105) == []


def test_a_key_that_is_deleted_before_its_import_arrives_is_never_known(
    call: CallIvs, seen: Callable[..., Any]
) -> None:
    call("DeletePlaybackKeyPair", arn=import_key(call)["arn"])
    assert [seen(names(), START + seconds) for seconds in (0, 4.9, 5, 10)] == [[], [], [], []]


def test_a_key_that_is_imported_again_is_known_throughout(
    call: CallIvs, seen: Callable[..., Any], clock: FrozenClock
) -> None:
    first = import_key(call)
    clock.at = START + 100
    call("DeletePlaybackKeyPair", arn=first["arn"])
    import_key(call)
    for seconds in (100, 104.9, 105, 1000):
        assert seen(names(), START + seconds) == [first["fingerprint"]]


def test_a_revocation_is_known_after_the_delay_and_an_earlier_one_until_then(
    call: CallIvs, seen: Callable[..., Any], clock: FrozenClock
) -> None:
    channel = call("CreateChannel")["channel"]["arn"]
    for seconds, version in ((0, 3), (10, 8)):
        clock.at = START + seconds
        call(
            "StartViewerSessionRevocation",
            channelArn=channel,
            viewerId="v",
            viewerSessionVersionsLessThanOrEqualTo=version,
        )
    versions = [
        seen(lambda view: view.revoked_version(channel, "v"), START + seconds) for seconds in (4.9, 5, 14.9, 15)
    ]
    assert versions == [NOTHING_REVOKED, 3, 3, 8]


def test_a_deleted_channel_is_known_until_the_delay_has_passed(
    call: CallIvs, seen: Callable[..., Any], clock: FrozenClock
) -> None:
    channel = call("CreateChannel", authorized=True)["channel"]["arn"]
    clock.at = START + 100
    call("DeleteChannel", arn=channel)
    assert seen(lambda view: view.channel(parse_arn(channel)).body["authorized"], START + 104.9) is True
    assert not seen(exists(channel), START + 105)
    assert not seen(exists(str(Arn(HERE, "channel", "never"))), START + 104.9)


def test_a_record_of_a_deletion_holds_no_secret_and_is_removed(
    call: CallIvs, resources: SqliteResourceStore, clock: FrozenClock
) -> None:
    def records() -> list[Any]:
        with resources.begin(write=False) as transaction:
            return transaction.find(HERE, "deleted-channel")

    channel = call("CreateChannel")["channel"]
    call("DeleteChannel", arn=channel["arn"])
    assert channel["srt"]["passphrase"] not in repr(records())
    clock.at = START + MAX_DELAY_SECONDS
    call("DeleteChannel", arn=call("CreateChannel")["channel"]["arn"])
    assert len(records()) == 1

"""The key pairs that the watch page of `ivs serve` has for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_ivs.environment import HERE, OTHER_REGION, FrozenClock, pem
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.container.watch_key import TAGS, OwnKeyTokens
from tokensvc.errors import InvalidRequest
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import LocalIvsComponents, LocalIvsSettings, build
from tokensvc.local_ivs.storage import SqliteResourceStore


@pytest.fixture
def components() -> Iterator[LocalIvsComponents]:
    resources = SqliteResourceStore(":memory:")
    yield build(resources, LocalIvsSettings(rate_limits=False), AdvanceableClock(FrozenClock()))
    resources.close()


def tokens_of(components: LocalIvsComponents) -> OwnKeyTokens:
    return OwnKeyTokens(components.ivs, components.clock)


def channel_in(components: LocalIvsComponents, place: AccountRegion = HERE) -> str:
    created = components.ivs.call(place, "CreateChannel", {"name": "stage", "authorized": True}, "")
    return str(created["channel"]["arn"])


def import_pair(components: LocalIvsComponents, number: int, **members: Any) -> str:
    members = {"publicKeyMaterial": pem(number), **members}
    return str(components.ivs.call(HERE, "ImportPlaybackKeyPair", members, "")["keyPair"]["arn"])


def pairs_of(components: LocalIvsComponents, place: AccountRegion = HERE) -> list[str]:
    return [pair["arn"] for pair in components.ivs.call(place, "ListPlaybackKeyPairs", {}, "")["keyPairs"]]


def test_a_key_pair_is_made_with_the_first_token_of_an_account_and_region(components: LocalIvsComponents) -> None:
    tokens = tokens_of(components)
    here, there = channel_in(components), channel_in(components, OTHER_REGION)
    assert pairs_of(components) == []
    for _ in range(3):
        assert tokens.issue({"channelArn": here, "viewerId": "ada"}).status == 201
    assert len(pairs_of(components)) == 1
    assert pairs_of(components, OTHER_REGION) == []
    assert tokens.issue({"channelArn": there, "viewerId": "ada"}).status == 201
    assert len(pairs_of(components, OTHER_REGION)) == 1


def test_concurrent_first_tokens_make_one_key_pair(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    threads = [threading.Thread(target=tokens.issue, args=({"channelArn": arn, "viewerId": "ada"},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pairs_of(components)) == 1


def test_a_bad_request_makes_no_key_pair(components: LocalIvsComponents) -> None:
    with pytest.raises(InvalidRequest):
        tokens_of(components).issue({"channelArn": channel_in(components), "ttlSeconds": 0})
    assert pairs_of(components) == []


def test_a_pair_that_a_previous_process_left_is_replaced_and_those_of_others_stay(
    components: LocalIvsComponents,
) -> None:
    arn = channel_in(components)
    foreign = import_pair(components, 1, name="watch-page")  # the name alone does not make it the page's
    tokens_of(components).issue({"channelArn": arn, "viewerId": "ada"})
    [left] = [pair for pair in pairs_of(components) if pair != foreign]
    tokens_of(components).issue({"channelArn": arn, "viewerId": "ada"})
    now = pairs_of(components)
    assert foreign in now
    assert left not in now
    assert len(now) == 2


def test_a_pair_that_somebody_deleted_is_made_anew(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    tokens.issue({"channelArn": arn, "viewerId": "ada"})
    [deleted] = pairs_of(components)
    components.ivs.call(HERE, "DeletePlaybackKeyPair", {"arn": deleted}, "")
    tokens.issue({"channelArn": arn, "viewerId": "ada"})
    [made] = pairs_of(components)
    assert made != deleted


def test_rotations_leave_two_pairs_of_the_page_and_room_for_one_of_others(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    foreign = import_pair(components, 1, name="mine")
    for _ in range(4):
        assert tokens.rotate(parse_arn(arn, "channel")).document == {"done": True}
        assert foreign in pairs_of(components)
    assert len(pairs_of(components)) == 3


def test_without_room_the_quota_of_ivs_is_the_error(components: LocalIvsComponents) -> None:
    arn = channel_in(components)
    for number in (1, 2, 3):
        import_pair(components, number)
    with pytest.raises(IvsError) as error:
        tokens_of(components).issue({"channelArn": arn, "viewerId": "ada"})
    assert error.value.code == "ServiceQuotaExceededException"


def test_the_pair_says_whose_it_is_and_only_the_public_key_is_imported(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    tokens.issue({"channelArn": arn, "viewerId": "ada"})
    [pair] = components.ivs.call(HERE, "ListPlaybackKeyPairs", {}, "")["keyPairs"]
    assert (pair["name"], pair["tags"]) == ("watch-page", TAGS)
    with components.resources.begin(write=False) as transaction:
        [stored] = transaction.find(HERE, "playback-key")
    assert "PRIVATE" not in str(stored)


def test_versions_rise_above_a_revocation_within_the_same_second(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    before = tokens.issue({"channelArn": arn, "viewerId": "ada"}).document["viewerSessionVersion"]
    tokens.revoke(parse_arn(arn, "channel"), "ada")
    after = tokens.issue({"channelArn": arn, "viewerId": "ada"}).document["viewerSessionVersion"]
    assert after > before
    assert tokens.issue({"channelArn": arn, "viewerId": "grace"}).document["viewerSessionVersion"] == before


def test_a_subject_becomes_the_same_viewer_each_time(components: LocalIvsComponents) -> None:
    tokens, arn = tokens_of(components), channel_in(components)
    viewers = {tokens.issue({"channelArn": arn, "subject": "ada@example.com"}).document["viewerId"] for _ in range(2)}
    [viewer] = viewers
    assert len(viewer) == 40

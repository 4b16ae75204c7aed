"""Viewer sessions are revoked up to a version: API reference, StartViewerSessionRevocation and its batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, START, FrozenClock, all_stored
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.revocations import HISTORY_SECONDS, KIND, revoked_version
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.tokens.validation import NOTHING_REVOKED

MISSING = "arn:aws:ivs:us-west-2:000000000000:channel/nothingThere"


@pytest.fixture
def channel(call: CallIvs) -> str:
    return str(call("CreateChannel")["channel"]["arn"])


def revoked(resources: SqliteResourceStore, channel: str, viewer: str = "v", *, until: float = START) -> int:
    with resources.begin(write=False) as transaction:
        return revoked_version(transaction, channel, viewer, until)


def start(call: CallIvs, channel: str, version: int | None = None, viewer: str = "v") -> None:
    given: dict[str, Any] = {} if version is None else {"viewerSessionVersionsLessThanOrEqualTo": version}
    assert call("StartViewerSessionRevocation", channelArn=channel, viewerId=viewer, **given) == {}


def test_the_default_version_is_zero(call: CallIvs, resources: SqliteResourceStore, channel: str) -> None:
    """API reference: "Default: 0"."""
    assert revoked(resources, channel) == NOTHING_REVOKED
    start(call, channel)
    assert revoked(resources, channel) == 0


def test_the_highest_version_is_kept(call: CallIvs, resources: SqliteResourceStore, channel: str) -> None:
    for version, expected in ((5, 5), (3, 5), (None, 5), (9, 9), (2**31 - 1, 2**31 - 1)):
        start(call, channel, version)
        assert revoked(resources, channel) == expected


def test_a_revocation_affects_only_its_channel_and_viewer(
    call: CallIvs, resources: SqliteResourceStore, channel: str
) -> None:
    other = str(call("CreateChannel")["channel"]["arn"])
    start(call, channel, 7, "größe/..%2f")
    assert revoked(resources, channel, "größe/..%2f") == 7
    assert revoked(resources, channel, "v") == revoked(resources, other, "größe/..%2f") == NOTHING_REVOKED


def test_a_revocation_stores_its_time_and_no_viewer_id(
    call: CallIvs, resources: SqliteResourceStore, channel: str, clock: FrozenClock
) -> None:
    start(call, channel, 4, "viewer-17")
    with resources.begin(write=False) as transaction:
        ((_, revocation),) = transaction.page(HERE, KIND, after=0, limit=9)
    assert revocation.body == {"history": [[4, clock.at]]}
    assert "viewer-17" not in repr(revocation)


def test_the_version_that_was_revoked_at_an_earlier_time_is_known(
    call: CallIvs, resources: SqliteResourceStore, channel: str, clock: FrozenClock
) -> None:
    for seconds, version in ((0, 2), (10, 1), (20, 5), (30, 5), (40, 9)):
        clock.at = START + seconds
        start(call, channel, version)
    versions = [revoked(resources, channel, until=START + seconds) for seconds in (-1, 0, 19, 20, 39, 40, 99)]
    assert versions == [NOTHING_REVOKED, 2, 2, 5, 5, 9, 9]


def test_only_one_entry_of_the_history_is_older_than_the_longest_delay(
    call: CallIvs, resources: SqliteResourceStore, channel: str, clock: FrozenClock
) -> None:
    for number in range(30):
        clock.at = START + number * HISTORY_SECONDS / 10
        start(call, channel, number)
    with resources.begin(write=False) as transaction:
        ((_, revocation),) = transaction.page(HERE, KIND, after=0, limit=9)
    history = revocation.body["history"]
    assert history[-1] == [29, clock.at]
    assert len([at for _, at in history if at <= clock.at - HISTORY_SECONDS]) == 1
    assert revoked(resources, channel, until=clock.at - HISTORY_SECONDS) == 19


@pytest.mark.parametrize(
    ("request_", "at"),
    [
        ({"viewerId": ""}, "viewerId"),
        ({"viewerId": "v" * 41}, "viewerId"),
        ({"viewerId": None}, "viewerId"),
        ({"viewerSessionVersionsLessThanOrEqualTo": -1}, "viewerSessionVersions"),
        ({"viewerSessionVersionsLessThanOrEqualTo": 2**31}, "viewerSessionVersions"),
        ({"channelArn": "x"}, "channelArn"),
    ],
)
def test_an_invalid_request_revokes_nothing(
    call: CallIvs, resources: SqliteResourceStore, channel: str, request_: dict[str, Any], at: str
) -> None:
    before = all_stored(resources)
    good = {"channelArn": channel, "viewerId": "v"}
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        call("StartViewerSessionRevocation", **good | request_)
    with pytest.raises(IvsError, match=rf"ValidationException.*viewerSessions\.2\.member\.{at}"):
        call("BatchStartViewerSessionRevocation", viewerSessions=[good, good | request_])
    assert all_stored(resources) == before


def test_the_channel_must_exist(call: CallIvs, channel: str) -> None:
    with pytest.raises(IvsError, match=f"ResourceNotFoundException: Resource: {MISSING} not found"):
        start(call, MISSING)
    with pytest.raises(IvsError, match="ResourceNotFoundException"):
        call("StartViewerSessionRevocation", OTHER_ACCOUNT, channelArn=channel, viewerId="v")


def test_batch_entries_are_independent(call: CallIvs, resources: SqliteResourceStore, channel: str) -> None:
    """AWS CLI's example: a batch succeeds, with an entry in `errors` for each entry that failed."""
    response = call(
        "BatchStartViewerSessionRevocation",
        viewerSessions=[
            {"channelArn": channel, "viewerId": "a", "viewerSessionVersionsLessThanOrEqualTo": 3},
            {"channelArn": MISSING, "viewerId": "b"},
            {"channelArn": channel, "viewerId": "c"},
            {"channelArn": channel, "viewerId": "a", "viewerSessionVersionsLessThanOrEqualTo": 2},
        ],
    )
    assert response == {
        "errors": [
            {
                "channelArn": MISSING,
                "viewerId": "b",
                "code": "ResourceNotFoundException",
                "message": f"Resource: {MISSING} not found",
            }
        ]
    }
    assert [revoked(resources, channel, viewer) for viewer in "abc"] == [3, NOTHING_REVOKED, 0]


@pytest.mark.parametrize("count", [0, 21])
def test_a_batch_requires_one_to_twenty_entries(call: CallIvs, channel: str, count: int) -> None:
    entry = {"channelArn": channel, "viewerId": "v"}
    with pytest.raises(IvsError, match=r"ValidationException.*'viewerSessions'"):
        call("BatchStartViewerSessionRevocation", viewerSessions=[entry] * count)
    assert call("BatchStartViewerSessionRevocation", viewerSessions=[entry] * 20) == {}


def test_concurrent_revocations_keep_the_highest_version(
    local: LocalIvs, resources: SqliteResourceStore, channel: str
) -> None:
    def revoke(version: int) -> None:
        request = {"channelArn": channel, "viewerId": "v", "viewerSessionVersionsLessThanOrEqualTo": version * 7 % 101}
        local.call(HERE, "StartViewerSessionRevocation", request, "")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(revoke, range(101)))
    assert revoked(resources, channel) == 100


def test_deleting_a_channel_deletes_its_revocations(
    call: CallIvs, resources: SqliteResourceStore, channel: str
) -> None:
    start(call, channel)
    call("DeleteChannel", arn=channel)
    with resources.begin(write=False) as transaction:
        assert transaction.count(HERE, KIND) == 0

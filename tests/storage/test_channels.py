"""Contract of `ChannelStore`."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import AT, LATER, channel
from tokensvc.deployment.versions import Position
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ChannelRecord

pytestmark = pytest.mark.slow


def all_rows(store: Store, limit: int = 1000) -> list[ChannelRecord]:
    """All rows, read page by page like a worker does."""
    rows: list[ChannelRecord] = []
    page = store.channels.changed_since(Position(), limit)
    while page.rows:
        rows += page.rows
        page = store.channels.changed_since(page.position, limit)
    return rows


def test_recorded_channels_are_found(store: Store) -> None:
    reported = [channel("a"), channel("open")._replace(authorized=False)]
    assert store.channels.record(reported) == 1
    known = store.channels.get([row.arn for row in reported] + [channel("unknown").arn])
    assert sorted(known) == sorted(row._replace(version=1) for row in reported)


def test_a_channel_that_never_existed_leaves_no_row(store: Store) -> None:
    """Callers can invent any number of names."""
    assert store.channels.record([channel("a"), channel("invented", url=None)]) == 1
    assert store.channels.record([channel("invented", LATER, url=None)]) == 1
    assert [row.arn for row in all_rows(store)] == [channel("a").arn]


def test_all_rows_of_one_call_share_one_version(store: Store) -> None:
    assert store.channels.record([channel("a"), channel("b")]) == 1
    assert store.channels.record([channel("c")]) == 2
    assert [(row.arn[-1], row.version) for row in all_rows(store)] == [("a", 1), ("b", 1), ("c", 2)]


def test_an_unchanged_channel_keeps_its_version(store: Store) -> None:
    store.channels.record([channel("a"), channel("b")])
    assert store.channels.record([channel("a", LATER), channel("b", LATER, url="https://example.net/new")]) == 2
    same, new = sorted(store.channels.get([channel("a").arn, channel("b").arn]))
    assert (same.version, same.checked_at) == (1, LATER)
    assert (new.version, new.playback_url) == (2, "https://example.net/new")


def test_without_a_change_the_version_stays(store: Store) -> None:
    store.channels.record([channel("a")])
    assert store.channels.record([channel("a", LATER)]) == 1
    assert store.channels.record([]) == 1


def test_an_older_response_changes_nothing(store: Store) -> None:
    """Two machines ask IVS, and the earlier response arrives last."""
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER, url=None)])
    assert store.channels.record([channel("a", AT, url="https://example.net/other")]) == 2
    assert store.channels.get([channel("a").arn]) == [channel("a", LATER, url=None)._replace(version=2)]


def test_the_later_of_two_responses_in_one_call_counts(store: Store) -> None:
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER, url=None), channel("a", AT, url="https://example.net/other")])
    assert store.channels.get([channel("a").arn]) == [channel("a", LATER, url=None)._replace(version=2)]


def test_a_channel_may_be_deleted_and_recreated(store: Store) -> None:
    for number, url in enumerate(["https://example.net/a", None, "https://example.net/b"], 1):
        at = AT + timedelta(hours=number)
        assert store.channels.record([channel("a", at, url=url)]) == number
        assert store.channels.get([channel("a").arn])[0].playback_url == url


def test_a_page_never_splits_a_version(store: Store) -> None:
    """The next page starts after the last version of the page, so the rest of that version would never be read."""
    store.channels.record([channel(f"a{number}") for number in range(7)])
    store.channels.record([channel("b")])
    assert [row.version for row in store.channels.changed_since(Position(0), 3).rows] == [1] * 7
    assert [row.version for row in store.channels.changed_since(Position(1), 3).rows] == [2]
    assert store.channels.changed_since(Position(2), 3).rows == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=6), limit=st.integers(1, 10))
def test_paging_returns_each_row_once(store: Store, calls: list[list[int]], limit: int) -> None:
    start = max((row.checked_at for row in all_rows(store)), default=AT)
    for number, names in enumerate(calls, 1):
        at = start + timedelta(seconds=number)
        url = f"https://example.net/{at.isoformat()}"
        store.channels.record([channel(f"x{name}", at, url=url) for name in names])
    paged = all_rows(store, limit)
    assert paged == all_rows(store)
    assert len({row.arn for row in paged}) == len(paged)
    assert {row.arn for row in paged} >= {channel(f"x{name}").arn for names in calls for name in names}


def test_many_channels_in_one_call(store: Store) -> None:
    rows = [channel(f"c{number:04}") for number in range(1_100)]
    store.channels.record(rows)
    assert len(store.channels.get([row.arn for row in rows])) == len(rows)
    assert len(all_rows(store, 100)) == len(rows)


def test_due_channels_are_ordered_by_their_last_check(store: Store) -> None:
    hours = {"late": 3, "early": 1, "middle": 2}
    store.channels.record([channel(name, AT + timedelta(hours=hour)) for name, hour in hours.items()])
    store.channels.record([channel("remove", AT, url=None)])
    due = store.channels.due(AT + timedelta(hours=3), 10)
    assert due == [channel("early").arn, channel("middle").arn]
    assert store.channels.due(AT + timedelta(hours=3), 1) == [channel("early").arn]


def test_a_channel_that_was_checked_again_is_not_due(store: Store) -> None:
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER)])
    assert store.channels.due(LATER, 10) == []


def remove(store: Store, *names: str, at: datetime = LATER) -> int:
    """Record channels and then their absence; return the version."""
    store.channels.record([channel(name) for name in names])
    return store.channels.record([channel(name, at, url=None) for name in names])


def test_regions_can_be_excluded_from_due_channels(store: Store) -> None:
    elsewhere = channel("a")._replace(arn=channel("a").arn.replace("us-east-1", "eu-west-1"))
    store.channels.record([channel("a"), elsewhere])
    assert set(store.channels.due(LATER, 10)) == {channel("a").arn, elsewhere.arn}
    assert store.channels.due(LATER, 10, ["us-east-1", "us-west-2"]) == [elsewhere.arn]


def test_pruning_deletes_only_rows_of_missing_channels_in_slices(store: Store) -> None:
    store.channels.record([channel("existing")])
    version = remove(store, *(f"remove{number}" for number in range(5)))
    after = LATER + timedelta(seconds=1)
    assert [store.channels.prune(version, after, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert [row.arn for row in all_rows(store)] == [channel("existing").arn]
    assert store.versions.read().channels.number == version, "workers have nothing to read"


def test_pruning_keeps_later_versions_and_recent_checks(store: Store) -> None:
    version = remove(store, "early")
    later = remove(store, "later")
    assert store.channels.prune(later, LATER, 10) == 0, "checked recently"
    assert store.channels.prune(version - 1, LATER + timedelta(seconds=1), 10) == 0
    assert store.channels.prune(version, LATER + timedelta(seconds=1), 10) == 1
    assert [row.arn for row in all_rows(store)] == [channel("later").arn]


def test_pruning_keeps_a_channel_that_was_recreated(store: Store) -> None:
    version = remove(store, "a")
    store.channels.record([channel("a", LATER + timedelta(seconds=1))])
    assert store.channels.prune(version + 1, LATER + timedelta(hours=1), 10) == 0
    assert [row.playback_url for row in all_rows(store)] == [channel("a").playback_url]

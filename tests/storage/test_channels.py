"""Contract of `ChannelStore`."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import AT, LATER, channel
from tokensvc.deployment.versions import Position
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ChannelRecord


def everything(store: Store, limit: int = 1000) -> list[ChannelRecord]:
    """All rows, page by page, as a worker reads them."""
    rows: list[ChannelRecord] = []
    page = store.channels.changed_since(Position(), limit)
    while page.rows:
        rows += page.rows
        page = store.channels.changed_since(page.position, limit)
    return rows


def test_what_was_said_is_known(store: Store) -> None:
    said = [channel("a"), channel("open")._replace(authorized=False)]
    assert store.channels.record(said) == 1
    known = store.channels.get([row.arn for row in said] + [channel("unknown").arn])
    assert sorted(known) == sorted(row._replace(version=1) for row in said)


def test_a_channel_that_was_never_there_leaves_no_row(store: Store) -> None:
    """Callers can invent any number of names."""
    assert store.channels.record([channel("a"), channel("invented", url=None)]) == 1
    assert store.channels.record([channel("invented", LATER, url=None)]) == 1
    assert [row.arn for row in everything(store)] == [channel("a").arn]


def test_all_rows_of_one_call_share_one_number(store: Store) -> None:
    assert store.channels.record([channel("a"), channel("b")]) == 1
    assert store.channels.record([channel("c")]) == 2
    assert [(row.arn[-1], row.version) for row in everything(store)] == [("a", 1), ("b", 1), ("c", 2)]


def test_a_row_that_says_the_same_keeps_its_number(store: Store) -> None:
    store.channels.record([channel("a"), channel("b")])
    assert store.channels.record([channel("a", LATER), channel("b", LATER, url="https://example.net/new")]) == 2
    same, new = sorted(store.channels.get([channel("a").arn, channel("b").arn]))
    assert (same.version, same.checked_at) == (1, LATER)
    assert (new.version, new.playback_url) == (2, "https://example.net/new")


def test_when_nothing_changed_the_number_stays(store: Store) -> None:
    store.channels.record([channel("a")])
    assert store.channels.record([channel("a", LATER)]) == 1
    assert store.channels.record([]) == 1


def test_an_answer_that_was_overtaken_changes_nothing(store: Store) -> None:
    """Two machines ask IVS; what the earlier one heard arrives last."""
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER, url=None)])
    assert store.channels.record([channel("a", AT, url="https://example.net/other")]) == 2
    assert store.channels.get([channel("a").arn]) == [channel("a", LATER, url=None)._replace(version=2)]


def test_of_one_channel_twice_the_later_answer_counts(store: Store) -> None:
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER, url=None), channel("a", AT, url="https://example.net/other")])
    assert store.channels.get([channel("a").arn]) == [channel("a", LATER, url=None)._replace(version=2)]


def test_a_channel_may_go_and_come_back(store: Store) -> None:
    for number, url in enumerate(["https://example.net/a", None, "https://example.net/b"], 1):
        at = AT + timedelta(hours=number)
        assert store.channels.record([channel("a", at, url=url)]) == number
        assert store.channels.get([channel("a").arn])[0].playback_url == url


def test_a_page_never_cuts_a_number_in_two(store: Store) -> None:
    """The next page begins after the last number seen, so the rest of it would never be read."""
    store.channels.record([channel(f"a{number}") for number in range(7)])
    store.channels.record([channel("b")])
    assert [row.version for row in store.channels.changed_since(Position(0), 3).rows] == [1] * 7
    assert [row.version for row in store.channels.changed_since(Position(1), 3).rows] == [2]
    assert store.channels.changed_since(Position(2), 3).rows == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=6), limit=st.integers(1, 10))
def test_paging_misses_no_row_and_shows_none_twice(store: Store, calls: list[list[int]], limit: int) -> None:
    began_at = max((row.checked_at for row in everything(store)), default=AT)
    for number, names in enumerate(calls, 1):
        at = began_at + timedelta(seconds=number)
        url = f"https://example.net/{at.isoformat()}"
        store.channels.record([channel(f"x{name}", at, url=url) for name in names])
    paged = everything(store, limit)
    assert paged == everything(store)
    assert len({row.arn for row in paged}) == len(paged)
    assert {row.arn for row in paged} >= {channel(f"x{name}").arn for names in calls for name in names}


def test_many_channels_at_once(store: Store) -> None:
    rows = [channel(f"c{number:04}") for number in range(1_100)]
    store.channels.record(rows)
    assert len(store.channels.get([row.arn for row in rows])) == len(rows)
    assert len(everything(store, 100)) == len(rows)


def test_channels_that_exist_are_due_longest_ago_first(store: Store) -> None:
    hours = {"late": 3, "early": 1, "middle": 2}
    store.channels.record([channel(name, AT + timedelta(hours=hour)) for name, hour in hours.items()])
    store.channels.record([channel("gone", AT, url=None)])
    due = store.channels.due(AT + timedelta(hours=3), 10)
    assert due == [channel("early").arn, channel("middle").arn]
    assert store.channels.due(AT + timedelta(hours=3), 1) == [channel("early").arn]


def test_a_channel_that_was_checked_again_is_no_longer_due(store: Store) -> None:
    store.channels.record([channel("a")])
    store.channels.record([channel("a", LATER)])
    assert store.channels.due(LATER, 10) == []


def gone(store: Store, *names: str, at: datetime = LATER) -> int:
    """Channels that were there and are no more; the version."""
    store.channels.record([channel(name) for name in names])
    return store.channels.record([channel(name, at, url=None) for name in names])


def test_channels_of_a_region_can_be_left_out_of_what_is_due(store: Store) -> None:
    elsewhere = channel("a")._replace(arn=channel("a").arn.replace("us-east-1", "eu-west-1"))
    store.channels.record([channel("a"), elsewhere])
    assert set(store.channels.due(LATER, 10)) == {channel("a").arn, elsewhere.arn}
    assert store.channels.due(LATER, 10, ["us-east-1", "us-west-2"]) == [elsewhere.arn]


def test_rows_of_channels_that_are_gone_are_deleted_a_slice_at_a_time_and_no_others(store: Store) -> None:
    store.channels.record([channel("there")])
    version = gone(store, *(f"gone{number}" for number in range(5)))
    after = LATER + timedelta(seconds=1)
    assert [store.channels.prune(version, after, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert [row.arn for row in everything(store)] == [channel("there").arn]
    assert store.versions.read().channels.number == version, "no worker has anything to read"


def test_what_was_written_later_or_looked_at_lately_is_not_deleted(store: Store) -> None:
    version = gone(store, "early")
    later = gone(store, "later")
    assert store.channels.prune(later, LATER, 10) == 0, "looked at lately"
    assert store.channels.prune(version - 1, LATER + timedelta(seconds=1), 10) == 0
    assert store.channels.prune(version, LATER + timedelta(seconds=1), 10) == 1
    assert [row.arn for row in everything(store)] == [channel("later").arn]


def test_a_channel_that_came_back_is_kept(store: Store) -> None:
    version = gone(store, "a")
    store.channels.record([channel("a", LATER + timedelta(seconds=1))])
    assert store.channels.prune(version + 1, LATER + timedelta(hours=1), 10) == 0
    assert [row.playback_url for row in everything(store)] == [channel("a").playback_url]

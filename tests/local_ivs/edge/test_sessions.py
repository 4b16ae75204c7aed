"""A playback session begins with a start, is counted as a view, and ends when idle, with its stream, or on request."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, START, counting_strings
from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.local_ivs.edge.sessions import TOUCH_SECONDS, Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.session_store import IDLE_SECONDS, PlaybackSession, SessionTerms
from tokensvc.local_ivs.session_table import RETENTION_SECONDS
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams import events

STREAM_ID = "st-1"


def terms(account_region: AccountRegion = HERE, stream_id: str = STREAM_ID) -> SessionTerms:
    return SessionTerms(
        channel=Arn(account_region, "channel", "abcdEFGH1234"),
        stream_id=stream_id,
        viewer_id="viewer",
        session_version=3,
        maximum_resolution="HD",
        origins=("https://a.example.com", "https://b.example.com"),
        strict_origin=True,
        ads_opt_out=True,
        media_id="loop",
    )


@pytest.fixture
def resources() -> Iterator[SqliteResourceStore]:
    store = SqliteResourceStore(":memory:")
    yield store
    store.close()


def start(resources: SqliteResourceStore, sessions: Sessions, now: float, wanted: SessionTerms | None = None) -> str:
    with resources.begin(write=True) as transaction:
        session_id = sessions.start(transaction, wanted or terms(), now)
    assert session_id is not None
    return session_id


def find(resources: SqliteResourceStore, session_id: str, now: float) -> PlaybackSession | None:
    """The active session with this id."""
    with resources.begin(write=False) as transaction:
        session = transaction.sessions.get(session_id)
    return session if session is not None and session.is_active(now) else None


def views(resources: SqliteResourceStore, now: float, stream_id: str = STREAM_ID) -> int:
    with resources.begin(write=False) as transaction:
        return transaction.sessions.count_active(stream_id, now)


@pytest.mark.parametrize("origins", [None, (), ("https://a.example.com",)])
def test_a_session_keeps_its_terms(resources: SqliteResourceStore, origins: tuple[str, ...] | None) -> None:
    sessions, wanted = Sessions(resources, counting_strings()), terms()._replace(origins=origins)
    session_id = start(resources, sessions, START, wanted)
    assert find(resources, session_id, START) == PlaybackSession(session_id, wanted, START, START)


def test_session_ids_are_random_and_long(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, random_string)
    ids = {start(resources, sessions, START) for _ in range(50)}
    assert len(ids) == 50
    assert all(len(session_id) == 32 and session_id.isalnum() for session_id in ids)


def test_an_unknown_session_is_not_found(resources: SqliteResourceStore) -> None:
    assert find(resources, "x" * 32, START) is None


def test_a_session_ends_after_a_minute_without_requests(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    session_id = start(resources, sessions, START)
    for now, is_active in ((START + IDLE_SECONDS - 1, True), (START + IDLE_SECONDS, False)):
        assert (find(resources, session_id, now) is not None) is is_active
        assert views(resources, now) == is_active


def test_requests_keep_a_session_alive(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    session_id = start(resources, sessions, START)
    for seconds in range(2, 600, 2):
        assert find(resources, session_id, START + seconds) is not None
        sessions.touch(session_id, START + seconds)
    last_seen = START + 598
    assert find(resources, session_id, last_seen + IDLE_SECONDS - TOUCH_SECONDS) is not None
    assert find(resources, session_id, last_seen + IDLE_SECONDS) is None


def test_requests_of_all_sessions_are_stored_together_every_few_seconds(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    ids = [start(resources, sessions, START) for _ in range(3)]
    sessions.touch(ids[0], START + 1)  # the first touch is stored
    for session_id in ids:
        sessions.touch(session_id, START + 2)
    found = [find(resources, session_id, START + 3) for session_id in ids]
    assert [session and session.last_seen for session in found] == [START + 1, START, START]
    sessions.touch(ids[1], START + 1 + TOUCH_SECONDS)
    found = [find(resources, session_id, START + 7) for session_id in ids]
    assert [session and session.last_seen for session in found] == [START + 2, START + 6, START + 2]


def test_requests_keep_a_session_alive_after_the_clock_was_set_back(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    sessions.touch(start(resources, sessions, START + 3600), START + 3600)
    session_id = start(resources, sessions, START)
    for seconds in (30, 60, 90):
        sessions.touch(session_id, START + seconds)
        assert find(resources, session_id, START + seconds) is not None


def test_views_are_counted_for_each_stream(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    for stream_id in ("st-1", "st-1", "st-2"):
        start(resources, sessions, START, terms(stream_id=stream_id))
    assert [views(resources, START, stream_id) for stream_id in ("st-1", "st-2", "st-3")] == [2, 1, 0]


def test_ending_a_session_or_a_stream_ends_its_views(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    first, second, third = (start(resources, sessions, START - seconds) for seconds in (2, 1, 0))
    assert sessions.end(second, START)
    assert not sessions.end(second, START)
    assert not sessions.end("x" * 32, START)
    assert [session.session_id for session in sessions.active(START)] == [third, first]
    with resources.begin(write=True) as transaction:
        transaction.sessions.end_all_of(STREAM_ID)
        assert transaction.sessions.count_open(HERE) == 0
    assert sessions.active(START) == []


def test_one_view_more_than_the_quota_is_refused_and_emitted(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings(), max_views=2)
    for _ in range(2):
        start(resources, sessions, START)
    with resources.begin(write=True) as transaction:
        assert sessions.start(transaction, terms(), START) is None
    start(resources, sessions, START, terms(OTHER_ACCOUNT))
    with resources.begin(write=False) as transaction:
        (breach,) = events.events_after(transaction, 0, 10)
    assert breach.event["detail-type"] == "IVS Limit Breach"
    assert (breach.event["account"], breach.event["region"], breach.event["resources"]) == (*HERE, [])
    assert breach.event["detail"] == {
        "limit_name": "Concurrent Viewers",
        "limit_value": 2,
        "exceeded_by": 1,
        "limit_unit": "viewers",
    }


@pytest.mark.parametrize("how", ["idle", "ended", "stream"])
def test_a_view_that_ended_makes_room_for_another(resources: SqliteResourceStore, how: str) -> None:
    sessions, now = Sessions(resources, counting_strings(), max_views=30), START
    ids = [start(resources, sessions, START) for _ in range(30)]
    if how == "idle":
        now += IDLE_SECONDS
    elif how == "ended":
        sessions.end(ids[0], START)
    else:
        with resources.begin(write=True) as transaction:
            transaction.sessions.end_all_of(STREAM_ID)
    start(resources, sessions, now)


def test_idle_sessions_of_another_account_do_not_keep_a_viewer_out(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings(), max_views=2)
    for account_region in (OTHER_ACCOUNT, OTHER_ACCOUNT, HERE, HERE):
        start(resources, sessions, START, terms(account_region))
    just_cleaned_up = START + IDLE_SECONDS - 0.1
    start(resources, sessions, just_cleaned_up, terms(AccountRegion(HERE.account, "eu-west-1")))
    start(resources, sessions, START + IDLE_SECONDS)


def test_sessions_that_ended_are_deleted_in_the_course_of_later_starts(resources: SqliteResourceStore) -> None:
    sessions = Sessions(resources, counting_strings())
    old = [start(resources, sessions, START) for _ in range(30)]
    for number in range(1, 8):
        start(resources, sessions, START + RETENTION_SECONDS + number)
    with resources.begin(write=False) as transaction:
        assert [session_id for session_id in old if transaction.sessions.get(session_id)] == []
        assert transaction.sessions.count_open(HERE) == 7


def test_sessions_that_started_at_the_same_time_are_listed_in_pages_without_gap_or_repetition(
    resources: SqliteResourceStore,
) -> None:
    sessions = Sessions(resources, random_string)
    started = {start(resources, sessions, START + number // 4) for number in range(12)}
    listed: list[PlaybackSession] = []
    while page := sessions.active(START + 3, 5, None, listed[-1].position if listed else None):
        listed += page
    assert {session.session_id for session in listed} == started
    assert len(listed) == len(started)
    assert [session.started_at for session in listed] == [START + 2] * 4 + [START + 1] * 4 + [START] * 4


def test_concurrent_starts_of_several_processes_stay_within_the_quota(tmp_path: Path) -> None:
    stores = [SqliteResourceStore(str(tmp_path / "ivs.sqlite3")) for _ in range(4)]
    processes = [Sessions(store, random_string, max_views=25) for store in stores]

    def start_one(number: int) -> bool:
        with stores[number % 4].begin(write=True) as transaction:
            return processes[number % 4].start(transaction, terms(), START) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start_one, range(40))) == 25
    assert [len(sessions.active(START)) for sessions in processes] == [25] * 4
    for store in stores:
        store.close()


def test_stores_on_one_file_agree(tmp_path: Path) -> None:
    stores = [SqliteResourceStore(str(tmp_path / "ivs.sqlite3")) for _ in range(3)]
    processes = [Sessions(store, random_string, max_views=2) for store in stores]
    first = start(stores[0], processes[0], START)
    second = start(stores[1], processes[1], START)
    for store, sessions in zip(stores, processes, strict=True):
        assert find(store, first, START) is not None
        assert views(store, START) == 2
        with store.begin(write=True) as transaction:
            assert sessions.start(transaction, terms(), START) is None
    processes[2].touch(first, START + 50)
    assert find(stores[0], first, START + 100) is not None
    assert find(stores[0], second, START + 100) is None
    assert processes[1].end(first, START + 100)
    assert find(stores[2], first, START + 100) is None
    for store in stores:
        store.close()

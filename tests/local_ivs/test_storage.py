"""The contract of `local_ivs.resource_store`, in memory and in a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import StoreUnavailable
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.storage import SqliteResourceStore

HERE = AccountRegion("000000000000", "us-west-2")
ELSEWHERE = AccountRegion("000000000000", "eu-west-1")


@pytest.fixture(params=["memory", "file"])
def resources(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteResourceStore]:
    store = SqliteResourceStore(":memory:" if request.param == "memory" else str(tmp_path / "ivs.db"))
    yield store
    store.close()


def make_resource(
    name: str, /, *, account_region: AccountRegion = HERE, kind: str = "channel", parent: str = "", **body: object
) -> Resource:
    return Resource(f"arn:{account_region.region}:{kind}:{name}", account_region, kind, parent, "", body, 5.5)


def put(resources: SqliteResourceStore, *items: Resource) -> None:
    with resources.begin(write=True) as transaction:
        for one in items:
            transaction.put(one)


def test_a_stored_resource_is_returned_unchanged(resources: SqliteResourceStore) -> None:
    one = make_resource("a", name="größe \u0000 日本", deep={"x": [1, True, None]}, tags={})
    put(resources, one)
    with resources.begin(write=False) as transaction:
        assert transaction.get(one.arn) == one
        assert transaction.get("arn:none") is None


def test_kinds_accounts_and_regions_are_separate(resources: SqliteResourceStore) -> None:
    here, there, other = (
        make_resource("a"),
        make_resource("a", account_region=ELSEWHERE),
        make_resource("a", kind="stream-key"),
    )
    put(resources, here, there, other)
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel") == [here]
        assert transaction.find(ELSEWHERE, "channel") == [there]
        assert transaction.count(HERE, "channel") == 1
        assert transaction.page(HERE, "stream-key", after=0, limit=9)[0][1] == other


def test_a_replaced_resource_keeps_its_number(resources: SqliteResourceStore) -> None:
    put(resources, make_resource("a"), make_resource("b"))
    put(resources, make_resource("a", name="new"))
    with resources.begin(write=False) as transaction:
        assert [r.arn[-1] for _, r in transaction.page(HERE, "channel", after=0, limit=9)] == ["a", "b"]
        assert transaction.find(HERE, "channel")[0].body == {"name": "new"}


def test_numbers_are_never_reused(resources: SqliteResourceStore) -> None:
    put(resources, make_resource("a"), make_resource("b"))
    with resources.begin(write=True) as transaction:
        (_, _), (last, b) = transaction.page(HERE, "channel", after=0, limit=9)
        transaction.delete(b.arn)
    put(resources, make_resource("c"))
    with resources.begin(write=False) as transaction:
        ((number, c),) = transaction.page(HERE, "channel", after=last, limit=9)
    assert number > last
    assert c.arn.endswith("c")


def test_a_page_starts_after_a_number_and_ends_at_the_limit(resources: SqliteResourceStore) -> None:
    put(resources, *(make_resource(f"{n}", name=f"n{n % 2}") for n in range(6)))
    with resources.begin(write=False) as transaction:
        first = transaction.page(HERE, "channel", after=0, limit=4)
        assert [r.arn[-1] for _, r in first] == ["0", "1", "2", "3"]
        assert [r.arn[-1] for _, r in transaction.page(HERE, "channel", after=first[-1][0], limit=4)] == ["4", "5"]
        odd = transaction.page(HERE, "channel", after=first[0][0], limit=2, equal={"name": "n1"})
        assert [r.arn[-1] for _, r in odd] == ["1", "3"]
        assert transaction.page(HERE, "channel", after=0, limit=2, equal={"missing": "n1"}) == []


def test_children_are_found_by_their_parent(resources: SqliteResourceStore) -> None:
    mine, other = make_resource("a", kind="stream-key", parent="p"), make_resource("b", kind="stream-key", parent="q")
    put(resources, mine, other)
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "stream-key", parent_arn="p") == [mine]
        assert transaction.count(HERE, "stream-key", parent_arn="q") == 1
        assert [r for _, r in transaction.page(HERE, "stream-key", after=0, limit=9, parent_arn="q")] == [other]


def test_resources_are_found_by_their_unique_key(resources: SqliteResourceStore) -> None:
    one = make_resource("a")._replace(unique_key="digest")
    put(resources, one, make_resource("b"))
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel", unique_key="digest") == [one]
        assert transaction.find(HERE, "channel", unique_key="other") == []
        assert transaction.find(ELSEWHERE, "channel", unique_key="digest") == []


def test_deleting_a_missing_resource_does_nothing(resources: SqliteResourceStore) -> None:
    put(resources, make_resource("a"))
    with resources.begin(write=True) as transaction:
        transaction.delete("arn:none")
        transaction.delete(make_resource("a").arn)
        assert transaction.count(HERE, "channel") == 0


def test_an_exception_rolls_the_transaction_back(resources: SqliteResourceStore) -> None:
    put(resources, make_resource("a", name="before"))
    with contextlib.suppress(KeyError), resources.begin(write=True) as transaction:
        transaction.put(make_resource("a", name="after"))
        transaction.put(make_resource("b"))
        raise KeyError
    with resources.begin(write=False) as transaction:
        assert [r.body for r in transaction.find(HERE, "channel")] == [{"name": "before"}]


def test_writing_transactions_are_serialized(resources: SqliteResourceStore) -> None:
    put(resources, make_resource("a", count=0))

    def increment(_: int) -> None:
        with resources.begin(write=True) as transaction:
            found = transaction.get(make_resource("a").arn)
            assert found is not None
            transaction.put(found._replace(body={"count": found.body["count"] + 1}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(increment, range(40)))
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel")[0].body == {"count": 40}


def test_a_file_keeps_its_resources_over_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    first = SqliteResourceStore(path)
    put(first, make_resource("a"))
    first.close()
    second = SqliteResourceStore(path)
    with second.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel") == [make_resource("a")]
    second.close()


def test_a_file_that_cannot_be_opened_raises_store_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        SqliteResourceStore(str(tmp_path / "missing" / "ivs.db"))


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = SqliteResourceStore(str(tmp_path / "ivs.db"))
    put(store, make_resource("a"))
    seen: list[int] = []

    def read_count() -> None:
        with store.begin(write=False) as transaction:
            seen.append(transaction.count(HERE, "channel"))

    with store.begin(write=True) as writing:
        writing.put(make_resource("b"))
        reader = threading.Thread(target=read_count)
        reader.start()
        reader.join(4)
    store.close()
    assert seen == [1]


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda t: t.page(HERE, "channel", after=5, limit=3), "local_ivs_by_account_region"),
        (lambda t: t.page(HERE, "channel", after=5, limit=3, newest_first=True), "local_ivs_by_account_region"),
        (lambda t: t.count(HERE, "channel"), "local_ivs_by_account_region"),
        (lambda t: t.find(HERE, "stream-key", parent_arn="p"), "local_ivs_by_parent"),
        (lambda t: t.find(HERE, "playback-key", unique_key="u"), "local_ivs_unique"),
        (lambda t: t.get("x"), "sqlite_autoindex_local_ivs_resources_1"),
    ],
    ids=["page", "newest first", "count", "children", "unique", "get"],
)
def test_every_query_uses_an_index(read: Callable[[ResourceTransaction], object], index: str) -> None:
    """So the cost does not grow with what else is stored."""
    store = SqliteResourceStore(":memory:")
    with store.begin(write=False) as transaction:
        queries: list[str] = []
        transaction._connection.set_trace_callback(queries.append)
        read(transaction)
        transaction._connection.set_trace_callback(None)
        (query,) = queries
        plan = transaction._connection.execute(f"EXPLAIN QUERY PLAN {query}")
        assert index in " ".join(str(row) for row in plan)
    store.close()


def test_a_secret_is_created_once_and_survives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    secrets = iter([b"first", b"second", b"third", b"fourth"])
    for _ in range(2):
        store = SqliteResourceStore(path)
        assert store.get_or_create_secret("pages", lambda: next(secrets)) == b"first"
        assert store.get_or_create_secret("others", lambda: next(secrets)) == b"second"
        store.close()


def test_a_file_of_an_earlier_version_is_read_by_this_one(tmp_path: Path) -> None:
    """Revocations had one version and no history, and streams no restriction policy of their start."""
    path = str(tmp_path / "ivs.db")
    store = SqliteResourceStore(path)
    revocation = make_resource("r", kind="viewer-session-revocation", version=7, revokedAt=1.5)
    put(store, revocation, make_resource("s", kind="stream", streamId="st-1"))
    store.close()
    for _ in range(2):
        store = SqliteResourceStore(path)
        with store.begin(write=False) as transaction:
            assert [one.body for one in transaction.find(HERE, revocation.kind)] == [{"history": [[7, 1.5]]}]
            [stream] = transaction.find(HERE, "stream")
            assert stream.body == {"streamId": "st-1", "playbackRestrictionPolicy": None}
        store.close()

"""What every implementation of `local_ivs.resource_store` promises, on memory and on a file."""

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
THERE = AccountRegion("000000000000", "eu-west-1")


@pytest.fixture(params=["memory", "file"])
def resources(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteResourceStore]:
    kept = SqliteResourceStore(":memory:" if request.param == "memory" else str(tmp_path / "ivs.db"))
    yield kept
    kept.close()


def thing(
    name: str, /, *, account_region: AccountRegion = HERE, kind: str = "channel", parent: str = "", **body: object
) -> Resource:
    return Resource(f"arn:{account_region.region}:{kind}:{name}", account_region, kind, parent, "", body, 5.5)


def put(resources: SqliteResourceStore, *things: Resource) -> None:
    with resources.begin(write=True) as transaction:
        for one in things:
            transaction.put(one)


def test_what_is_put_comes_back_as_it_was(resources: SqliteResourceStore) -> None:
    one = thing("a", name="größe \u0000 日本", deep={"x": [1, True, None]}, tags={})
    put(resources, one)
    with resources.begin(write=False) as transaction:
        assert transaction.get(one.arn) == one
        assert transaction.get("arn:none") is None


def test_kinds_and_places_are_apart(resources: SqliteResourceStore) -> None:
    here, there, other = thing("a"), thing("a", account_region=THERE), thing("a", kind="stream-key")
    put(resources, here, there, other)
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel") == [here]
        assert transaction.find(THERE, "channel") == [there]
        assert transaction.count(HERE, "channel") == 1
        assert transaction.page(HERE, "stream-key", after=0, limit=9)[0][1] == other


def test_a_replaced_resource_keeps_its_number(resources: SqliteResourceStore) -> None:
    put(resources, thing("a"), thing("b"))
    put(resources, thing("a", name="new"))
    with resources.begin(write=False) as transaction:
        assert [r.arn[-1] for _, r in transaction.page(HERE, "channel", after=0, limit=9)] == ["a", "b"]
        assert transaction.find(HERE, "channel")[0].body == {"name": "new"}


def test_a_number_is_never_given_twice(resources: SqliteResourceStore) -> None:
    put(resources, thing("a"), thing("b"))
    with resources.begin(write=True) as transaction:
        (_, _), (last, b) = transaction.page(HERE, "channel", after=0, limit=9)
        transaction.delete(b.arn)
    put(resources, thing("c"))
    with resources.begin(write=False) as transaction:
        ((number, c),) = transaction.page(HERE, "channel", after=last, limit=9)
    assert number > last
    assert c.arn.endswith("c")


def test_pages_begin_after_a_number_and_end_at_the_limit(resources: SqliteResourceStore) -> None:
    put(resources, *(thing(f"{n}", name=f"n{n % 2}") for n in range(6)))
    with resources.begin(write=False) as transaction:
        first = transaction.page(HERE, "channel", after=0, limit=4)
        assert [r.arn[-1] for _, r in first] == ["0", "1", "2", "3"]
        assert [r.arn[-1] for _, r in transaction.page(HERE, "channel", after=first[-1][0], limit=4)] == ["4", "5"]
        odd = transaction.page(HERE, "channel", after=first[0][0], limit=2, equal={"name": "n1"})
        assert [r.arn[-1] for _, r in odd] == ["1", "3"]
        assert transaction.page(HERE, "channel", after=0, limit=2, equal={"missing": "n1"}) == []


def test_children_are_found_by_their_parent(resources: SqliteResourceStore) -> None:
    mine, other = thing("a", kind="stream-key", parent="p"), thing("b", kind="stream-key", parent="q")
    put(resources, mine, other)
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "stream-key", parent_arn="p") == [mine]
        assert transaction.count(HERE, "stream-key", parent_arn="q") == 1
        assert [r for _, r in transaction.page(HERE, "stream-key", after=0, limit=9, parent_arn="q")] == [other]


def test_what_is_unique_is_found_by_it(resources: SqliteResourceStore) -> None:
    one = thing("a")._replace(unique_key="digest")
    put(resources, one, thing("b"))
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel", unique_key="digest") == [one]
        assert transaction.find(HERE, "channel", unique_key="other") == []
        assert transaction.find(THERE, "channel", unique_key="digest") == []


def test_deleting_what_is_not_there_does_nothing(resources: SqliteResourceStore) -> None:
    put(resources, thing("a"))
    with resources.begin(write=True) as transaction:
        transaction.delete("arn:none")
        transaction.delete(thing("a").arn)
        assert transaction.count(HERE, "channel") == 0


def test_a_block_that_raises_changed_nothing(resources: SqliteResourceStore) -> None:
    put(resources, thing("a", name="before"))
    with contextlib.suppress(KeyError), resources.begin(write=True) as transaction:
        transaction.put(thing("a", name="after"))
        transaction.put(thing("b"))
        raise KeyError
    with resources.begin(write=False) as transaction:
        assert [r.body for r in transaction.find(HERE, "channel")] == [{"name": "before"}]


def test_writers_take_turns(resources: SqliteResourceStore) -> None:
    put(resources, thing("a", count=0))

    def raise_it(_: int) -> None:
        with resources.begin(write=True) as transaction:
            found = transaction.get(thing("a").arn)
            assert found is not None
            transaction.put(found._replace(body={"count": found.body["count"] + 1}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(raise_it, range(40)))
    with resources.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel")[0].body == {"count": 40}


def test_a_file_is_found_again_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    first = SqliteResourceStore(path)
    put(first, thing("a"))
    first.close()
    second = SqliteResourceStore(path)
    with second.begin(write=False) as transaction:
        assert transaction.find(HERE, "channel") == [thing("a")]
    second.close()


def test_a_store_that_cannot_be_opened_is_a_failure_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        SqliteResourceStore(str(tmp_path / "missing" / "ivs.db"))


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    kept = SqliteResourceStore(str(tmp_path / "ivs.db"))
    put(kept, thing("a"))
    seen: list[int] = []

    def look() -> None:
        with kept.begin(write=False) as transaction:
            seen.append(transaction.count(HERE, "channel"))

    with kept.begin(write=True) as writing:
        writing.put(thing("b"))
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(4)
    kept.close()
    assert seen == [1]


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda t: t.page(HERE, "channel", after=5, limit=3), "local_ivs_by_place"),
        (lambda t: t.page(HERE, "channel", after=5, limit=3, newest_first=True), "local_ivs_by_place"),
        (lambda t: t.count(HERE, "channel"), "local_ivs_by_place"),
        (lambda t: t.find(HERE, "stream-key", parent_arn="p"), "local_ivs_by_parent"),
        (lambda t: t.find(HERE, "playback-key", unique_key="u"), "local_ivs_unique"),
        (lambda t: t.get("x"), "sqlite_autoindex_local_ivs_resources_1"),
    ],
    ids=["page", "backwards", "count", "children", "unique", "get"],
)
def test_every_read_uses_an_index(read: Callable[[ResourceTransaction], object], index: str) -> None:
    """So that its cost does not grow with what else is kept."""
    kept = SqliteResourceStore(":memory:")
    with kept.begin(write=False) as transaction:
        said: list[str] = []
        transaction._connection.set_trace_callback(said.append)
        read(transaction)
        transaction._connection.set_trace_callback(None)
        (query,) = said
        plan = transaction._connection.execute(f"EXPLAIN QUERY PLAN {query}")
        assert index in " ".join(str(row) for row in plan)
    kept.close()


def test_a_secret_is_made_once_and_outlives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    made = iter([b"first", b"second", b"third", b"fourth"])
    for _ in range(2):
        kept = SqliteResourceStore(path)
        assert kept.get_or_create_secret("pages", lambda: next(made)) == b"first"
        assert kept.get_or_create_secret("others", lambda: next(made)) == b"second"
        kept.close()

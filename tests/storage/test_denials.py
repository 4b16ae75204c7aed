"""Contract of `DenialStore`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.query_counts import counted
from tests.storage.samples import CHANNEL, EVERYONE, FAR, MAX_STALENESS_SECONDS, channel, denial, revocation
from tests.support.audit import EVENT
from tokensvc.callers.policy import ALL_CHANNELS, CallerPolicy
from tokensvc.deployment.versions import Position
from tokensvc.errors import DenialNotFound
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import Denial, RestrictionRow
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import ViewerRestriction, viewer_digest

pytestmark = pytest.mark.slow

OTHER = channel("b").arn


def in_force(store: Store, *patterns: str) -> list[Denial]:
    return store.denials.in_force(patterns or EVERYONE, limit=100)


def all_rows(store: Store, limit: int = 1000) -> list[RestrictionRow]:
    """All rows, read page by page like a worker does."""
    rows: list[RestrictionRow] = []
    page = store.denials.changed_since(Position(), limit)
    while page.rows:
        rows += page.rows
        page = store.denials.changed_since(page.position, limit)
    return rows


def test_a_denial_is_found_as_it_was_added(store: Store) -> None:
    before = datetime.now(UTC)
    [added] = store.denials.add("backend", [denial("v", reason="abuse")], event=EVENT)
    assert added[1:6] == (CHANNEL, viewer_digest(CHANNEL, "v"), datetime.fromtimestamp(FAR, UTC), "abuse", "backend")
    assert abs(added.created_at - before) < timedelta(seconds=5)
    assert re.fullmatch("[0-9a-f]{32}", added.id)
    assert in_force(store) == [added]
    assert all_rows(store) == [(viewer_digest(CHANNEL, "v"), ViewerRestriction(FAR, 0), 1)]


def test_added_denials_are_returned_in_the_requested_order(store: Store) -> None:
    added = store.denials.add("backend", [denial("b"), denial("a"), denial("b")], event=EVENT)
    assert [d.digest for d in added] == [viewer_digest(CHANNEL, name) for name in "bab"]
    assert len(in_force(store)) == 2


def test_the_denial_that_ends_later_stays(store: Store) -> None:
    [first] = store.denials.add("one", [denial("v", FAR, reason="long")], event=EVENT)
    assert store.denials.add("two", [denial("v", FAR - 60, reason="short")], event=EVENT) == [first]
    assert len(all_rows(store)) == store.versions.read().denials.number == 1
    [longer] = store.denials.add("two", [denial("v", FAR + 60, reason="longer")], event=EVENT)
    assert (longer.until, longer.reason, longer.caller) == (first.until + timedelta(minutes=1), "longer", "two")
    assert longer.id == first.id


def test_an_expired_denial_is_not_listed(store: Store) -> None:
    [added] = store.denials.add("backend", [denial("v", int(time.time()) - 1)], event=EVENT)
    assert in_force(store) == []
    with pytest.raises(DenialNotFound):
        store.denials.remove(added.id, EVERYONE, event=EVENT)


def test_a_removed_denial_ends_and_is_reported_as_a_change(store: Store) -> None:
    [added] = store.denials.add("backend", [denial("v")], event=EVENT)
    store.denials.remove(added.id, EVERYONE, event=EVENT)
    assert in_force(store) == []
    assert all_rows(store) == [(viewer_digest(CHANNEL, "v"), ViewerRestriction(0, 0), 2)]
    with pytest.raises(DenialNotFound):
        store.denials.remove(added.id, EVERYONE, event=EVENT)
    store.denials.add("backend", [denial("v")], event=EVENT)
    assert len(in_force(store)) == 1


def test_an_id_is_random_and_belongs_to_one_denial(store: Store) -> None:
    """An id reveals no viewer, and repeating a removal ends no later denial."""
    [first] = store.denials.add("backend", [denial("v")], event=EVENT)
    store.denials.remove(first.id, EVERYONE, event=EVENT)
    [second] = store.denials.add("backend", [denial("v")], event=EVENT)
    assert len({first.id, second.id, viewer_digest(CHANNEL, "v").hex()}) == 3
    with pytest.raises(DenialNotFound):
        store.denials.remove(first.id, EVERYONE, event=EVENT)
    assert in_force(store) == [second]
    [expired] = store.denials.add("backend", [denial("w", int(time.time()) - 1)], event=EVENT)
    [after] = store.denials.add("backend", [denial("w")], event=EVENT)
    assert expired.id != after.id


def test_removing_a_denial_keeps_the_minimum_version(store: Store) -> None:
    [accepted] = store.revocations.accept(
        "backend", [revocation("r", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, events=[EVENT]
    )
    [denied] = in_force(store)
    store.denials.remove(denied.id, EVERYONE, event=EVENT)
    [row] = all_rows(store)
    assert row.restriction[:2] == (0, accepted.version + 1)


@pytest.mark.parametrize("patterns", [(OTHER,), (), ("arn:aws:ivs:us-east-1:*:channel/A",)], ids=str)
def test_denials_of_other_tenants_are_neither_listed_nor_removed(store: Store, patterns: tuple[str, ...]) -> None:
    added = store.denials.add("backend", [denial("v"), denial("v", where=ALL_CHANNELS)], event=EVENT)
    assert store.denials.in_force(patterns, limit=9) == []
    for theirs in added:
        with pytest.raises(DenialNotFound):
            store.denials.remove(theirs.id, patterns, event=EVENT)
    assert len(in_force(store)) == 2


def test_a_denial_in_all_channels_requires_the_pattern_for_all(store: Store) -> None:
    [everywhere] = store.denials.add("backend", [denial("v", where=ALL_CHANNELS)], event=EVENT)
    assert in_force(store, "arn:aws:ivs:*:*:channel/*") == []
    assert [found.channel for found in in_force(store)] == [ALL_CHANNELS]
    store.denials.remove(everywhere.id, EVERYONE, event=EVENT)


def test_denials_are_found_by_digest(store: Store) -> None:
    store.denials.add("backend", [denial("v"), denial("v", where=OTHER), denial("w")], event=EVENT)
    digests = [viewer_digest(where, "v") for where in (CHANNEL, OTHER, ALL_CHANNELS)]
    found = store.denials.in_force(EVERYONE, limit=9, digests=digests)
    assert {d.digest for d in found} == set(digests[:2])
    assert store.denials.in_force(EVERYONE, limit=9, digests=[]) == []


def test_denials_are_found_by_channel(store: Store) -> None:
    store.denials.add("backend", [denial("v"), denial("w", where=OTHER), denial("x", where=ALL_CHANNELS)], event=EVENT)
    for where in (CHANNEL, OTHER, ALL_CHANNELS):
        assert [found.channel for found in store.denials.in_force(EVERYONE, limit=9, channel=where)] == [where]
    assert store.denials.in_force((OTHER,), limit=9, channel=CHANNEL) == []


def test_paging_returns_each_denial_once_newest_first(store: Store) -> None:
    for batch in ("abc", "de", "f"):
        store.denials.add("backend", [denial(name) for name in batch], event=EVENT)
    seen: list[Denial] = []
    while page := store.denials.in_force(EVERYONE, limit=2, before=(seen[-1].number, seen[-1].id) if seen else None):
        seen += page
    assert seen == in_force(store)
    assert [found.number for found in seen] == [3, 2, 2, 1, 1, 1]
    assert len({found.id for found in seen}) == 6


CHANNELS = [
    f"arn:aws:ivs:{region}:12345678901{n}:channel/{name}" for region in ("a", "b") for n in "12" for name in "xX"
]
patterns = st.lists(
    st.builds(
        "arn:aws:ivs:{}:{}:channel/{}".format,
        st.sampled_from(["a", "b", "*", "a*"]),
        st.sampled_from(["*", "123456789011", "*2"]),
        st.sampled_from(["*", "x", "X", "y"]),
    )
    | st.just("*"),
    max_size=3,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=patterns)
def test_listed_denials_are_those_that_the_policy_allows(store: Store, shown: list[str]) -> None:
    """Pattern matching in both databases, including upper and lower case, agrees with `CallerPolicy`."""
    store.denials.add("backend", [denial("v", where=where) for where in [*CHANNELS, ALL_CHANNELS]], event=EVENT)
    found = {d.channel for d in store.denials.in_force(shown, limit=99)}
    assert found == {where for where in [*CHANNELS, ALL_CHANNELS] if CallerPolicy(tuple(shown)).allows_channel(where)}


def test_a_page_never_splits_a_change_number(store: Store) -> None:
    store.denials.add("backend", [denial(f"a{number}") for number in range(7)], event=EVENT)
    store.denials.add("backend", [denial("b")], event=EVENT)
    assert [row.number for row in store.denials.changed_since(Position(0), 3).rows] == [1] * 7
    assert [row.number for row in store.denials.changed_since(Position(1), 3).rows] == [2]
    assert store.denials.changed_since(Position(2), 3).rows == []


def test_adding_many_denials_takes_few_statements(store: Store) -> None:
    with counted(store.engine) as statements:
        store.denials.add("backend", [denial(f"v{number}") for number in range(1_000)], event=EVENT)
    assert len(statements) <= 12
    assert len(all_rows(store, 100)) == 1_000


def test_only_expired_rows_are_pruned(store: Store) -> None:
    """A removed denial stays until it would have expired, since a stale worker may still have it."""
    now = int(time.time())
    store.denials.add(
        "backend",
        [denial("expired", now - 100), denial("removed", now + 100), denial("in force", now + 100)],
        event=EVENT,
    )
    [removed] = [d for d in in_force(store) if d.digest == viewer_digest(CHANNEL, "removed")]
    store.denials.remove(removed.id, EVERYONE, event=EVENT)
    store.revocations.accept(
        "backend",
        [revocation("r", "expired", deny_seconds=0)],
        Priority.INTERACTIVE,
        MAX_STALENESS_SECONDS,
        events=[EVENT],
    )
    store.denials.add("backend", [denial("old", now - 100)], event=EVENT)
    assert store.denials.prune(datetime.fromtimestamp(now, UTC), 10) == 1
    assert {row.digest for row in all_rows(store)} == {
        viewer_digest(CHANNEL, v) for v in ("expired", "removed", "in force")
    }
    later = datetime.fromtimestamp(now + 101, UTC)
    assert [store.denials.prune(later, 1) for _ in range(3)] == [1, 1, 0]
    assert [row.digest for row in all_rows(store)] == [viewer_digest(CHANNEL, "expired")]

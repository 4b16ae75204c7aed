"""Contract of `Denials`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.query_counts import counted
from tests.storage.samples import CHANNEL, EVERYONE, FAR, MAX_STALENESS_SECONDS, channel, denial, revocation
from tokensvc.callers.policy import ALL_CHANNELS, CallerPolicy
from tokensvc.deployment.versions import Position
from tokensvc.errors import DenialNotFound
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import Denial, RestrictionRow
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import ViewerRestriction, viewer_digest

OTHER = channel("b").arn


def in_force(store: Store, *patterns: str) -> list[Denial]:
    return store.denials.in_force(patterns or EVERYONE, limit=100)


def everything(store: Store, limit: int = 1000) -> list[RestrictionRow]:
    """All rows, page by page, as a worker reads them."""
    rows: list[RestrictionRow] = []
    page = store.denials.changed_since(Position(), limit)
    while page.rows:
        rows += page.rows
        page = store.denials.changed_since(page.position, limit)
    return rows


def test_a_denial_is_found_as_it_was_added(store: Store) -> None:
    before = datetime.now(UTC)
    [added] = store.denials.add("backend", [denial("v", reason="abuse")])
    assert added[1:6] == (CHANNEL, viewer_digest(CHANNEL, "v"), datetime.fromtimestamp(FAR, UTC), "abuse", "backend")
    assert abs(added.created_at - before) < timedelta(seconds=5)
    assert re.fullmatch("[0-9a-f]{32}", added.id)
    assert in_force(store) == [added]
    assert everything(store) == [(viewer_digest(CHANNEL, "v"), ViewerRestriction(FAR, 0), 1)]


def test_denials_are_answered_in_the_order_that_they_were_asked_for_in(store: Store) -> None:
    added = store.denials.add("backend", [denial("b"), denial("a"), denial("b")])
    assert [d.digest for d in added] == [viewer_digest(CHANNEL, name) for name in "bab"]
    assert len(in_force(store)) == 2


def test_the_later_end_stays(store: Store) -> None:
    [first] = store.denials.add("one", [denial("v", FAR, reason="long")])
    assert store.denials.add("two", [denial("v", FAR - 60, reason="short")]) == [first]
    assert len(everything(store)) == store.versions.read().denials.number == 1
    [longer] = store.denials.add("two", [denial("v", FAR + 60, reason="longer")])
    assert (longer.until, longer.reason, longer.caller) == (first.until + timedelta(minutes=1), "longer", "two")
    assert longer.id == first.id


def test_a_denial_that_is_over_is_not_shown(store: Store) -> None:
    [added] = store.denials.add("backend", [denial("v", int(time.time()) - 1)])
    assert in_force(store) == []
    with pytest.raises(DenialNotFound):
        store.denials.remove(added.id, EVERYONE)


def test_a_removed_denial_is_over_and_every_worker_hears(store: Store) -> None:
    [added] = store.denials.add("backend", [denial("v")])
    store.denials.remove(added.id, EVERYONE)
    assert in_force(store) == []
    assert everything(store) == [(viewer_digest(CHANNEL, "v"), ViewerRestriction(0, 0), 2)]
    with pytest.raises(DenialNotFound):
        store.denials.remove(added.id, EVERYONE)
    store.denials.add("backend", [denial("v")])
    assert len(in_force(store)) == 1


def test_an_id_is_random_and_of_one_denial_alone(store: Store) -> None:
    """Nothing of it can be searched for a viewer, and a removal that is repeated ends no later denial."""
    [first] = store.denials.add("backend", [denial("v")])
    store.denials.remove(first.id, EVERYONE)
    [second] = store.denials.add("backend", [denial("v")])
    assert len({first.id, second.id, viewer_digest(CHANNEL, "v").hex()}) == 3
    with pytest.raises(DenialNotFound):
        store.denials.remove(first.id, EVERYONE)
    assert in_force(store) == [second]
    [over] = store.denials.add("backend", [denial("w", int(time.time()) - 1)])
    [after] = store.denials.add("backend", [denial("w")])
    assert over.id != after.id


def test_removing_a_denial_keeps_the_minimum_version(store: Store) -> None:
    [accepted] = store.revocations.accept(
        "backend", [revocation("r", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS
    )
    [denied] = in_force(store)
    store.denials.remove(denied.id, EVERYONE)
    [row] = everything(store)
    assert row.restriction[:2] == (0, accepted.version + 1)


@pytest.mark.parametrize("patterns", [(OTHER,), (), ("arn:aws:ivs:us-east-1:*:channel/A",)], ids=str)
def test_another_tenants_denials_are_neither_shown_nor_removed(store: Store, patterns: tuple[str, ...]) -> None:
    added = store.denials.add("backend", [denial("v"), denial("v", where=ALL_CHANNELS)])
    assert store.denials.in_force(patterns, limit=9) == []
    for theirs in added:
        with pytest.raises(DenialNotFound):
            store.denials.remove(theirs.id, patterns)
    assert len(in_force(store)) == 2


def test_one_in_all_channels_is_for_who_may_have_all(store: Store) -> None:
    [everywhere] = store.denials.add("backend", [denial("v", where=ALL_CHANNELS)])
    assert in_force(store, "arn:aws:ivs:*:*:channel/*") == []
    assert [found.channel for found in in_force(store)] == [ALL_CHANNELS]
    store.denials.remove(everywhere.id, EVERYONE)


def test_one_viewers_denials_are_found_by_their_digests(store: Store) -> None:
    store.denials.add("backend", [denial("v"), denial("v", where=OTHER), denial("w")])
    wanted = [viewer_digest(where, "v") for where in (CHANNEL, OTHER, ALL_CHANNELS)]
    found = store.denials.in_force(EVERYONE, limit=9, digests=wanted)
    assert {d.digest for d in found} == set(wanted[:2])
    assert store.denials.in_force(EVERYONE, limit=9, digests=[]) == []


def test_denials_of_one_channel_or_of_all_are_found_by_it(store: Store) -> None:
    store.denials.add("backend", [denial("v"), denial("w", where=OTHER), denial("x", where=ALL_CHANNELS)])
    for where in (CHANNEL, OTHER, ALL_CHANNELS):
        assert [found.channel for found in store.denials.in_force(EVERYONE, limit=9, channel=where)] == [where]
    assert store.denials.in_force((OTHER,), limit=9, channel=CHANNEL) == []


def test_pages_show_every_denial_once_newest_first(store: Store) -> None:
    for batch in ("abc", "de", "f"):
        store.denials.add("backend", [denial(name) for name in batch])
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
def test_what_is_shown_is_what_the_policy_allows(store: Store, shown: list[str]) -> None:
    """The databases' own matching, upper and lower case included, agrees with `CallerPolicy`."""
    store.denials.add("backend", [denial("v", where=where) for where in [*CHANNELS, ALL_CHANNELS]])
    found = {d.channel for d in store.denials.in_force(shown, limit=99)}
    assert found == {where for where in [*CHANNELS, ALL_CHANNELS] if CallerPolicy(tuple(shown)).allows_channel(where)}


def test_a_page_never_cuts_a_number_in_two(store: Store) -> None:
    store.denials.add("backend", [denial(f"a{number}") for number in range(7)])
    store.denials.add("backend", [denial("b")])
    assert [row.number for row in store.denials.changed_since(Position(0), 3).rows] == [1] * 7
    assert [row.number for row in store.denials.changed_since(Position(1), 3).rows] == [2]
    assert store.denials.changed_since(Position(2), 3).rows == []


def test_many_at_once_take_few_statements(store: Store) -> None:
    with counted(store.engine) as statements:
        store.denials.add("backend", [denial(f"v{number}") for number in range(1_000)])
    assert len(statements) <= 10
    assert len(everything(store, 100)) == 1_000


def test_only_what_matters_to_nobody_any_more_is_pruned(store: Store) -> None:
    """A removed one is kept as long as it would have lasted: a worker that has not heard holds it still."""
    now = int(time.time())
    store.denials.add("backend", [denial("over", now - 100), denial("removed", now + 100), denial("holds", now + 100)])
    [removed] = [d for d in in_force(store) if d.digest == viewer_digest(CHANNEL, "removed")]
    store.denials.remove(removed.id, EVERYONE)
    store.revocations.accept(
        "backend", [revocation("r", "over", deny_seconds=0)], Priority.INTERACTIVE, MAX_STALENESS_SECONDS
    )
    store.denials.add("backend", [denial("old", now - 100)])
    assert store.denials.prune(datetime.fromtimestamp(now, UTC), 10) == 1
    assert {row.digest for row in everything(store)} == {
        viewer_digest(CHANNEL, v) for v in ("over", "removed", "holds")
    }
    later = datetime.fromtimestamp(now + 101, UTC)
    assert [store.denials.prune(later, 1) for _ in range(3)] == [1, 1, 0]
    assert [row.digest for row in everything(store)] == [viewer_digest(CHANNEL, "over")]

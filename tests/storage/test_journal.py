"""Contract of `Journal`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.storage.samples import AT, LATER
from tokensvc.keys.lifecycle import StepKind
from tokensvc.keys.store import JournalEntry
from tokensvc.storage.store import Store

EAST, WEST = "us-east-1", "us-west-2"


def test_a_step_is_open_until_it_is_noted_how_it_ended(store: Store) -> None:
    begun = store.journal.start(StepKind.IMPORT, "k1", EAST, "a standby is to be ready", AT)
    assert begun == JournalEntry(begun.id, StepKind.IMPORT, "k1", EAST, "a standby is to be ready", AT, None, None)
    assert store.journal.open_entries() == [begun]
    store.journal.finish(begun.id, "done", LATER)
    assert store.journal.open_entries() == []
    assert store.journal.history(None, 10) == [begun._replace(finished_at=LATER, outcome="done")]


@pytest.mark.parametrize("kind", StepKind)
def test_every_kind_of_step_comes_back_as_it_was(store: Store, kind: StepKind) -> None:
    assert store.journal.start(kind, "k1", "", "because", AT).kind is kind
    assert [entry.kind for entry in store.journal.open_entries()] == [kind]


def test_the_same_step_begun_again_is_the_entry_that_is_open(store: Store) -> None:
    """Its time is the first one's: since then it may have had its effect."""
    first = store.journal.start(StepKind.DELETE, "k1", EAST, "its last token has ended", AT)
    assert store.journal.start(StepKind.DELETE, "k1", EAST, "its deletion was begun", LATER) == first
    assert store.journal.open_entries() == [first]


def test_another_kind_key_or_region_is_another_step(store: Store) -> None:
    begun = [
        store.journal.start(kind, key_id, region, "because", AT)
        for kind, key_id, region in (
            (StepKind.DELETE, "k1", EAST),
            (StepKind.IMPORT, "k1", EAST),
            (StepKind.DELETE, "k2", EAST),
            (StepKind.DELETE, "k1", WEST),
        )
    ]
    assert store.journal.open_entries() == begun, "oldest first"
    assert len({entry.id for entry in begun}) == 4


def test_a_step_that_ended_may_be_begun_anew(store: Store) -> None:
    first = store.journal.start(StepKind.DELETE, "k1", EAST, "because", AT)
    store.journal.finish(first.id, "control_plane_throttled", LATER)
    second = store.journal.start(StepKind.DELETE, "k1", EAST, "because", LATER)
    assert second.id > first.id
    assert store.journal.open_entries() == [second]


def test_how_a_step_ended_is_noted_once(store: Store) -> None:
    begun = store.journal.start(StepKind.DELETE, "k1", EAST, "because", AT)
    store.journal.finish(begun.id, "done", AT)
    store.journal.finish(begun.id, "abandoned", LATER)
    [entry] = store.journal.history("k1", 10)
    assert (entry.outcome, entry.finished_at) == ("done", AT)


def test_an_unknown_entry_ends_in_silence(store: Store) -> None:
    store.journal.finish(7, "done", AT)
    assert store.journal.history(None, 10) == []


def test_history_is_newest_first_of_one_key_or_of_all_and_no_longer_than_asked(store: Store) -> None:
    begun = [store.journal.start(StepKind.IMPORT, f"k{n % 2}", f"r{n}", "because", AT) for n in range(6)]
    assert store.journal.history(None, 4) == begun[:1:-1]
    assert store.journal.history("k1", 10) == [begun[5], begun[3], begun[1]]
    assert store.journal.history("k9", 10) == []


def test_what_ended_long_ago_is_forgotten_and_what_is_open_never(store: Store) -> None:
    for number in range(3):
        entry = store.journal.start(StepKind.IMPORT, f"k{number}", EAST, "because", AT)
        store.journal.finish(entry.id, "done", AT + timedelta(hours=number))
    still = store.journal.start(StepKind.IMPORT, "k3", EAST, "because", AT - timedelta(days=900))
    assert store.journal.prune(AT + timedelta(hours=1)) == 1
    assert [entry.key_id for entry in store.journal.history(None, 10)] == ["k3", "k2", "k1"]
    assert store.journal.prune(AT + timedelta(days=1)) == 2
    assert store.journal.history(None, 10) == [still]

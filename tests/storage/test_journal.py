"""Contract of `Journal`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.storage.samples import AT, LATER
from tests.support.audit import EVENT
from tokensvc.keys.lifecycle import StepKind
from tokensvc.keys.store import JournalEntry
from tokensvc.storage.store import Store

EAST, WEST = "us-east-1", "us-west-2"


@pytest.mark.slow
def test_a_step_is_open_until_it_is_finished(store: Store) -> None:
    started = store.journal.start(StepKind.IMPORT, "k1", EAST, "a standby key is required", AT, event=EVENT)
    assert started == JournalEntry(started.id, StepKind.IMPORT, "k1", EAST, "a standby key is required", AT, None, None)
    assert store.journal.open_entries() == [started]
    store.journal.finish(started.id, "done", LATER)
    assert store.journal.open_entries() == []
    assert store.journal.history(None, 10) == [started._replace(finished_at=LATER, outcome="done")]


@pytest.mark.parametrize("kind", StepKind)
def test_every_kind_of_step_is_stored(store: Store, kind: StepKind) -> None:
    assert store.journal.start(kind, "k1", "", "because", AT, event=EVENT).kind is kind
    assert [entry.kind for entry in store.journal.open_entries()] == [kind]


def test_starting_an_open_step_again_returns_its_entry(store: Store) -> None:
    """It keeps its first time, since the step may have taken effect since then."""
    first = store.journal.start(StepKind.DELETE, "k1", EAST, "its last token has expired", AT, event=EVENT)
    assert store.journal.start(StepKind.DELETE, "k1", EAST, "its deletion was started", LATER, event=EVENT) == first
    assert store.journal.open_entries() == [first]


def test_steps_differ_by_kind_key_and_region(store: Store) -> None:
    started = [
        store.journal.start(kind, key_id, region, "because", AT, event=EVENT)
        for kind, key_id, region in (
            (StepKind.DELETE, "k1", EAST),
            (StepKind.IMPORT, "k1", EAST),
            (StepKind.DELETE, "k2", EAST),
            (StepKind.DELETE, "k1", WEST),
        )
    ]
    assert store.journal.open_entries() == started, "oldest first"
    assert len({entry.id for entry in started}) == 4


def test_a_finished_step_can_be_started_again(store: Store) -> None:
    first = store.journal.start(StepKind.DELETE, "k1", EAST, "because", AT, event=EVENT)
    store.journal.finish(first.id, "control_plane_throttled", LATER)
    second = store.journal.start(StepKind.DELETE, "k1", EAST, "because", LATER, event=EVENT)
    assert second.id > first.id
    assert store.journal.open_entries() == [second]


def test_the_outcome_of_a_step_is_recorded_once(store: Store) -> None:
    started = store.journal.start(StepKind.DELETE, "k1", EAST, "because", AT, event=EVENT)
    store.journal.finish(started.id, "done", AT)
    store.journal.finish(started.id, "abandoned", LATER)
    [entry] = store.journal.history("k1", 10)
    assert (entry.outcome, entry.finished_at) == ("done", AT)


def test_finishing_an_unknown_entry_does_nothing(store: Store) -> None:
    store.journal.finish(7, "done", AT)
    assert store.journal.history(None, 10) == []


def test_history_is_newest_first_limited_and_can_be_of_one_key(store: Store) -> None:
    started = [store.journal.start(StepKind.IMPORT, f"k{n % 2}", f"r{n}", "because", AT, event=EVENT) for n in range(6)]
    assert store.journal.history(None, 4) == started[:1:-1]
    assert store.journal.history("k1", 10) == [started[5], started[3], started[1]]
    assert store.journal.history("k9", 10) == []


def test_pruning_deletes_old_finished_entries_only(store: Store) -> None:
    for number in range(3):
        entry = store.journal.start(StepKind.IMPORT, f"k{number}", EAST, "because", AT, event=EVENT)
        store.journal.finish(entry.id, "done", AT + timedelta(hours=number))
    open_entry = store.journal.start(StepKind.IMPORT, "k3", EAST, "because", AT - timedelta(days=900), event=EVENT)
    assert store.journal.prune(AT + timedelta(hours=1)) == 1
    assert [entry.key_id for entry in store.journal.history(None, 10)] == ["k3", "k2", "k1"]
    assert store.journal.prune(AT + timedelta(days=1)) == 2
    assert store.journal.history(None, 10) == [open_entry]

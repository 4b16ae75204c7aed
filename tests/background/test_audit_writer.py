"""Refusals and issued tokens are queued by requests and written in batches; what does not fit is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import ACTOR
from tests.support.clocks import ManualClock
from tests.support.stores import store_in_memory
from tokensvc.audit.record import AuditEvent, Outcome
from tokensvc.audit.refusal_windows import REFUSALS_PER_MINUTE
from tokensvc.audit.store import AuditFilter
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.background.audit_writer import BATCH_MAX, QUEUE_MAX, AuditWriter, IssuedToken
from tokensvc.errors import StoreUnavailable
from tokensvc.runner import IDLE

TOKEN = IssuedToken("shop", "k", "r-1", "arn:aws:ivs:us-east-1:123456789012:channel/a", "ada", 1_900_000_000)
REFUSAL = AuditEvent(ACTOR, "tokens.issue", outcome=Outcome.REFUSED, code="viewer_denied", request_id="r-2")


class Failing:
    """A store of records that can be cut off; it also notes the sizes of the batches."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_out = False
        self.batches: list[int] = []

    def append(self, events: Sequence[AuditEvent]) -> None:
        if self.is_out:
            raise StoreUnavailable("the store cannot be reached")
        self.batches.append(len(events))
        self._store.append(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Process:
    """A writer over a store in memory."""

    def __init__(self, migrated: Path) -> None:
        self.store = Failing(store_in_memory(migrated).audit)
        self.clock, self.dropped = ManualClock(), 0
        self.digests = ViewerDigests(self.store)
        self.writer = AuditWriter(self.store, self.clock, self.digests, self._drop)

    def _drop(self, count: int) -> None:
        self.dropped += count

    def written(self) -> list[AuditEvent]:
        return [record.event for record in self.store.list(AuditFilter(), limit=100_000, after=0)]


@pytest.fixture
def process(migrated: Path) -> Process:
    return Process(migrated)


@pytest.mark.slow
def test_an_issued_token_is_recorded_with_its_viewer_as_a_digest(process: Process) -> None:
    process.writer.issued(TOKEN)
    process.writer.run_once()
    [event] = process.written()
    assert (event.actor.name, event.actor.key_id, event.action) == ("shop", "k", "tokens.issue")
    assert (event.target, event.request_id, event.viewer) == (TOKEN.channel_arn, "r-1", process.digests("ada"))
    assert event.details == {"expires_at": "2030-03-17T17:46:40Z"}
    assert process.writer.run_once() is IDLE


def test_everything_is_written_in_order_and_in_batches(process: Process) -> None:
    tokens = [TOKEN._replace(request_id=str(number)) for number in range(BATCH_MAX + 2)]
    for token in tokens:
        process.writer.issued(token)
    process.writer.run_once()
    assert [event.request_id for event in process.written()] == [token.request_id for token in tokens]
    assert process.store.batches == [BATCH_MAX, 2]


def test_refusals_beyond_the_limit_are_counted_when_the_minute_ends_or_the_process_stops(process: Process) -> None:
    for _ in range(REFUSALS_PER_MINUTE + 5):
        process.writer.refused(REFUSAL)
    process.writer.run_once()
    assert len(process.written()) == REFUSALS_PER_MINUTE
    process.clock.advance(61)
    process.writer.run_once()
    for _ in range(REFUSALS_PER_MINUTE + 7):
        process.writer.refused(REFUSAL)
    process.writer.stop()
    assert [event.occurrences for event in process.written() if event.occurrences > 1] == [5, 7]


def test_the_viewer_of_a_refusal_is_digested_and_one_of_many_has_none(process: Process) -> None:
    for number in range(REFUSALS_PER_MINUTE + 2):
        process.writer.refused(REFUSAL._replace(target="channel"), f"viewer-{number}")
    assert "viewer-0" not in repr(process.writer._queue)
    process.writer.stop()
    written = process.written()
    assert [event.viewer for event in written[:2]] == [process.digests("viewer-0"), process.digests("viewer-1")]
    assert (written[-1].occurrences, written[-1].target, written[-1].viewer) == (2, "", "")


def test_an_outage_of_the_store_loses_nothing_that_fits(process: Process) -> None:
    process.store.is_out = True
    process.writer.issued(TOKEN)
    with pytest.raises(StoreUnavailable):
        process.writer.run_once()
    process.store.is_out = False
    process.writer.run_once()
    assert len(process.written()) == 1


@pytest.mark.slow
def test_what_does_not_fit_is_dropped_and_counted(process: Process) -> None:
    for _ in range(QUEUE_MAX + 3):
        process.writer.issued(TOKEN)
    process.writer.refused(REFUSAL)
    process.writer.run_once()
    assert (process.dropped, len(process.written())) == (4, QUEUE_MAX)

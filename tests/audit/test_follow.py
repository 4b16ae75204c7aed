"""New records are shown in order, each once, also across an outage of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import pytest

from tests.support.audit import EVENT
from tokensvc.audit.follow import READ_BATCH_SIZE, follow
from tokensvc.audit.record import AuditRecord
from tokensvc.errors import StoreUnavailable

AT = datetime(2026, 1, 2, tzinfo=UTC)


class _Done(Exception):
    pass


def _unexpected(newest: int) -> None:
    pytest.fail(f"not restored, but {newest}")


def test_records_after_a_restore_are_shown_although_their_numbers_are_lower() -> None:
    store = [AuditRecord(number, AT, EVENT) for number in range(1, 101)]
    restored: list[int] = []

    def pause() -> None:
        if len(store) == 100:
            del store[50:]
        elif len(store) == 50 and restored:
            store.extend(AuditRecord(number, AT, EVENT) for number in range(51, 61))

    def read(after: int, limit: int) -> Sequence[AuditRecord]:
        return [record for record in store if record.number > after][:limit]

    followed = follow(
        read,
        98,
        newest_number=lambda: store[-1].number,
        pause=pause,
        on_outage=lambda outage: pytest.fail(str(outage)),
        on_restored=restored.append,
    )
    assert [record.number for record in islice(followed, 12)] == [99, 100, *range(51, 61)]
    assert restored == [50]


def test_records_are_shown_once_and_an_outage_is_waited_out() -> None:
    """Each step is what one read finds: the number up to which records are visible, or an outage."""
    steps = iter([READ_BATCH_SIZE + 1, READ_BATCH_SIZE + 1, None, None, READ_BATCH_SIZE + 3, None])
    outages: list[StoreUnavailable] = []

    def read(after: int, limit: int) -> Sequence[AuditRecord]:
        try:
            until = next(steps)
        except StopIteration:
            raise _Done from None
        if until is None:
            raise StoreUnavailable("the store cannot be reached")
        return [AuditRecord(number, AT, EVENT) for number in range(after + 1, until + 1)][:limit]

    followed = follow(
        read, 1, newest_number=lambda: 10**9, pause=lambda: None, on_outage=outages.append, on_restored=_unexpected
    )
    assert [record.number for record in islice(followed, READ_BATCH_SIZE + 2)] == list(range(2, READ_BATCH_SIZE + 4))
    with pytest.raises(_Done):
        next(followed)
    assert len(outages) == 2

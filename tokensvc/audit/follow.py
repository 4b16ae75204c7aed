"""Follows new audit records as they are written.

Invariants
- Records are read by number, in which they become visible, so none is missed and none is shown twice.
- An outage of the store is waited out: reading continues after the last record that was shown.
- A store that was restored from a backup numbers its next records from that of the backup on: they are shown, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tokensvc.audit.record import AuditRecord
from tokensvc.errors import StoreUnavailable

READ_BATCH_SIZE = 100
"""Records of one read."""


def follow(
    read: Callable[[int, int], Sequence[AuditRecord]],
    after: int,
    *,
    newest_number: Callable[[], int],
    pause: Callable[[], None],
    on_outage: Callable[[StoreUnavailable], None],
    on_restored: Callable[[int], None],
) -> Iterator[AuditRecord]:
    """Yield the records after that number, without end. `read` takes a number and a limit and returns the records that
    follow, oldest first; `newest_number` is that of the newest record. `on_outage` is called once for each outage of
    the store, and `on_restored` with the newest number when that is lower than what was read."""
    last, is_out = after, False
    while True:
        found: Sequence[AuditRecord] = ()
        try:
            found = read(last, READ_BATCH_SIZE)
            if not found and (newest := newest_number()) < last:
                on_restored(newest)
                last = newest
            is_out = False
        except StoreUnavailable as outage:
            if not is_out:
                on_outage(outage)
            is_out = True
        for record in found:
            yield record
            last = record.number
        if len(found) < READ_BATCH_SIZE:
            pause()

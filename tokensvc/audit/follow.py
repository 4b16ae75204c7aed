"""Follows new audit records as they are written.

Invariants
- Records are read by number, in which they become visible, so none is missed and none is shown twice.
- An outage of the store is waited out: reading continues after the last record that was shown.
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
    pause: Callable[[], None],
    on_outage: Callable[[StoreUnavailable], None],
) -> Iterator[AuditRecord]:
    """Yield the records after that number, without end. `read` takes a number and a limit and returns the records that
    follow, oldest first. `on_outage` is called once for each outage of the store."""
    last, is_out = after, False
    while True:
        found: Sequence[AuditRecord] = ()
        try:
            found = read(last, READ_BATCH_SIZE)
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

"""The store of audit records.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent, AuditRecord


class AuditFilter(NamedTuple):
    """Which records to list. An empty member matches all."""

    actor: str = ""
    """The name of the caller or user."""
    action: str = ""
    """An action, or its first part: `callers` matches `callers.add`."""
    outcome: str = ""
    target: str = ""
    viewer: str = ""
    """A digest."""
    since: datetime | None = None
    until: datetime | None = None


class AuditStore(Protocol):
    """Records in the order of their numbers. Acts write theirs in their own transactions, not through this protocol."""

    def append(self, events: Sequence[AuditEvent]) -> None:
        """Record events other than administrative acts: refusals and issued tokens."""
        ...

    def list(
        self, matching: AuditFilter, *, limit: int, before: int | None = None, after: int | None = None
    ) -> list[AuditRecord]:
        """At most `limit` records: the newest first, below the number `before`; or, with `after`, the oldest first,
        above that number."""
        ...

    def digest_key(self) -> bytes:
        """The key of viewers' digests, made with the store."""
        ...

    def prune(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` records that are older; returns their number."""
        ...

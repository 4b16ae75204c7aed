"""Use cases of audit records: list them by page, newest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tokensvc.audit.store import AuditFilter, AuditStore
from tokensvc.audit.views import AuditPage, AuditQuery, AuditRecordView


@dataclass(frozen=True, kw_only=True)
class AuditSearch:
    """Searches the records of one store. Every method raises StoreError."""

    store: AuditStore
    digest_viewer: Callable[[str | None], str]
    """As `audit.viewers.ViewerDigests`."""

    def filter_of(self, query: AuditQuery) -> AuditFilter:
        """What the query asks the store for."""
        return AuditFilter(
            actor=query.actor or "",
            action=query.action or "",
            outcome=query.outcome or "",
            target=query.target or "",
            viewer=self.digest_viewer(query.viewer_id),
            since=_instant(query.since),
            until=_instant(query.until),
        )

    def page(self, query: AuditQuery) -> AuditPage:
        """One page of the records that match."""
        before = None if query.position is None else int(query.position[0])
        found = self.store.list(self.filter_of(query), limit=query.max_results + 1, before=before)
        shown = found[: query.max_results]
        token = query.page_tokens.encode(shown[-1].number) if len(found) > len(shown) else None
        return AuditPage(records=[AuditRecordView.of(record) for record in shown], next_token=token)

    def newest_number(self) -> int:
        """The number of the newest record; 0 if there is none."""
        return next((record.number for record in self.store.list(AuditFilter(), limit=1)), 0)


def _instant(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)

"""Use cases of revocations: accept, list, look up, retry, cancel.

Invariants
- A revocation is accepted only once the store has committed it.
- A caller's channel patterns apply to everything that is written or shown; what they do not match does not exist for
  the caller.
- The ids of a batch contain the item's position: a repeated batch returns each first result at its position, even if
  the clock has changed since, or the caller's policy, as long as that still allows one of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokensvc.audit.record import AuditEvent
from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import Caller
from tokensvc.clock import Clock
from tokensvc.errors import ChannelNotAllowed, FieldError, InvalidRequest, TokensvcError
from tokensvc.json_objects import batch_item
from tokensvc.revocations.acceptance import ServedRegions, accept_revocations, check_revocations
from tokensvc.revocations.requests import RevocationQuery, RevocationRequest, read_revocation
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, NewRevocation, Revocation, RevocationStore
from tokensvc.revocations.views import RevocationPage, RevocationView
from tokensvc.tokens.viewer_id_resolver import ResolveViewerIds, ViewerIdResolver

MAX_SCANNED = 5000
"""Revocations that one page scans for matches: a caller that owns few of many gets pages with few or no results, but
never waits for a scan of the whole history."""
_REJECTED_BEFORE = "was used before, and this item was rejected then; send it again with another Idempotency-Key"


def _ignore() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class RevocationService:
    """Accepts revocations and reports their state. Every method raises StoreError; those that take a subject also raise
    a subclass of VaultError."""

    store: RevocationStore
    subjects: ViewerIdResolver
    clock: Clock
    max_staleness: Callable[[], float]
    """In seconds, for the whole deployment. Raises StoreError."""
    new_id: Callable[[], str]
    regions: ServedRegions
    digest_viewer: Callable[[str | None], str]
    """The digest of a viewer id or subject for audit records. Raises StoreError."""
    on_accepted: Callable[[], None] = _ignore
    """Called after each acceptance, so that dispatching starts immediately; returns immediately."""

    def add(
        self, caller: Caller, request: RevocationRequest, requester: Requester, key: IdempotencyKey | None = None
    ) -> AcceptedRevocation:
        """Accept one revocation. Raises the errors of `accept_revocations`."""
        new = _new(self.subjects.for_namespace(caller.policy.namespace), request, self.new_id())
        is_served = self.regions.checker()
        [accepted] = accept_revocations(
            self.store,
            caller,
            [new],
            self.clock.now(),
            self.max_staleness(),
            is_served,
            key,
            events=[self._event(requester, request, new)],
        )
        self.on_accepted()
        return accepted

    def add_many(
        self, caller: Caller, items: Sequence[object], requester: Requester, key: IdempotencyKey | None = None
    ) -> list[AcceptedRevocation | TokensvcError]:
        """Accept the valid items of a batch, as decoded JSON, in one transaction; the others get errors."""
        now, stem, viewer_ids = self.clock.now(), self.new_id(), self.subjects.for_namespace(caller.policy.namespace)
        is_served = self.regions.checker()
        results: list[AcceptedRevocation | TokensvcError] = []
        valid, events = [], []
        for position in range(len(items)):
            try:
                request = read_revocation(batch_item(items, position, "revocations"))
                new = _new(viewer_ids, request, f"{stem}-{position}")
                check_revocations(caller, [new], now, is_served)
                valid.append(new)
                events.append(self._event(requester, request, new))
                results.append(
                    InvalidRequest([FieldError("Idempotency-Key", _REJECTED_BEFORE)])
                )  # replaced below if accepted
            except (InvalidRequest, ChannelNotAllowed) as failure:
                results.append(failure)
        if valid:
            for accepted in accept_revocations(
                self.store, caller, valid, now, self.max_staleness(), is_served, key, events=events
            ):
                results[int(accepted.id.rpartition("-")[2])] = accepted
            self.on_accepted()
        return results

    def page(self, caller: Caller, query: RevocationQuery) -> RevocationPage:
        """One page of the caller's revocations; a short page need not be the last. Raises ChannelNotAllowed."""
        if query.channel_arn is not None:
            caller.require_channel(query.channel_arn)
        before = None if query.position is None else int(query.position[0])
        lowest = self.store.scan_floor(before, MAX_SCANNED)
        found = self.store.list(
            caller.policy.channels,
            limit=query.max_results,
            before=before,
            min_number=lowest,
            state=query.state,
            channel_arn=query.channel_arn,
            viewer_ids=self.subjects.for_namespace(caller.policy.namespace)(query.viewer_id, query.subject) or None,
        )
        more = found[-1].number if len(found) == query.max_results else lowest
        token = None if more is None else query.page_tokens.encode(more)
        return RevocationPage(revocations=[RevocationView.of(r) for r in found], next_token=token)

    def get(self, caller: Caller, revocation_id: str) -> Revocation:
        """One revocation. Raises RevocationNotFound."""
        return self.store.get(revocation_id, caller.policy.channels)

    def retry(self, caller: Caller, revocation_id: str, requester: Requester) -> Revocation:
        """Queue its failed targets again. Raises RevocationNotFound."""
        event = requester.event("revocations.retry", revocation_id)
        return self.store.retry(revocation_id, caller.policy.channels, event=event)

    def cancel(self, caller: Caller, revocation_id: str, requester: Requester) -> Revocation:
        """Cancel its queued targets. Raises RevocationNotFound."""
        event = requester.event("revocations.cancel", revocation_id)
        return self.store.cancel(revocation_id, caller.policy.channels, event=event)

    def _event(self, requester: Requester, request: RevocationRequest, new: NewRevocation) -> AuditEvent:
        details = {"channels": " ".join(new.channel_arns)} | ({"reason": new.reason} if new.reason else {})
        viewer = self.digest_viewer(request.viewer_id or request.subject)
        return requester.event("revocations.accept", new.id, viewer=viewer, details=details)


def _new(viewer_ids: ResolveViewerIds, request: RevocationRequest, id_: str) -> NewRevocation:
    viewers = viewer_ids(request.viewer_id, request.subject)
    return NewRevocation(id_, request.channels, viewers, request.issued_before, request.deny_seconds, request.reason)

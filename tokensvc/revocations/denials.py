"""Use cases of denials: block viewers from getting tokens, list denials and remove them.

Invariants
- A caller's channel patterns apply to everything that is written or shown; denying in all channels needs `*`.
- A viewer is stored as a digest of channel and viewer id, so a search needs the channel too. The digest is never shown:
  it is not keyed, so viewer ids, which are short, could be guessed from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import ALL_CHANNELS, Caller
from tokensvc.clock import Clock
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.revocations.acceptance import ServedRegions, unserved_channel_errors
from tokensvc.revocations.requests import DenialQuery, DenialRequest
from tokensvc.revocations.store import Denial, DenialStore, NewDenial
from tokensvc.revocations.views import DenialPage, DenialView
from tokensvc.tokens.denylist import MAX_SESSION_VERSION, viewer_digest
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver


@dataclass(frozen=True, kw_only=True)
class DenialService:
    """Adds, lists and removes denials. Every method raises StoreError; those that take a subject also raise a subclass
    of VaultError."""

    store: DenialStore
    subjects: ViewerIdResolver
    clock: Clock
    regions: ServedRegions
    digest_viewer: Callable[[str | None], str]
    """The digest of a viewer id or subject for audit records. Raises StoreError."""

    def add(self, caller: Caller, request: DenialRequest, requester: Requester) -> list[Denial]:
        """Deny a viewer. Raises InvalidRequest or ChannelNotAllowed."""
        now = self.clock.now()
        until = request.until if request.until is not None else math.ceil(now) + (request.deny_seconds or 0)
        if not now < until <= MAX_SESSION_VERSION:
            name = "until" if request.until is not None else "denySeconds"
            raise InvalidRequest([FieldError(name, "must end in the future and before 2038")])
        caller.require_channels(request.channels)
        channels = [channel for channel in request.channels if channel != ALL_CHANNELS]
        if errors := unserved_channel_errors(channels, self.regions.checker()):
            raise InvalidRequest(errors)
        viewers = self.subjects.for_namespace(caller.policy.namespace)(request.viewer_id, request.subject)
        digests = {viewer_digest(channel, viewer): channel for channel in request.channels for viewer in viewers}
        denials = [NewDenial(channel, digest, until, request.reason) for digest, channel in digests.items()]
        viewer = self.digest_viewer(request.viewer_id or request.subject)
        details = {"reason": request.reason} if request.reason else {}
        event = requester.event("denials.add", viewer=viewer, details=details)
        return self.store.add(caller.name, denials, event=event)

    def page(self, caller: Caller, query: DenialQuery) -> DenialPage:
        """One page of the denials that the caller may see. Raises ChannelNotAllowed."""
        before = digests = None
        if query.position is not None:
            number, denial_id = query.position
            before = int(number), denial_id
        if query.channel_arn is not None:
            caller.require_channel(query.channel_arn)
        viewers = self.subjects.for_namespace(caller.policy.namespace)(query.viewer_id, query.subject)
        if viewers and query.channel_arn is not None:
            digests = [viewer_digest(query.channel_arn, viewer) for viewer in viewers]
        found = self.store.in_force(
            caller.policy.channels, limit=query.max_results, before=before, channel=query.channel_arn, digests=digests
        )
        token = None
        if len(found) == query.max_results:
            token = query.page_tokens.encode(found[-1].number, found[-1].id)
        return DenialPage(denials=[DenialView.of(denial) for denial in found], next_token=token)

    def remove(self, caller: Caller, denial_id: str, requester: Requester) -> None:
        """End a denial. Raises DenialNotFound."""
        self.store.remove(denial_id, caller.policy.channels, event=requester.event("denials.remove", denial_id))

"""`/v1/denials…`: viewers that get no token, whatever IVS knows of them.

Rules of the file
- A caller's channel patterns hold for whatever is written or shown; all channels need the pattern `*`.
- A viewer is known by a digest of its channel and itself, so a list is asked for a viewer by its channel too. The
  digest stays inside: it has no key, so whoever has it can search for the viewer. A denial's id is random.
"""

from __future__ import annotations

import math

from starlette.types import Receive, Scope

from tokensvc.core.denial import LAST_SECOND, digest
from tokensvc.core.policy import ALL_CHANNELS, Caller
from tokensvc.core.revocation_ask import DenialAsk, read_denial
from tokensvc.errors import ChannelNotAllowed, FieldError, InvalidRequest
from tokensvc.ports.clock import Clock
from tokensvc.ports.denials import Denial, Denials, NewDenial
from tokensvc.revoke import IsServed, ServedRegions, unserved_channels
from tokensvc.subjects import Subjects
from tokensvc.web.authorized import Authorized
from tokensvc.web.encoding import encoded
from tokensvc.web.exchange import Exchange
from tokensvc.web.failures import Answer
from tokensvc.web.paging import read_model
from tokensvc.web.revocation_models import DENIALS_TOKEN, DenialPage, DenialQuery, DenialsWritten, ShownDenial
from tokensvc.web.revocations import ASK_MAX_BYTES, READ, WRITE


class DenialRoutes:
    """The three routes. What they ask of the store, they ask in threads."""

    def __init__(
        self, authorized: Authorized, store: Denials, subjects: Subjects, clock: Clock, regions: ServedRegions
    ) -> None:
        self._authorized = authorized
        self._regions = regions
        self._store = store
        self._subjects = subjects
        self._clock = clock

    async def list(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`GET /v1/denials`."""
        caller = self._authorized.caller(scope, exchange, READ)
        query = read_model(scope, DenialQuery)
        shown = await self._authorized.in_thread(lambda: page(self._store, self._subjects, caller, query))
        return encoded(shown)

    async def add(self, scope: Scope, receive: Receive, exchange: Exchange) -> Answer:
        """`POST /v1/denials`."""
        caller, body = await self._authorized.caller_and_body(scope, receive, exchange, WRITE, ASK_MAX_BYTES)
        ask = read_denial(body)
        now = self._clock.now()
        kept = await self._authorized.in_thread(
            lambda: deny(self._store, self._subjects, caller, ask, now, self._regions.checker())
        )
        shown = DenialsWritten(denials=[ShownDenial.of(denial) for denial in kept])
        return encoded(shown, 201, "denied")

    async def remove(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`DELETE /v1/denials/{id}`."""
        caller = self._authorized.caller(scope, exchange, WRITE)
        denial_id = scope["path_params"]["id"]
        await self._authorized.in_thread(lambda: self._store.remove(denial_id, caller.policy.channels))
        return Answer(204, b"", (), "ok")


def deny(
    store: Denials, subjects: Subjects, caller: Caller, ask: DenialAsk, now: float, is_served: IsServed
) -> list[Denial]:
    """Deny a viewer. Raises InvalidRequest, ChannelNotAllowed, StoreError, or VaultError's leaves for a subject."""
    until = ask.until if ask.until is not None else math.ceil(now) + (ask.deny_seconds or 0)
    if not now < until <= LAST_SECOND:
        name = "until" if ask.until is not None else "denySeconds"
        raise InvalidRequest([FieldError(name, "must end in the future, and before 2038")])
    _require(caller, *ask.channels)
    if errors := unserved_channels([channel for channel in ask.channels if channel != ALL_CHANNELS], is_served):
        raise InvalidRequest(errors)
    viewers = subjects.within(caller.policy.namespace)(ask.viewer_id, ask.subject)
    names = {digest(channel, viewer): channel for channel in ask.channels for viewer in viewers}
    wanted = [NewDenial(channel, name, until, ask.reason) for name, channel in names.items()]
    return store.add(caller.name, wanted)


def page(store: Denials, subjects: Subjects, caller: Caller, query: DenialQuery) -> DenialPage:
    """One page of what the caller may see. Raises as `deny` does."""
    before = only = None
    if query.next_token is not None and (token := DENIALS_TOKEN.fullmatch(query.next_token)):
        before = int(token[1]), token[2]
    if query.channel_arn is not None:
        _require(caller, query.channel_arn)
    viewers = subjects.within(caller.policy.namespace)(query.viewer_id, query.subject)
    if viewers and query.channel_arn is not None:
        only = [digest(query.channel_arn, viewer) for viewer in viewers]
    kept = store.in_force(
        caller.policy.channels, limit=query.max_results, before=before, channel=query.channel_arn, only=only
    )
    more = f"{kept[-1].number}-{kept[-1].id}" if len(kept) == query.max_results else None
    return DenialPage(denials=[ShownDenial.of(denial) for denial in kept], next_token=more)


def _require(caller: Caller, *channels: str) -> None:
    if not all(caller.policy.allows_channel(channel) for channel in channels):
        raise ChannelNotAllowed("none of the caller's channel patterns matches a channel of this request")

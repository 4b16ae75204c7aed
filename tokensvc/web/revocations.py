"""`/v1/revocations…`: decode -> accept, look, give up, try again -> encode.

Rules of the file
- 202 is said when the store has it, and not before.
- A caller's channel patterns hold for whatever is written or shown; what they do not show is not there.
- An id of a batch tells its place in it: a repeated batch gets each first answer back at its place, even when the
  clock or the caller's policy has moved on since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive, Scope

from tokensvc.core.policy import Caller
from tokensvc.core.revocation_ask import RevocationAsk, read_revocation
from tokensvc.errors import ChannelNotAllowed, FieldError, InvalidRequest, TokensvcError
from tokensvc.ports.clock import Clock
from tokensvc.ports.revocations import Accepted, IdempotencyKey, NewRevocation, Patterns, Revocation, Revocations
from tokensvc.revoke import ServedRegions, accept, check
from tokensvc.subjects import Subjects, ViewerIds
from tokensvc.web.authorized import Authorized
from tokensvc.web.body import entry_of, header, listed
from tokensvc.web.encoding import encoded
from tokensvc.web.exchange import Exchange
from tokensvc.web.failures import JSON, Answer, problem
from tokensvc.web.paging import read_model
from tokensvc.web.revocation_models import (
    BATCH_MAX,
    AcceptedRevocation,
    RevocationPage,
    RevocationQuery,
    ShownRevocation,
)

READ, WRITE = "revocations:read", "revocations:write"
ASK_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
LOOKED_AT = 5000
"""Revocations that one page looks through for those that are wanted: whoever owns few of many is answered in pages that
hold few or none, and not after a look at the whole history."""
_KEY = re.compile(r"[!-~]{1,255}")
_REPEATED = "was refused when this request was first made; ask for it again under another Idempotency-Key"


class Means(NamedTuple):
    """What revocations are accepted with."""

    store: Revocations
    subjects: Subjects
    clock: Clock
    reach_seconds: Callable[[], float]
    """R, as the store knows it. Raises StoreError."""
    new_id: Callable[[], str]
    regions: ServedRegions
    accepted: Callable[[], None] = lambda: None
    """Told after each acceptance, so that IVS is at once; returns at once."""


class RevocationRoutes:
    """The six routes. What they ask of the store, they ask in threads of their own."""

    def __init__(self, authorized: Authorized, means: Means) -> None:
        self._authorized = authorized
        self._means = means

    async def add(self, scope: Scope, receive: Receive, exchange: Exchange) -> Answer:
        """`POST /v1/revocations`."""
        caller, body = await self._authorized.caller_and_body(scope, receive, exchange, WRITE, ASK_MAX_BYTES)
        key = _idempotency_key(scope, body)
        ask = read_revocation(body)
        accepted = await self._authorized.in_thread(lambda: add(self._means, caller, ask, key))
        return encoded(AcceptedRevocation.of(accepted), 202, "accepted")

    async def add_batch(self, scope: Scope, receive: Receive, exchange: Exchange) -> Answer:
        """`POST /v1/revocations/batch`: up to 1,000, each with its answer or its own problem, in order."""
        caller, body = await self._authorized.caller_and_body(scope, receive, exchange, WRITE, BATCH_MAX_BYTES)
        key = _idempotency_key(scope, body)
        asks = listed(body, "revocations", BATCH_MAX)
        found = await self._authorized.in_thread(lambda: add_many(self._means, caller, asks, key))
        results = [_result(one) for one in found]
        return Answer(202, orjson.dumps({"results": results}), (JSON,), "batch")

    async def list(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`GET /v1/revocations`."""
        caller = self._authorized.caller(scope, exchange, READ)
        query = read_model(scope, RevocationQuery)
        return encoded(await self._authorized.in_thread(lambda: page(self._means, caller, query)))

    async def show(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`GET /v1/revocations/{id}`."""
        return await self._one(self._means.store.get, READ, scope, exchange)

    async def retry(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`POST /v1/revocations/{id}/retry`."""
        return await self._one(self._means.store.retry, WRITE, scope, exchange)

    async def cancel(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        """`POST /v1/revocations/{id}/cancel`."""
        return await self._one(self._means.store.cancel, WRITE, scope, exchange)

    async def _one(
        self, act: Callable[[str, Patterns], Revocation], needs: str, scope: Scope, exchange: Exchange
    ) -> Answer:
        caller = self._authorized.caller(scope, exchange, needs)
        wanted = scope["path_params"]["id"]
        found = await self._authorized.in_thread(lambda: act(wanted, caller.policy.channels))
        return encoded(ShownRevocation.of(found))


def add(means: Means, caller: Caller, ask: RevocationAsk, key: IdempotencyKey | None = None) -> Accepted:
    """Accept one. Raises as `revoke.accept` does, StoreError, or VaultError's leaves for a subject."""
    new = _new(means.subjects.within(caller.policy.namespace), ask, means.new_id())
    is_served = means.regions.checker()
    [accepted] = accept(means.store, caller, [new], means.clock.now(), means.reach_seconds(), is_served, key)
    means.accepted()
    return accepted


def add_many(
    means: Means, caller: Caller, asks: Sequence[object], key: IdempotencyKey | None = None
) -> list[Accepted | TokensvcError]:
    """Accept those of these, as decoded JSON, that can be, in one transaction; the others get their refusals."""
    now, stem, viewer_ids = means.clock.now(), means.new_id(), means.subjects.within(caller.policy.namespace)
    is_served = means.regions.checker()
    results: list[Accepted | TokensvcError] = []
    wanted = []
    for position in range(len(asks)):
        try:
            ask = read_revocation(entry_of(asks, position, "revocations"))
            new = _new(viewer_ids, ask, f"{stem}-{position}")
            check(caller, [new], now, is_served)
            wanted.append(new)
            results.append(InvalidRequest([FieldError("Idempotency-Key", _REPEATED)]))  # unless it is accepted below
        except (InvalidRequest, ChannelNotAllowed) as failure:
            results.append(failure)
    if wanted:
        for accepted in accept(means.store, caller, wanted, now, means.reach_seconds(), is_served, key):
            results[int(accepted.id.rpartition("-")[2])] = accepted
        means.accepted()
    return results


def page(means: Means, caller: Caller, query: RevocationQuery) -> RevocationPage:
    """One page of what the caller may see; it may be short, and still not the last. Raises InvalidRequest, StoreError,
    VaultError's leaves for a subject."""
    if query.channel_arn is not None and not caller.policy.allows_channel(query.channel_arn):
        raise ChannelNotAllowed("none of the caller's channel patterns matches this channel")
    before = None if query.next_token is None else int(query.next_token)
    lowest = means.store.so_far_down(before, LOOKED_AT)
    found = means.store.list(
        caller.policy.channels,
        limit=query.max_results,
        before=before,
        not_below=lowest,
        state=query.state,
        channel_arn=query.channel_arn,
        viewer_ids=means.subjects.within(caller.policy.namespace)(query.viewer_id, query.subject) or None,
    )
    more = found[-1].number if len(found) == query.max_results else lowest
    token = None if more is None else str(more)
    return RevocationPage(revocations=[ShownRevocation.of(r) for r in found], next_token=token)


def _new(viewer_ids: ViewerIds, ask: RevocationAsk, id_: str) -> NewRevocation:
    viewers = viewer_ids(ask.viewer_id, ask.subject)
    return NewRevocation(id_, ask.channels, viewers, ask.issued_before, ask.deny_seconds, ask.reason)


def _idempotency_key(scope: Scope, body: dict[str, Any]) -> IdempotencyKey | None:
    """What the caller names the request by, if it does. The same fields in another order are the same request."""
    name = header(scope, b"idempotency-key")
    if not name:
        return None
    if not _KEY.fullmatch(name):
        raise InvalidRequest([FieldError("Idempotency-Key", "must have 1 to 255 printable ASCII characters")])
    whole = scope["path"].encode() + b"\n" + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return IdempotencyKey(name, hashlib.sha256(whole).digest())


def _result(one: Accepted | TokensvcError) -> dict[str, Any]:
    if isinstance(one, TokensvcError):
        return {"problem": problem(one)}
    return AcceptedRevocation.of(one).model_dump()

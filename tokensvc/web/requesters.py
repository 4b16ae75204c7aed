"""The requester of an administrative act over HTTP: the caller, its API key and the request."""

from __future__ import annotations

from tokensvc.audit.record import Actor, ActorKind
from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import Caller
from tokensvc.web.context import RequestContext


def requester_of(caller: Caller, context: RequestContext) -> Requester:
    """On whose behalf this request acts."""
    return Requester(Actor(ActorKind.CALLER, caller.name, caller.key_id), context.request_id)

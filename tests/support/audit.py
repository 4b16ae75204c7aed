"""Events for stores that record what they do."""

from __future__ import annotations

from tokensvc.audit.record import Actor, ActorKind, AuditEvent
from tokensvc.audit.requester import Requester

ACTOR = Actor(ActorKind.OPERATOR, "tester")
REQUESTER = Requester(ACTOR)


def event(action: str) -> AuditEvent:
    """An act of the tests."""
    return AuditEvent(ACTOR, action)


EVENT = event("tests.act")

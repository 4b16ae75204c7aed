"""On whose behalf an act is carried out: every administrative use case takes a `Requester`, from which its record is
made.

Invariants
- A use case cannot be called without one, and a store's method cannot be called without the event: no record, no act.
- A transaction that changes nothing records nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.audit.record import NO_DETAILS, Actor, ActorKind, AuditEvent


class Requester(NamedTuple):
    """Who asked for an act, and in which request."""

    actor: Actor
    request_id: str = ""
    """"" for a command, and for what the service does by itself."""

    def event(
        self, action: str, target: str = "", *, viewer: str = "", details: Mapping[str, str] = NO_DETAILS
    ) -> AuditEvent:
        """The event of an act that is carried out. `viewer`: a digest."""
        return AuditEvent(
            actor=self.actor,
            action=action,
            target=target,
            request_id=self.request_id,
            viewer=viewer,
            details=details,
        )


def system_requester(task: str) -> Requester:
    """The service by itself, in this background task."""
    return Requester(Actor(ActorKind.SYSTEM, task))

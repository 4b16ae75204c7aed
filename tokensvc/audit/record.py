"""An audit record: one administrative act, refusal or issued token.

Invariants
- A record has no secret, no token and no viewer id: a viewer appears as a keyed digest (`viewer_digest`).
- An administrative act and its record are written in one transaction: without the record there is no act.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

NO_DETAILS: Mapping[str, str] = MappingProxyType({})


class ActorKind(StrEnum):
    """Who acted."""

    CALLER = "caller"
    """A caller of the HTTP API."""
    OPERATOR = "operator"
    """A user of the operating system who ran a command."""
    SYSTEM = "system"
    """The service by itself."""


class Actor(NamedTuple):
    """Who acted: a caller and the public id of its API key, or the user who ran a command."""

    kind: ActorKind
    name: str
    key_id: str = ""


class Outcome(StrEnum):
    """What became of it."""

    DONE = "done"
    REFUSED = "refused"


class AuditEvent(NamedTuple):
    """What is to be recorded. The store adds the time and the number."""

    actor: Actor
    action: str
    """What was done or asked for, such as `callers.disable` or `tokens.issue`."""
    target: str = ""
    """What it was done to: a caller, key, channel, revocation or setting."""
    outcome: Outcome = Outcome.DONE
    code: str = ""
    """The error's code, for a refusal."""
    rule: str = ""
    """The rule of the policy that decided, such as a scope or a field."""
    request_id: str = ""
    viewer: str = ""
    """A keyed digest of the viewer id or subject."""
    occurrences: int = 1
    """How many equal events this record stands for."""
    details: Mapping[str, str] = NO_DETAILS


class AuditRecord(NamedTuple):
    """An event as stored."""

    number: int
    """Consecutive: records become visible in this order."""
    at: datetime
    """The store's clock."""
    event: AuditEvent


def viewer_digest(key: bytes, viewer: str) -> str:
    """The keyed digest under which a viewer appears in records: 22 characters of base64url would do, hex is easier to
    search for. `key` is the store's (`AuditStore.digest_key`)."""
    return hashlib.blake2b(viewer.encode(), key=key, digest_size=16).hexdigest()

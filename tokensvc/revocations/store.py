"""Revocations as those who ask for them see them: accepted, looked at, given up, tried again.

What IVS is told stands in the queue (`revocations/queue.py`): an entry for each viewer of a channel, however many
revocations wait for it.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.revocations.model import Priority, RevocationState, overall_state

Patterns = Sequence[str]
"""A caller's channel patterns (`callers/policy.py`). A revocation is shown only to who may have every channel of it."""


class NewRevocation(NamedTuple):
    """One revocation to accept: these viewers, in each of these channels."""

    id: str
    channel_arns: Sequence[str]
    viewer_ids: Sequence[str]
    issued_before: int | None = None
    """Unix seconds; None for everything that was issued until now."""
    deny_seconds: int | None = None
    """None: until every worker has heard, or not at all with `issued_before`. 0: not at all."""
    reason: str = ""

    def __repr__(self) -> str:
        return f"NewRevocation(id={self.id!r})"


class IdempotencyKey(NamedTuple):
    """What a caller names a request by, so that it may be sent again."""

    key: str
    body_digest: bytes


class Accepted(NamedTuple):
    """The answer to an accepted revocation; a repeated request gets the very same."""

    id: str
    version: int
    """The highest version filter that it was given."""
    readmit_after: int
    """Unix seconds."""


class Target(NamedTuple):
    """One viewer of one channel, on its way to IVS. The repr leaves the viewer out."""

    channel_arn: str
    viewer_id: str
    version: int
    """What IVS is, or was, told; higher than this revocation asked for when a later one joined it in the queue."""
    state: RevocationState
    attempts: int
    finished_at: datetime | None
    """When IVS took it, refused it for good, or it was given up."""
    code: str
    """IVS's own code of the last failure, or the transport's; "" where there was none."""
    message: str

    def __repr__(self) -> str:
        return f"Target(state={self.state!r}, attempts={self.attempts}, code={self.code!r})"


class Revocation(NamedTuple):
    """One accepted revocation."""

    id: str
    number: int
    """Its place in the order of acceptance."""
    caller: str
    """Who asked for it."""
    reason: str
    accepted_at: datetime
    readmit_after: datetime
    targets: tuple[Target, ...]

    @property
    def state(self) -> RevocationState:
        """The state of the whole."""
        return overall_state(target.state for target in self.targets)


class RevocationStore(Protocol):
    """Accepted revocations, kept until their history is pruned."""

    def accept(
        self,
        caller: str,
        wanted: Sequence[NewRevocation],
        priority: Priority,
        max_staleness_seconds: float,
        idempotency: IdempotencyKey | None = None,
    ) -> list[Accepted]:
        """Make these revocations durable, in one transaction: the viewers' minimum versions and denials, the entries
        of the queue, and what the idempotency key stands for.

        An entry that is queued for the same channel and viewer is raised to the higher version rather than doubled.
        Who has as many waiting alone as `revocation_queue.ALONE_MAX` joins the storm. Within 24 hours the same key with
        the same body gets the first answer and changes nothing; raises IdempotencyKeyReused when the body differs.
        """
        ...

    def get(self, revocation_id: str, patterns: Patterns) -> Revocation:
        """One revocation. Raises RevocationNotFound, also for one that these patterns do not show."""
        ...

    def list(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: int | None = None,
        not_below: int | None = None,
        state: RevocationState | None = None,
        channel_arn: str | None = None,
        viewer_ids: Sequence[str] | None = None,
    ) -> list[Revocation]:
        """The newest, at most `limit`, with a lower number than `before` and none below `not_below`; of which any part
        is in this state, of this channel and of one of these viewers, where given. Fewer than `limit` means that there
        are no more of them in this range."""
        ...

    def scan_floor(self, before: int | None, many: int) -> int | None:
        """The number of the last of the `many` newest below `before`, whoever asked for them; None where there are no
        more than so many. It bounds how much of the history one listing reads."""
        ...

    def cancel(self, revocation_id: str, patterns: Patterns) -> Revocation:
        """Give up what of it is still queued; what another revocation waits for too goes on for that one. Minimum
        versions and denials stay, and a call that is under way may still reach IVS. Raises RevocationNotFound."""
        ...

    def retry(self, revocation_id: str, patterns: Patterns) -> Revocation:
        """Queue again what of it failed, joining an entry that is queued meanwhile. Raises RevocationNotFound."""
        ...

    def prune(self, finished_before: datetime, limit: int) -> int:
        """Forget at most `limit` entries that ended before then, revocations that are left without any, and
        idempotency keys whose day is over; how many entries were forgotten."""
        ...

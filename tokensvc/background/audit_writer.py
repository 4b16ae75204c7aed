"""Writes the audit records other than administrative acts: refusals of authenticated callers, and issued tokens.

Invariants
- Requests only append to a queue in memory; a thread of its own writes the queue about once a second, in batches, and
  when the process stops.
- What a killed process loses is bounded: INTERVAL_SECONDS of events, or while the store cannot be reached at most
  QUEUE_MAX of them, and the counts of the refusals beyond the limit of the current minute. What does not fit is dropped
  and counted.
- A batch whose outcome is unknown is written again, so a record may appear twice and none is missing.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from tokensvc.audit.record import Actor, ActorKind, AuditEvent
from tokensvc.audit.refusal_windows import RefusalWindows
from tokensvc.audit.store import AuditStore
from tokensvc.clock import Clock
from tokensvc.runner import IDLE, RunResult
from tokensvc.timestamps import rfc3339

INTERVAL_SECONDS = 1.0
BATCH_MAX = 500
"""Records of one transaction."""
QUEUE_MAX = 20_000


class IssuedToken(NamedTuple):
    """A token to be recorded. The viewer is digested by the writer, off the hot path."""

    caller: str
    key_id: str
    request_id: str
    channel_arn: str
    viewer: str | None
    expires_at: int

    def __repr__(self) -> str:
        return f"IssuedToken(caller={self.caller!r})"


class _Refusal(NamedTuple):
    """A refusal of a token for this viewer."""

    event: AuditEvent
    viewer: str

    def __repr__(self) -> str:
        return f"_Refusal(event={self.event!r})"


class AuditWriter:
    """The queue, and the task that writes it. `refused` and `issued` may be called in any thread."""

    def __init__(
        self,
        store: AuditStore,
        clock: Clock,
        digest_viewer: Callable[[str | None], str],
        on_dropped: Callable[[int], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._digest_viewer = digest_viewer
        self._on_dropped = on_dropped
        self._windows, self._lock = RefusalWindows(), threading.Lock()
        self._queue: deque[AuditEvent | IssuedToken | _Refusal] = deque()
        self._dropped = 0
        self._complete_until = clock.monotonic()
        """Every record that was queued before is written."""

    def issued(self, token: IssuedToken) -> None:
        """Record an issued token soon. Returns immediately."""
        if len(self._queue) < QUEUE_MAX:
            self._queue.append(token)
        else:
            self._dropped += 1

    def refused(self, event: AuditEvent, viewer: str = "") -> None:
        """Record a refusal soon, unless there were too many. Returns immediately. The viewer is digested later."""
        with self._lock:
            admitted = self._windows.admit(event, self._clock.monotonic())
        self._put([_Refusal(found, viewer) if viewer and found is event else found for found in admitted])

    def run_once(self) -> float | Literal[RunResult.IDLE] | None:
        """Write what is queued. Raises StoreError, in which case it stays queued."""
        return self._write(self._clock.monotonic())

    def stop(self) -> None:
        """Write everything, including the counts of the current minute. Raises StoreError."""
        self._write(math.inf)

    def backlog(self) -> tuple[int, float]:
        """The number of records that wait to be written, and for how many seconds the oldest may have been waiting."""
        depth = len(self._queue)
        return depth, self._clock.monotonic() - self._complete_until if depth else 0.0

    def _write(self, now: float) -> Literal[RunResult.IDLE] | None:
        started_at = self._clock.monotonic()
        with self._lock:
            ended = self._windows.ended(now)
        self._put(ended)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._on_dropped(dropped)
        if not self._queue:
            self._complete_until = started_at
            return IDLE
        for _ in range(math.ceil(len(self._queue) / BATCH_MAX)):
            batch = [self._queue[at] for at in range(min(BATCH_MAX, len(self._queue)))]
            self._store.append([self._event(item) for item in batch])
            for _ in batch:  # only this thread removes
                self._queue.popleft()
        self._complete_until = started_at
        return None

    def _put(self, events: Sequence[AuditEvent | _Refusal]) -> None:
        for event in events:
            if len(self._queue) < QUEUE_MAX:
                self._queue.append(event)
            else:
                self._dropped += 1

    def _event(self, item: AuditEvent | IssuedToken | _Refusal) -> AuditEvent:
        if isinstance(item, AuditEvent):
            return item
        if isinstance(item, _Refusal):
            return item.event._replace(viewer=self._digest_viewer(item.viewer))
        return AuditEvent(
            actor=_caller(item.caller, item.key_id),
            action="tokens.issue",
            target=item.channel_arn,
            request_id=item.request_id,
            viewer=self._digest_viewer(item.viewer),
            details=_expiry(item.expires_at),
        )


@lru_cache(maxsize=1024)
def _caller(name: str, key_id: str) -> Actor:
    return Actor(ActorKind.CALLER, name, key_id)


@lru_cache(maxsize=1024)
def _expiry(seconds: int) -> Mapping[str, str]:
    return MappingProxyType({"expires_at": rfc3339(seconds)})

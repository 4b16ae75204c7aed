"""Delivers queued revocations to IVS at least once, as fast as its rate limits allow.

Invariants
- A dispatcher serves one account and region, where only the leader has one. It claims as many entries as its rate
  limits allow, sends them and records the outcomes. If it is killed at any point, its claims expire and the next
  dispatcher sends the entries again, which is harmless.
- Interactive revocations have precedence for IVS's single calls, bulk ones for its batch calls; each takes the capacity
  that the other leaves idle. Within a priority the oldest goes first.
- Revocations for a region that this deployment does not serve (`revocations/acceptance.py`) are not sent.
- An error of one entry defers that entry; throttling slows the operation; when IVS does not respond at all, the whole
  dispatcher backs off.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock
from tokensvc.errors import (
    ControlPlaneError,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
    SettingsError,
)
from tokensvc.revocations.ivs_results import ViewerError, is_permanent, viewer_errors
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome, QueueEntry, RevocationQueue
from tokensvc.revocations.rate_limit import (
    BATCH_CALLS_PER_SECOND,
    BATCH_VIEWERS,
    SINGLE_CALLS_PER_SECOND,
    AimdThrottle,
    RateLimiter,
    backoff,
)

CLAIM_SECONDS = 60.0
"""How long a dispatcher may take to send its claimed entries and record the outcomes; a call times out after 7 s."""
IDLE_POLL_SECONDS = 1.0
"""How often an empty queue is polled."""
MAX_OUTAGE_BACKOFF_SECONDS = 15.0
"""The longest pause between attempts while IVS does not respond at all."""
MESSAGE_MAX_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class DispatchContext:
    """A dispatcher's dependencies: the queue, IVS, a clock and a source of jitter."""

    queue: RevocationQueue
    control_plane: ControlPlane
    clock: Clock
    jitter: Callable[[], float]
    """Returns a random number from 0 to 1."""
    map_concurrently: Callable[
        [Callable[[RevocationCall], list[DeliveryOutcome]], Iterable[RevocationCall]], Iterable[list[DeliveryOutcome]]
    ] = map
    """`map`, or a variant that makes several calls at a time."""


class DispatchResult(NamedTuple):
    """The result of one run."""

    sent: int
    failed: int
    deferred: int
    """Will be retried."""
    errors_by_code: Mapping[str, int]
    """The number of failed entries by IVS's own code or the transport's."""
    next_run_in_seconds: float
    """How long until the next run can do anything."""


@dataclass
class RateLimitedOperation:
    """One of IVS's two operations with its rate limit."""

    name: str
    limiter: RateLimiter
    throttle: AimdThrottle = field(default_factory=AimdThrottle)

    def available(self, now: float) -> int:
        """How many calls may be made now."""
        return self.limiter.available(now, self.throttle.pace(now))

    def available_in_seconds(self, now: float) -> float:
        """How long until a call may be made."""
        return 0.0 if self.available(now) else self.limiter.next_available_at(self.throttle.pace(now)) - now


class RevocationCall(NamedTuple):
    """One request to IVS."""

    operation: RateLimitedOperation
    entries: Sequence[QueueEntry]


class Dispatcher:
    """Delivers the revocations of one account and region. A leader creates a new one whenever it acquires the lease;
    its rate limits start exhausted for a second, because the previous leader may have used up their capacity."""

    def __init__(self, context: DispatchContext, account_region: AccountRegion, rate_fraction: float) -> None:
        """`rate_fraction` is the fraction of IVS's documented rates to use: above 0, at most 1."""
        now = context.clock.monotonic()
        self._context = context
        self._account_region = account_region
        self._single = RateLimitedOperation(
            "StartViewerSessionRevocation", RateLimiter(SINGLE_CALLS_PER_SECOND * rate_fraction, now)
        )
        self._batch = RateLimitedOperation(
            "BatchStartViewerSessionRevocation", RateLimiter(BATCH_CALLS_PER_SECOND * rate_fraction, now)
        )
        self._unrecorded: list[DeliveryOutcome] = []
        self._got_response = False
        self._runs_without_response = 0
        self._backed_off_until = -math.inf

    def run_once(self) -> DispatchResult:
        """Send what may be sent now. Raises StoreError; the next run then records the outcomes of what was sent."""
        self.flush()
        now = self._context.clock.monotonic()
        if now < self._backed_off_until:
            return DispatchResult(0, 0, 0, {}, self._backed_off_until - now)
        singles, batches = self._single.available(now), self._batch.available(now)
        calls = self._plan_calls(singles, batches)
        self._got_response = False
        for outcomes in self._context.map_concurrently(self._send, calls):
            self._unrecorded += outcomes
        recorded = tuple(self._unrecorded)
        self.flush()
        if calls:
            self._back_off()
        is_idle = not calls and singles + batches > 0
        states = Counter(outcome.state for outcome in recorded)
        errors_by_code = Counter(outcome.code for outcome in recorded if outcome.code)
        return DispatchResult(
            states[RevocationState.SENT],
            states[RevocationState.FAILED],
            states[RevocationState.QUEUED],
            errors_by_code,
            self._next_run_in(is_idle),
        )

    def flush(self) -> None:
        """Record the outcomes that are not recorded yet. Raises StoreError, and then keeps them."""
        self._context.queue.record_outcomes(self._unrecorded)
        self._unrecorded = []

    def _plan_calls(self, singles: int, batches: int) -> list[RevocationCall]:
        """Claim entries for at most this many calls of each operation."""
        batch_capacity = batches * BATCH_VIEWERS
        bulk = self._claim_entries(Priority.BULK, batch_capacity)
        interactive = self._claim_entries(Priority.INTERACTIVE, singles + batch_capacity - len(bulk))
        more = self._claim_entries(Priority.BULK, singles - len(interactive)) if len(bulk) == batch_capacity else []
        single_entries, batch_entries = interactive[:singles] + more, interactive[singles:] + bulk
        batches_of_entries = (
            batch_entries[start : start + BATCH_VIEWERS] for start in range(0, len(batch_entries), BATCH_VIEWERS)
        )
        return [RevocationCall(self._single, [e]) for e in single_entries] + [
            RevocationCall(self._batch, entries) for entries in batches_of_entries
        ]

    def _claim_entries(self, priority: Priority, limit: int) -> list[QueueEntry]:
        return self._context.queue.claim(self._account_region, priority, limit, CLAIM_SECONDS) if limit > 0 else []

    def _send(self, call: RevocationCall) -> list[DeliveryOutcome]:
        """Make one call and return the outcome of each of its entries."""
        operation, request_entries = call.operation.name, [_request_entry(entry) for entry in call.entries]
        request = request_entries[0] if call.operation is self._single else {"viewerSessions": request_entries}
        try:
            response = self._context.control_plane.call(self._account_region.region, operation, request)
        except ControlPlaneError as error:
            return self._call_failed(call, error)
        except SettingsError:
            message = "the service's settings do not allow calling IVS in this region"
            return self._call_failed(
                call, ControlPlaneUnavailable(message, operation=operation, ivs_code="SettingsError")
            )
        finally:
            call.operation.limiter.record_call(self._context.clock.monotonic())
        self._got_response = True
        errors = viewer_errors(response, [(entry.channel_arn, entry.viewer_id) for entry in call.entries])
        return [self._outcome(entry, viewer_error) for entry, viewer_error in zip(call.entries, errors, strict=True)]

    def _outcome(self, entry: QueueEntry, viewer_error: ViewerError | None) -> DeliveryOutcome:
        if viewer_error is None:
            return DeliveryOutcome.of(entry, RevocationState.SENT)
        return _failed(entry, *viewer_error) if viewer_error.is_permanent else self._deferred(entry, *viewer_error)

    def _call_failed(self, call: RevocationCall, error: ControlPlaneError) -> list[DeliveryOutcome]:
        """The outcomes of a call that failed as a whole."""
        code, message = error.ivs_code, error.message
        permanent = is_permanent(error)
        if permanent and call.operation is self._single:
            self._got_response = True
            return [_failed(entry, code, message) for entry in call.entries]
        throttled = isinstance(error, ControlPlaneThrottled)
        if permanent or throttled:
            self._got_response = True
            call.operation.throttle.record_throttle(self._context.clock.monotonic())
        if permanent:  # one entry is invalid, or batches are not allowed: send each by itself, and fewer batches
            return [_requeued(entry, code, message, 0.0, Priority.INTERACTIVE) for entry in call.entries]
        # A throttled entry waits only a second, however often it was tried, so that it keeps its position.
        attempts = 1 if throttled else None
        return [self._deferred(entry, code, message, attempts) for entry in call.entries]

    def _deferred(self, entry: QueueEntry, code: str, message: str, attempts: int | None = None) -> DeliveryOutcome:
        return _requeued(entry, code, message, backoff(attempts or entry.attempts, self._context.jitter()))

    def _back_off(self) -> None:
        """Pause longer after each run in which IVS did not respond at all."""
        self._runs_without_response = 0 if self._got_response else self._runs_without_response + 1
        if self._runs_without_response:
            seconds = backoff(self._runs_without_response, self._context.jitter(), MAX_OUTAGE_BACKOFF_SECONDS)
            self._backed_off_until = self._context.clock.monotonic() + seconds

    def _next_run_in(self, is_idle: bool) -> float:
        now = self._context.clock.monotonic()
        soonest = (
            IDLE_POLL_SECONDS
            if is_idle
            else min(self._single.available_in_seconds(now), self._batch.available_in_seconds(now))
        )
        return max(soonest, self._backed_off_until - now)


def _request_entry(entry: QueueEntry) -> dict[str, Any]:
    return {
        "channelArn": entry.channel_arn,
        "viewerId": entry.viewer_id,
        "viewerSessionVersionsLessThanOrEqualTo": entry.version,
    }


def _failed(entry: QueueEntry, code: str, message: str) -> DeliveryOutcome:
    return DeliveryOutcome.of(entry, RevocationState.FAILED, code, message[:MESSAGE_MAX_CHARS])


def _requeued(
    entry: QueueEntry, code: str, message: str, seconds: float, priority: Priority | None = None
) -> DeliveryOutcome:
    return DeliveryOutcome.of(entry, RevocationState.QUEUED, code, message[:MESSAGE_MAX_CHARS], seconds, priority)

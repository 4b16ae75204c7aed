"""Revocations: accepted durably, then told to IVS as fast as it allows, at least once.

Rules of the file
- Durable first: `accept_revocations` returns when the store has it; nothing else is needed for it to reach IVS some day.
- A dispatcher serves one account and region, and leads there alone. It claims what its allowances let it tell, tells
  it, settles it. Killed between any two lines, its claims lapse and the next one tells them again, which is harmless.
- Who asked for a single revocation has the first claim to IVS's single calls, a storm to its batches; what one of them
  leaves idle the other takes. Within each the oldest goes first.
- A channel's region is text from outside, and each region costs threads, a lease and a client of IVS: nothing is
  accepted, and nothing sent, for a region in which this deployment does not work.
- A fault that concerns one entry rests that entry; a throttle slows the operation; when nothing answers, all rests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.callers.policy import Caller
from tokensvc.clock import Clock
from tokensvc.deployment.record import DeploymentStore
from tokensvc.errors import (
    ControlPlaneError,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
    FieldError,
    InvalidRequest,
    SettingsError,
)
from tokensvc.keys.store import KeyStore
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
from tokensvc.revocations.store import Accepted, IdempotencyKey, NewRevocation, RevocationStore
from tokensvc.tokens import claims
from tokensvc.tokens.denylist import MAX_SESSION_VERSION
from tokensvc.tokens.viewer_ids import check_viewer_id

CLAIM_SECONDS = 60.0
"""How long a dispatcher may take to tell and settle what it claimed; a call gives up after 7 seconds."""
IDLE_POLL_SECONDS = 1.0
"""How often an empty queue is looked at."""
MAX_OUTAGE_BACKOFF_SECONDS = 15.0
"""While IVS does not answer at all, it is asked so often at least."""
TARGETS_MAX = 5000
"""Viewers times channels in one request: what the store takes in one transaction well within its time-out."""
MESSAGE_MAX_CHARS = 300


def accept_revocations(
    store: RevocationStore,
    caller: Caller,
    wanted: Sequence[NewRevocation],
    now: float,
    max_staleness_seconds: float,
    is_served: IsServed,
    idempotency: IdempotencyKey | None = None,
) -> list[Accepted]:
    """Make a caller's revocations durable; R is `max_staleness_seconds`.

    One alone goes before a storm. Raises InvalidRequest naming each bad field, ChannelNotAllowed, IdempotencyKeyReused.
    """
    check_revocations(caller, wanted, now, is_served)
    priority = Priority.INTERACTIVE if len(wanted) == 1 else Priority.BULK
    return store.accept(caller.name, wanted, priority, max_staleness_seconds, idempotency)


def check_revocations(caller: Caller, wanted: Sequence[NewRevocation], now: float, is_served: IsServed) -> None:
    """Raise what `accept_revocations` would refuse these for, before anything is written."""
    if not wanted:
        raise InvalidRequest([FieldError("revocations", "must name one at least")])
    paths = [""] if len(wanted) == 1 else [f"revocations[{number}]." for number in range(len(wanted))]
    if errors := [error for new, path in zip(wanted, paths, strict=True) for error in _errors(new, now, path)]:
        raise InvalidRequest(errors)
    if sum(len(new.channel_arns) * len(new.viewer_ids) for new in wanted) > TARGETS_MAX:
        raise InvalidRequest([], f"a request may revoke {TARGETS_MAX} viewers of channels at most")
    caller.require_channels(channel for new in wanted for channel in new.channel_arns)
    errors = [
        error._replace(field=f"{path}{error.field}")
        for new, path in zip(wanted, paths, strict=True)
        for error in unserved_channel_errors(new.channel_arns, is_served)
    ]
    if errors:
        raise InvalidRequest(errors)


IsServed = Callable[[AccountRegion], bool]
"""Whether this deployment works in an account and region. Raises StoreError."""


class ServedRegions:
    """The accounts and regions that this deployment works in: those of its keys, whatever became of them, and in its
    account the regions that the settings name."""

    def __init__(self, keys: KeyStore, deployment: DeploymentStore, configured: Callable[[], Sequence[str]]) -> None:
        """`configured` is called when no key of the deployment is in a region that is asked about."""
        self._keys = keys
        self._deployment = deployment
        self._configured = configured
        self._known: frozenset[AccountRegion] = frozenset()

    def checker(self) -> IsServed:
        """For one request or one pass of a loop: reads the store once at most, and only for what was not known before.

        A region that was served once stays known: revocations of its viewers may come when its keys are gone.
        """
        unbound: Sequence[str] | None = None

        def is_served(account_region: AccountRegion) -> bool:
            nonlocal unbound
            if account_region in self._known:
                return True
            if unbound is None:
                unbound = self._read()
            return account_region in self._known or account_region.region in unbound

        return is_served

    def _read(self) -> Sequence[str]:
        """Read what is known, and return the regions that count for every account: none once the account is known."""
        account, configured = self._deployment.read().account, self._configured()
        held = {there.account_region for record in self._keys.list() for there in record.placements}
        if account is None:
            self._known |= held
            return configured
        self._known |= held | {AccountRegion(account, region) for region in configured}
        return ()


def unserved_channel_errors(channel_arns: Sequence[str], is_served: IsServed) -> list[FieldError]:
    """An error for each of these channels that lies where this deployment does not work."""
    found = dict.fromkeys(parse_arn(arn, "channel").account_region for arn in channel_arns)
    return [
        FieldError(
            "channelArns", f"is in account {place.account}, region {place.region}, where this service holds no key"
        )
        for place in found
        if not is_served(place)
    ]


@dataclass(frozen=True, kw_only=True)
class DispatchContext:
    """What a dispatcher works with: the queue, IVS, a clock, and a source of jitter."""

    queue: RevocationQueue
    control_plane: ControlPlane
    clock: Clock
    jitter: Callable[[], float]
    """A number from 0 to 1, another each time."""
    map_concurrently: Callable[
        [Callable[[RevocationCall], list[DeliveryOutcome]], Iterable[RevocationCall]], Iterable[list[DeliveryOutcome]]
    ] = map
    """`map`, or one that makes several calls at a time."""


class DispatchResult(NamedTuple):
    """What one pass came to."""

    sent: int
    failed: int
    deferred: int
    """To be tried again."""
    errors_by_code: Mapping[str, int]
    """How many entries met which failure, by IVS's own code or the transport's."""
    next_run_in_seconds: float
    """How long until the next pass can do anything."""


@dataclass
class RateLimitedOperation:
    """One of IVS's two operations, and how often it may be used now."""

    operation: str
    limiter: RateLimiter
    throttle: AimdThrottle = field(default_factory=AimdThrottle)

    def available(self, now: float) -> int:
        """How many calls may be made."""
        return self.limiter.available(now, self.throttle.pace(now))

    def available_in_seconds(self, now: float) -> float:
        """How long until one may."""
        return 0.0 if self.available(now) else self.limiter.next_available_at(self.throttle.pace(now)) - now


class RevocationCall(NamedTuple):
    """What IVS is told at once."""

    way: RateLimitedOperation
    entries: Sequence[QueueEntry]


class Dispatcher:
    """The one that tells IVS of an account and region; made anew whenever it begins to lead, and then it waits a second
    before its first call, for whoever led before may have used up that second's."""

    def __init__(self, world: DispatchContext, account_region: AccountRegion, rate_fraction: float) -> None:
        """`share` is how much of IVS's documented rates is ours: above 0, at most 1."""
        now = world.clock.monotonic()
        self._world = world
        self._place = account_region
        self._single = RateLimitedOperation(
            "StartViewerSessionRevocation", RateLimiter(SINGLE_CALLS_PER_SECOND * rate_fraction, now)
        )
        self._batch = RateLimitedOperation(
            "BatchStartViewerSessionRevocation", RateLimiter(BATCH_CALLS_PER_SECOND * rate_fraction, now)
        )
        self._unrecorded: list[DeliveryOutcome] = []
        self._got_response = False
        self._passes_without_response = 0
        self._backed_off_until = -math.inf

    def run_once(self) -> DispatchResult:
        """Tell what may be told now. Raises StoreError, and then the next pass settles what was told."""
        self.flush()
        now = self._world.clock.monotonic()
        if now < self._backed_off_until:
            return DispatchResult(0, 0, 0, {}, self._backed_off_until - now)
        singles, batches = self._single.available(now), self._batch.available(now)
        calls = self._plan_calls(singles, batches)
        self._got_response = False
        for outcomes in self._world.map_concurrently(self._send, calls):
            self._unrecorded += outcomes
        done = tuple(self._unrecorded)
        self.flush()
        if calls:
            self._back_off()
        idle = not calls and singles + batches > 0
        states = Counter(outcome.state for outcome in done)
        troubles = Counter(outcome.code for outcome in done if outcome.code)
        return DispatchResult(
            states[RevocationState.SENT],
            states[RevocationState.FAILED],
            states[RevocationState.QUEUED],
            troubles,
            self._next_run_in(idle),
        )

    def flush(self) -> None:
        """Record what was told and is not recorded yet. Raises StoreError, and then nothing is forgotten."""
        self._world.queue.record_outcomes(self._unrecorded)
        self._unrecorded = []

    def _plan_calls(self, singles: int, batches: int) -> list[RevocationCall]:
        """The calls to make, at most so many of each kind."""
        room = batches * BATCH_VIEWERS
        storm = self._claim_entries(Priority.BULK, room)
        alone = self._claim_entries(Priority.INTERACTIVE, singles + room - len(storm))
        more = self._claim_entries(Priority.BULK, singles - len(alone)) if len(storm) == room else []
        by_themselves, together = alone[:singles] + more, alone[singles:] + storm
        batched = (together[start : start + BATCH_VIEWERS] for start in range(0, len(together), BATCH_VIEWERS))
        return [RevocationCall(self._single, [e]) for e in by_themselves] + [
            RevocationCall(self._batch, some) for some in batched
        ]

    def _claim_entries(self, priority: Priority, limit: int) -> list[QueueEntry]:
        return self._world.queue.claim(self._place, priority, limit, CLAIM_SECONDS) if limit > 0 else []

    def _send(self, call: RevocationCall) -> list[DeliveryOutcome]:
        """Make one call; what it came to for each of its entries."""
        operation, told = call.way.operation, [_request_entry(entry) for entry in call.entries]
        request = told[0] if call.way is self._single else {"viewerSessions": told}
        try:
            answer = self._world.control_plane.call(self._place.region, operation, request)
        except ControlPlaneError as failure:
            return self._call_failed(call, failure)
        except SettingsError:
            words = "IVS cannot be called in this region with this service's settings"
            return self._call_failed(
                call, ControlPlaneUnavailable(words, operation=operation, ivs_code="SettingsError")
            )
        finally:
            call.way.limiter.record_call(self._world.clock.monotonic())
        self._got_response = True
        said = viewer_errors(answer, [(entry.channel_arn, entry.viewer_id) for entry in call.entries])
        return [self._outcome(entry, refusal) for entry, refusal in zip(call.entries, said, strict=True)]

    def _outcome(self, entry: QueueEntry, refusal: ViewerError | None) -> DeliveryOutcome:
        if refusal is None:
            return DeliveryOutcome.of(entry, RevocationState.SENT)
        return _failed(entry, *refusal) if refusal.is_permanent else self._deferred(entry, *refusal)

    def _call_failed(self, call: RevocationCall, failure: ControlPlaneError) -> list[DeliveryOutcome]:
        """The call failed as a whole."""
        code, message = failure.ivs_code, failure.message
        permanent = is_permanent(failure)
        if permanent and call.way is self._single:
            self._got_response = True
            return [_failed(entry, code, message) for entry in call.entries]
        throttled = isinstance(failure, ControlPlaneThrottled)
        if permanent or throttled:
            self._got_response = True
            call.way.throttle.record_throttle(self._world.clock.monotonic())
        if permanent:  # one entry is to blame, or batches are forbidden: each goes by itself, and batches get rarer
            return [_requeued(entry, code, message, 0.0, Priority.INTERACTIVE) for entry in call.entries]
        # What is throttled keeps its place: it waits a second, however often it was tried.
        tries = 1 if throttled else None
        return [self._deferred(entry, code, message, tries) for entry in call.entries]

    def _deferred(self, entry: QueueEntry, code: str, message: str, tries: int | None = None) -> DeliveryOutcome:
        return _requeued(entry, code, message, backoff(tries or entry.attempts, self._world.jitter()))

    def _back_off(self) -> None:
        """When nothing at all was answered, rest longer each time."""
        self._passes_without_response = 0 if self._got_response else self._passes_without_response + 1
        if self._passes_without_response:
            seconds = backoff(self._passes_without_response, self._world.jitter(), MAX_OUTAGE_BACKOFF_SECONDS)
            self._backed_off_until = self._world.clock.monotonic() + seconds

    def _next_run_in(self, idle: bool) -> float:
        now = self._world.clock.monotonic()
        soonest = (
            IDLE_POLL_SECONDS
            if idle
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


def _errors(new: NewRevocation, now: float, path: str) -> list[FieldError]:
    """What is wrong with one revocation, each field as JSON names it."""
    errors = []
    for name, values, check_revocations in (
        ("channelArns", new.channel_arns, claims.check_channel_arn),
        ("viewerIds", new.viewer_ids, check_viewer_id),
    ):
        if not values:
            errors.append(FieldError(f"{path}{name}", "must name one at least"))
        for value in values:
            try:
                check_revocations(value)
            except ValueError as rule:
                errors.append(FieldError(f"{path}{name}", str(rule)))
    if new.issued_before is not None and not 0 <= new.issued_before <= now:
        errors.append(FieldError(f"{path}issuedBefore", "must not lie in the future, nor before 1970"))
    if new.deny_seconds is not None and not 0 <= new.deny_seconds <= MAX_SESSION_VERSION - now:
        errors.append(FieldError(f"{path}denySeconds", "must be 0 or more, and end before 2038"))
    return errors

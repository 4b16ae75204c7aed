"""The channel cache: looks up in IVS the channels that tokens are requested for, and keeps them current.

Invariants
- Only this background task reads channels from IVS: 50 per call, at a rate that the whole deployment shares (each call
  takes a lease in the store that is never released early).
- Requests for an unknown channel wait for one lookup, and at most `lookup_timeout_seconds` from the first request for
  it. When IVS throttles or is down, tokens are issued without their playback URL.
- No caller delays another: unknown channels are taken from the callers' queues round-robin, one channel each. Queues
  are bounded; when all of them together are full, the longest drops its newest lookup. A channel that several callers
  request is in the queue of each.
- Each call reserves RECHECKS_PER_CALL of its ARNs for known channels that are due for a recheck, as far as there are
  any. Unknown channels fill the rest, and what they leave free goes to more rechecks. So neither kind can starve the
  other.
- What IVS returns is written to the store, from where every worker's refresh reads it. The absence of a channel is
  cached only here, bounded and for a minute, unless the channel existed before: invented names leave no rows.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Literal

from cachetools import TLRUCache

from tokensvc.aws.arn import parse_arn
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock
from tokensvc.deployment.leases import Leases
from tokensvc.errors import ControlPlaneError
from tokensvc.log import structlog
from tokensvc.outages import OutageTracker
from tokensvc.runner import IDLE, RunResult
from tokensvc.tokens.channels import ChannelRecord, ChannelStore
from tokensvc.tokens.snapshot import KnownChannel

INTERVAL_SECONDS = 0.5
CHANNELS_PER_CALL = 50
"""BatchGetChannel takes at most 50 ARNs (IVS API reference)."""

NOT_FOUND_SECONDS = 60
"""How long the absence of a channel is cached before IVS is asked again."""

RECHECK_SECONDS = 600
"""The age at which a known channel is read from IVS again, in the background."""

DUE_INTERVAL_SECONDS = 10
DUE_MAX = 500
"""How many channels due for a recheck are read from the store at a time: ten seconds' worth of calls."""

RECHECKS_PER_CALL = 10
"""ARNs of each call that are reserved for rechecks while unknown channels wait: at one call a second, 6,000 channels
are rechecked within RECHECK_SECONDS whatever callers request."""

FAILED_REGION_PAUSE_SECONDS = 60
"""How long the known channels of a region whose call failed are skipped, so that they do not displace others."""

PENDING_MAX = 10_000
PENDING_PER_CALLER_MAX = 500
"""As many channels as one batch of token requests may name. Beyond it a caller's tokens are issued without their
playback URL."""

RECENT_MAX = 10_000
_RECENT_SECONDS = 5
"""How long a result, or a failed lookup, is cached here: until every refresh has read it, and so that during an outage
of IVS the requests for a channel wait only once in this time."""

_log = structlog.get_logger(__name__)


class _Lookup(Future["KnownChannel | None"]):
    """The lookup of one unknown channel, which all requests for it wait for. The result is None when IVS could not be
    asked in time."""

    def __init__(self, wait_until: float) -> None:
        super().__init__()
        self.wait_until = wait_until
        self.callers: set[str] = set()
        """The callers in whose queues it is."""
        self.needs_store_read = True
        """Whether it has not been looked up in the store yet."""


class _Queues:
    """The unknown channels of one region, by caller, ordered by how long ago the caller had its last turn."""

    def __init__(self) -> None:
        self.by_caller: OrderedDict[str, dict[str, None]] = OrderedDict()
        self.size = 0
        """The length of all queues together."""

    def length(self, caller: str) -> int:
        """How many channels are in this caller's queue."""
        return len(self.by_caller.get(caller, ()))

    def add(self, caller: str, arn: str) -> None:
        """Put a channel at the end of a caller's queue."""
        self.by_caller.setdefault(caller, {})[arn] = None
        self.size += 1

    def remove(self, caller: str, arn: str) -> None:
        """Take a channel out of a caller's queue."""
        queue = self.by_caller[caller]
        del queue[arn]
        self.size -= 1
        if not queue:
            del self.by_caller[caller]

    def first(self, limit: int) -> list[str]:
        """The next channels in turn: one of each caller, then another of each, until there are `limit`."""
        channels: dict[str, None] = {}
        rotation = deque((caller, iter(queue)) for caller, queue in self.by_caller.items())
        while rotation and len(channels) < limit:
            caller, queue = rotation.popleft()
            arn = next((arn for arn in queue if arn not in channels), None)
            if arn is not None:
                channels[arn] = None
                self.by_caller.move_to_end(caller)
                rotation.append((caller, queue))
        return list(channels)


def _completed(known: KnownChannel | None) -> Future[KnownChannel | None]:
    completed: Future[KnownChannel | None] = Future()
    completed.set_result(known)
    return completed


class ChannelCache:
    """Looks up channels that the snapshot does not hold, and rechecks known ones."""

    def __init__(
        self,
        *,
        store: ChannelStore,
        leases: Leases,
        control_plane: ControlPlane,
        clock: Clock,
        lookup_timeout_seconds: float,
        calls_per_second: float,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """`wake` requests a call of `run_once` without waiting for it."""
        self._store = store
        self._leases = leases
        self._control_plane = control_plane
        self._clock = clock
        self._lookup_timeout_seconds = lookup_timeout_seconds
        self._call_interval_seconds = 1 / calls_per_second
        self._next_due_read_at = 0.0
        self._due: dict[str, list[str]] = {}
        """By region, known channels that are due for a recheck, longest ago first."""
        self._paused_until: dict[str, float] = {}
        """By region whose call failed, until when its known channels are not rechecked."""
        self._failed_regions: set[str] = set()
        """The regions whose last call failed."""
        self._describe_outages = OutageTracker(clock.monotonic)
        """By region: IVS responds, but returns errors for some channels."""
        self._lock = threading.Lock()
        self._pending: dict[str, _Lookup] = {}
        self._queues: dict[str, _Queues] = {}
        """By region."""
        self._recent: TLRUCache[str, KnownChannel | None] = TLRUCache(
            RECENT_MAX, ttu=self._recent_until, timer=clock.monotonic
        )
        self._wake = wake

    def is_current(self, channel: KnownChannel) -> bool:
        """Whether this may be used as it is. The absence of a channel is current for NOT_FOUND_SECONDS."""
        return channel.playback_url is not None or self._age(channel.checked_at) < NOT_FOUND_SECONDS

    def look_up(self, channel_arn: str, caller: str) -> tuple[Future[KnownChannel | None], float]:
        """Look up a channel that the snapshot does not hold, for this caller. Returns the future result and for how
        many seconds to wait for it."""
        with self._lock:
            if channel_arn not in self._pending and channel_arn in self._recent:
                return _completed(self._recent.get(channel_arn)), 0
            dropped = self._enqueue(channel_arn, caller)
            lookup = self._pending.get(channel_arn)
        if dropped is not None:
            dropped.set_result(None)
        if lookup is None:
            return _completed(None), 0
        self._wake()
        return lookup, max(0.0, lookup.wait_until - self._clock.monotonic())

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Resolve pending lookups from the store or IVS, and recheck the channels that are due.

        Returns IDLE when there was nothing to do or a region's last call failed. Raises StoreError and
        ControlPlaneError.
        """
        with self._lock:
            new = [arn for arn, lookup in self._pending.items() if lookup.needs_store_read]
        if new:
            self._resolve([_known_channel(row) for row in self._store.get(new)])
            with self._lock:
                for arn in new:
                    if arn in self._pending:
                        self._pending[arn].needs_store_read = False
        read_due = self._read_due()
        looked_up = self._call_regions()
        return None if (new or read_due or looked_up) and not self._failed_regions else IDLE

    def _enqueue(self, arn: str, caller: str) -> _Lookup | None:
        """Put a channel into this caller's queue if there is room. Returns the lookup that was dropped for it."""
        queues, dropped = self._queues.setdefault(_region(arn), _Queues()), None
        if arn in self._pending and caller in self._pending[arn].callers:
            return None
        length = queues.length(caller)
        if length >= PENDING_PER_CALLER_MAX:
            return None
        if sum(queues.size for queues in self._queues.values()) >= PENDING_MAX:
            longest, owner = max(
                ((queues, caller) for queues in self._queues.values() for caller in queues.by_caller),
                key=lambda pair: pair[0].length(pair[1]),
            )
            if longest.length(owner) <= length + 1:  # this caller already has its share
                return None
            dropped = self._drop_newest(longest, owner)
        if arn not in self._pending:
            self._pending[arn] = _Lookup(self._clock.monotonic() + self._lookup_timeout_seconds)
        self._pending[arn].callers.add(caller)
        queues.add(caller, arn)
        return dropped

    def _drop_newest(self, queues: _Queues, caller: str) -> _Lookup | None:
        """Remove the newest channel from a queue. Returns its lookup unless it is in another caller's queue."""
        newest = next(reversed(queues.by_caller[caller]))
        queues.remove(caller, newest)
        self._pending[newest].callers.remove(caller)
        return None if self._pending[newest].callers else self._pending.pop(newest)

    def _read_due(self) -> bool:
        """Read from the store which channels are due for a recheck, at most every DUE_INTERVAL_SECONDS. Returns whether
        it was read."""
        now = self._clock.monotonic()
        if now < self._next_due_read_at:
            return False
        self._next_due_read_at = now + DUE_INTERVAL_SECONDS
        self._paused_until = {region: until for region, until in self._paused_until.items() if until > now}
        self._due = {}
        checked_before = self._now() - timedelta(seconds=RECHECK_SECONDS)
        for arn in self._store.due(checked_before, DUE_MAX, tuple(self._paused_until)):
            self._due.setdefault(_region(arn), []).append(arn)
        return True

    def _call_regions(self) -> bool:
        """Make a call in each region that has work and gets the lease. Returns whether any region had work."""
        with self._lock:
            regions = dict.fromkeys([region for region, queues in self._queues.items() if queues.by_caller])
        failures = []
        wanted = regions | dict.fromkeys(self._due)
        for region in wanted:
            if self._leases.acquire(f"channel cache {region}", str(uuid.uuid4()), self._call_interval_seconds):
                try:
                    self._call_region(region)
                except ControlPlaneError as failure:  # a region that is down delays only itself
                    self._paused_until[region] = self._clock.monotonic() + FAILED_REGION_PAUSE_SECONDS
                    self._due.pop(region, None)
                    self._failed_regions.add(region)
                    failures.append(failure)
        if failures:
            raise failures[0]
        return bool(wanted)

    def _call_region(self, region: str) -> None:
        """Make one call, for the next lookups and rechecks of this region."""
        due = self._due.get(region, [])
        with self._lock:
            wanted = self._queues.get(region, _Queues()).first(CHANNELS_PER_CALL - min(len(due), RECHECKS_PER_CALL))
        room = CHANNELS_PER_CALL - len(wanted)
        rechecks, remaining = due[:room], due[room:]
        wanted, rechecks = self._drop_current(wanted, rechecks)
        if wanted or rechecks:
            self._batch_get(region, [*wanted, *rechecks])
        self._due = {name: arns for name, arns in (self._due | {region: remaining}).items() if arns}

    def _drop_current(self, wanted: Sequence[str], rechecks: Sequence[str]) -> tuple[list[str], list[str]]:
        """Leave out what another worker has looked up or rechecked in the meantime."""
        known = {row.arn: row for row in self._store.get([*dict.fromkeys((*wanted, *rechecks))])}
        self._resolve([_known_channel(known[arn]) for arn in wanted if arn in known])
        with self._lock:
            wanted = [arn for arn in wanted if arn in self._pending]
        rechecks = [arn for arn in rechecks if arn in known and self._age(known[arn].checked_at) >= RECHECK_SECONDS]
        return wanted, [arn for arn in rechecks if arn not in wanted]

    def _batch_get(self, region: str, arns: list[str]) -> None:
        try:
            response = self._control_plane.call(region, "BatchGetChannel", {"arns": arns})
        except ControlPlaneError:
            self._resolve_unknown(arns)
            raise
        self._failed_regions.discard(region)
        now = self._now()
        rows = [
            ChannelRecord(c["arn"], c.get("playbackUrl"), bool(c.get("authorized")), now, 0)
            for c in response.get("channels", ())
        ]
        errors: dict[str, str] = {}
        for error in response.get("errors", ()):
            if error.get("code") in _ABSENT_CODES and error.get("arn") in arns:
                rows.append(ChannelRecord(error["arn"], None, False, now, 0))
            else:
                errors[str(error.get("code"))] = str(error.get("arn"))
        self._log_describe_errors(region, errors)
        self._store.record(rows)
        self._resolve([_known_channel(row) for row in rows])
        self._resolve_unknown(arns)

    def _log_describe_errors(self, region: str, errors: Mapping[str, str]) -> None:
        """Log the channels for which IVS returned an error, one for each code."""
        for code, arn in errors.items():
            if report := self._describe_outages.record_failure(region, code):
                seconds = round(report.seconds, 1)
                _log.warning("IVS returned an error for a channel", code=code, channel=arn, seconds=seconds)
        if not errors and (report := self._describe_outages.record_recovery(region)):
            _log.info("IVS returns channels without errors again", region=region, seconds=round(report.seconds, 1))

    def _resolve(self, channels: list[tuple[str, KnownChannel]]) -> None:
        for arn, known in channels:
            if not self.is_current(known):
                continue
            with self._lock:
                self._recent[arn] = known
                lookup = self._remove_pending(arn)
            if lookup is not None:
                lookup.set_result(known)

    def _resolve_unknown(self, arns: list[str]) -> None:
        """Complete these lookups without a result."""
        for arn in arns:
            with self._lock:
                lookup = self._remove_pending(arn)
                if lookup is not None:
                    self._recent[arn] = None
            if lookup is not None:
                lookup.set_result(None)

    def _remove_pending(self, arn: str) -> _Lookup | None:
        """Remove a lookup from the pending ones and from all queues, and return it."""
        lookup = self._pending.pop(arn, None)
        if lookup is not None:
            for caller in lookup.callers:
                self._queues[_region(arn)].remove(caller, arn)
        return lookup

    def _recent_until(self, _arn: str, known: KnownChannel | None, now: float) -> float:
        """Until when a result is cached; the absence of a channel for as long as it is current."""
        if known is None or known.playback_url is not None:
            return now + _RECENT_SECONDS
        return now + max(0.0, NOT_FOUND_SECONDS - self._age(known.checked_at))

    def _age(self, checked_at: datetime) -> float:
        return (self._now() - checked_at).total_seconds()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


_ABSENT_CODES = frozenset({"ResourceNotFoundException", "404"})
"""INFERRED: BatchGetChannel reports a missing channel by an exception's name or by a bare status code in
`errors[].code`, the two forms that AWS shows for other batch operations of IVS."""


def _region(arn: str) -> str:
    return parse_arn(arn, "channel").account_region.region


def _known_channel(row: ChannelRecord) -> tuple[str, KnownChannel]:
    return row.arn, KnownChannel(row.playback_url, row.authorized, row.checked_at)

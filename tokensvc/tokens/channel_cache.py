"""The channel directory: finds what IVS knows of the channels that tokens are asked for, and keeps it current.

Rules of the file
- Only this duty asks IVS about channels: 50 a call, at a pace that the whole deployment shares (a lease in the store
  that nobody gives back early is one call's turn).
- Who asks for an unknown channel waits once, together with all who ask for it, and never beyond `wait_seconds` from the
  first one's asking. A throttle or an outage answers nobody: the token goes out without its playback URL.
- No caller delays another: unknown channels are taken from the callers' queues in turns, one channel each. A queue is
  bounded; where all together are full, the longest gives up its newest question. A channel that several callers ask
  for is in the queue of each.
- The order of a call: RECHECKS_PER_CALL of its places are for known channels that are due for another look, as far as
  there are any; the others are for unknown channels; what these leave free is for more of the known ones. So neither
  kind can keep the other from IVS for ever.
- What was found goes to the store, from where every worker's refresh takes it. That there is no such channel is
  remembered here alone, bounded and for a minute, unless it was there before: names that a caller invents leave no row.
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
"""How long a channel that IVS does not know is taken as unknown without asking again."""

RECHECK_SECONDS = 600
"""How old what we know of a channel may get before it is asked for again, in the background."""

DUE_INTERVAL_SECONDS = 10
DUE_MAX = 500
"""How many channels that are due for another look are read from the store at once: ten seconds' worth of calls."""

RECHECKS_PER_CALL = 10
"""Places of a call that are for known channels while unknown ones wait: at one call a second 6,000 channels are looked
at again in RECHECK_SECONDS whatever callers ask for."""

FAILED_REGION_PAUSE_SECONDS = 60
"""How long the known channels of a region that did not answer are left out, so that they fill no others' places."""

PENDING_MAX = 10_000
PENDING_PER_CALLER_MAX = 500
"""As many channels as one batch of asks may name. Beyond it a caller's tokens go out without their playback URL."""

RECENT_MAX = 10_000
_RECENT_SECONDS = 5
"""How long an answer, or that there was none, is remembered here: until every refresh has it, and so that an outage of
IVS makes a channel's asks wait once in this time and not each."""

_log = structlog.get_logger(__name__)


class _Lookup(Future["KnownChannel | None"]):
    """One unknown channel, and everyone who waits for it; None: IVS could not be asked in time."""

    def __init__(self, wait_until: float) -> None:
        super().__init__()
        self.wait_until = wait_until
        self.callers: set[str] = set()
        """Whose queues it is in."""
        self.is_new = True
        """Whether the store was not asked for it yet."""


class _Queues:
    """The unknown channels of one region, by caller. A caller's turn has come longer ago the earlier it stands."""

    def __init__(self) -> None:
        self.by_caller: OrderedDict[str, dict[str, None]] = OrderedDict()
        self.size = 0
        """Of all queues together."""

    def length(self, caller: str) -> int:
        """How many channels wait for this caller."""
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

    def first(self, room: int) -> list[str]:
        """The channels whose turn it is: one of each caller, then another of each, until `room` are found."""
        found: dict[str, None] = {}
        turns = deque((caller, iter(queue)) for caller, queue in self.by_caller.items())
        while turns and len(found) < room:
            caller, queue = turns.popleft()
            arn = next((arn for arn in queue if arn not in found), None)
            if arn is not None:
                found[arn] = None
                self.by_caller.move_to_end(caller)
                turns.append((caller, queue))
        return list(found)


def _answered(known: KnownChannel | None) -> Future[KnownChannel | None]:
    answered: Future[KnownChannel | None] = Future()
    answered.set_result(known)
    return answered


class ChannelCache:
    """Answers what is known of a channel, and finds out what is not."""

    def __init__(
        self,
        *,
        store: ChannelStore,
        leases: Leases,
        control_plane: ControlPlane,
        clock: Clock,
        wait_seconds: float,
        calls_per_second: float,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """`wake` makes whoever runs `once` run it at once; it returns at once."""
        self._store = store
        self._leases = leases
        self._control_plane = control_plane
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._turn_seconds = 1 / calls_per_second
        self._due_again_at = 0.0
        self._due: dict[str, list[str]] = {}
        """By region, known channels that are due for another look, longest ago first."""
        self._rests_until: dict[str, float] = {}
        """By region that did not answer, until when none of its known channels is looked at again."""
        self._failing: set[str] = set()
        """Regions whose last call failed."""
        self._undescribed = OutageTracker(clock.monotonic)
        """By region: IVS answers, and describes not every channel."""
        self._lock = threading.Lock()
        self._pending: dict[str, _Lookup] = {}
        self._queues: dict[str, _Queues] = {}
        """By region."""
        self._recent: TLRUCache[str, KnownChannel | None] = TLRUCache(
            RECENT_MAX, ttu=self._forget_at, timer=clock.monotonic
        )
        self._wake = wake

    def is_current(self, channel: KnownChannel) -> bool:
        """Whether this may be answered as it is; a channel that IVS did not know is asked for again after a minute."""
        return channel.playback_url is not None or self._age(channel.checked_at) < NOT_FOUND_SECONDS

    def look_up(self, channel_arn: str, caller: str) -> tuple[Future[KnownChannel | None], float]:
        """A question of this caller about a channel that the snapshot does not know, and how many seconds it is worth
        waiting for."""
        with self._lock:
            if channel_arn not in self._pending and channel_arn in self._recent:
                return _answered(self._recent.get(channel_arn)), 0
            dropped = self._enqueue(channel_arn, caller)
            question = self._pending.get(channel_arn)
        if dropped is not None:
            dropped.set_result(None)
        if question is None:
            return _answered(None), 0
        self._wake()
        return question, max(0.0, question.wait_until - self._clock.monotonic())

    def run_once(self) -> Literal[RunResult.IDLE] | None:
        """Answer what is pending from the store or IVS, and look again at what was last looked at long ago.

        IDLE where nothing was asked, or a region is still to be asked again that did not answer. Raises StoreError and
        ControlPlaneError.
        """
        with self._lock:
            new = [arn for arn, question in self._pending.items() if question.is_new]
        if new:
            self._answer([_known_of(row) for row in self._store.get(new)])
            with self._lock:
                for arn in new:
                    if arn in self._pending:
                        self._pending[arn].is_new = False
        read_due = self._find_due()
        looked_up = self._call_regions()
        return None if (new or read_due or looked_up) and not self._failing else IDLE

    def _enqueue(self, arn: str, caller: str) -> _Lookup | None:
        """Put a channel into this caller's queue, if it has room; a question that had to be given up for it."""
        queues, dropped = self._queues.setdefault(_region(arn), _Queues()), None
        if arn in self._pending and caller in self._pending[arn].callers:
            return None
        length = queues.length(caller)
        if length >= PENDING_PER_CALLER_MAX:
            return None
        if sum(queues.size for queues in self._queues.values()) >= PENDING_MAX:
            longest, whose = max(
                ((queues, caller) for queues in self._queues.values() for caller in queues.by_caller),
                key=lambda which: which[0].length(which[1]),
            )
            if longest.length(whose) <= length + 1:  # this caller has its share already
                return None
            dropped = self._drop_newest(longest, whose)
        if arn not in self._pending:
            self._pending[arn] = _Lookup(self._clock.monotonic() + self._wait_seconds)
        self._pending[arn].callers.add(caller)
        queues.add(caller, arn)
        return dropped

    def _drop_newest(self, queues: _Queues, caller: str) -> _Lookup | None:
        """Take the newest channel out of a queue; the question, if it is in no other caller's queue."""
        newest = next(reversed(queues.by_caller[caller]))
        queues.remove(caller, newest)
        self._pending[newest].callers.remove(caller)
        return None if self._pending[newest].callers else self._pending.pop(newest)

    def _find_due(self) -> bool:
        """Find what was last looked at long ago; the store is asked for it now and then only. Whether it was."""
        now = self._clock.monotonic()
        if now < self._due_again_at:
            return False
        self._due_again_at = now + DUE_INTERVAL_SECONDS
        self._rests_until = {region: until for region, until in self._rests_until.items() if until > now}
        self._due = {}
        checked_before = self._now() - timedelta(seconds=RECHECK_SECONDS)
        for arn in self._store.due(checked_before, DUE_MAX, tuple(self._rests_until)):
            self._due.setdefault(_region(arn), []).append(arn)
        return True

    def _call_regions(self) -> bool:
        """Make a call in each region whose turn it is; whether there was any to consider."""
        with self._lock:
            regions = dict.fromkeys([region for region, queues in self._queues.items() if queues.by_caller])
        failures = []
        wanted = regions | dict.fromkeys(self._due)
        for region in wanted:
            if self._leases.acquire(f"channel directory {region}", str(uuid.uuid4()), self._turn_seconds):
                try:
                    self._take_turn(region)
                except ControlPlaneError as failure:  # a region that is down delays only itself
                    self._rests_until[region] = self._clock.monotonic() + FAILED_REGION_PAUSE_SECONDS
                    self._due.pop(region, None)
                    self._failing.add(region)
                    failures.append(failure)
        if failures:
            raise failures[0]
        return bool(wanted)

    def _take_turn(self, region: str) -> None:
        """Make one call, for whatever it is the turn of in this region."""
        due = self._due.get(region, [])
        with self._lock:
            wanted = self._queues.get(region, _Queues()).first(CHANNELS_PER_CALL - min(len(due), RECHECKS_PER_CALL))
        room = CHANNELS_PER_CALL - len(wanted)
        again, left = due[:room], due[room:]
        wanted, again = self._without_answered(wanted, again)
        if wanted or again:
            self._ask_ivs(region, [*wanted, *again])
        self._due = {name: arns for name, arns in (self._due | {region: left}).items() if arns}

    def _without_answered(self, wanted: Sequence[str], again: Sequence[str]) -> tuple[list[str], list[str]]:
        """Without what another worker found or looked at meanwhile."""
        known = {row.arn: row for row in self._store.get([*dict.fromkeys((*wanted, *again))])}
        self._answer([_known_of(known[arn]) for arn in wanted if arn in known])
        with self._lock:
            wanted = [arn for arn in wanted if arn in self._pending]
        again = [arn for arn in again if arn in known and self._age(known[arn].checked_at) >= RECHECK_SECONDS]
        return wanted, [arn for arn in again if arn not in wanted]

    def _ask_ivs(self, region: str, arns: list[str]) -> None:
        try:
            answer = self._control_plane.call(region, "BatchGetChannel", {"arns": arns})
        except ControlPlaneError:
            self._give_up(arns)
            raise
        self._failing.discard(region)
        now = self._now()
        rows = [
            ChannelRecord(c["arn"], c.get("playbackUrl"), bool(c.get("authorized")), now, 0)
            for c in answer.get("channels", ())
        ]
        undescribed: dict[str, str] = {}
        for error in answer.get("errors", ()):
            if error.get("code") in _ABSENT and error.get("arn") in arns:
                rows.append(ChannelRecord(error["arn"], None, False, now, 0))
            else:
                undescribed[str(error.get("code"))] = str(error.get("arn"))
        self._log_undescribed(region, undescribed)
        self._store.record(rows)
        self._answer([_known_of(row) for row in rows])
        self._give_up(arns)

    def _log_undescribed(self, region: str, undescribed: Mapping[str, str]) -> None:
        """Log the channels that IVS answered with an error, one for each code."""
        for code, arn in undescribed.items():
            if report := self._undescribed.record_failure(region, code):
                seconds = round(report.seconds, 1)
                _log.warning("IVS would not describe a channel", code=code, channel=arn, seconds=seconds)
        if not undescribed and (report := self._undescribed.record_recovery(region)):
            _log.info("IVS describes channels again", region=region, seconds=round(report.seconds, 1))

    def _answer(self, found: list[tuple[str, KnownChannel]]) -> None:
        for arn, known in found:
            if not self.is_current(known):
                continue
            with self._lock:
                self._recent[arn] = known
                question = self._take_out(arn)
            if question is not None:
                question.set_result(known)

    def _give_up(self, arns: list[str]) -> None:
        """Let those who still wait go on without an answer."""
        for arn in arns:
            with self._lock:
                question = self._take_out(arn)
                if question is not None:
                    self._recent[arn] = None
            if question is not None:
                question.set_result(None)

    def _take_out(self, arn: str) -> _Lookup | None:
        """The question, which is pending no more."""
        question = self._pending.pop(arn, None)
        if question is not None:
            for caller in question.callers:
                self._queues[_region(arn)].remove(caller, arn)
        return question

    def _forget_at(self, _arn: str, known: KnownChannel | None, now: float) -> float:
        """How long an answer is remembered: one that there is no such channel as long as it is current."""
        if known is None or known.playback_url is not None:
            return now + _RECENT_SECONDS
        return now + max(0.0, NOT_FOUND_SECONDS - self._age(known.checked_at))

    def _age(self, checked_at: datetime) -> float:
        return (self._now() - checked_at).total_seconds()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


_ABSENT = frozenset({"ResourceNotFoundException", "404"})
"""INFERRED: how BatchGetChannel spells a missing channel in `errors[].code` is not documented. An exception's name and
a bare status are the two forms that AWS shows for other batch operations of IVS."""


def _region(arn: str) -> str:
    return parse_arn(arn, "channel").account_region.region


def _known_of(row: ChannelRecord) -> tuple[str, KnownChannel]:
    return row.arn, KnownChannel(row.playback_url, row.authorized, row.checked_at)

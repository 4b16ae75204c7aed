"""The channel directory: finds what IVS knows of the channels that tokens are asked for, and keeps it current.

Rules of the file
- Only this duty asks IVS about channels: 50 a call, at a pace that the whole deployment shares (a lease in the store
  that nobody gives back early is one call's turn).
- Who asks for an unknown channel waits once, together with all who ask for it, and never beyond `wait_seconds` from the
  first one's asking. A throttle or an outage answers nobody: the token goes out without its playback URL.
- What was found goes to the store, from where every worker's refresh takes it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

from cachetools import TTLCache

from tokensvc.core.arn import parse_arn
from tokensvc.core.snapshot import KnownChannel
from tokensvc.errors import ControlPlaneError
from tokensvc.logger import structlog
from tokensvc.ports.channels import ChannelRecord, ChannelStore
from tokensvc.ports.clock import Clock
from tokensvc.ports.control_plane import ControlPlane
from tokensvc.ports.leases import Leases

EVERY_SECONDS = 0.5
CHANNELS_PER_CALL = 50
"""BatchGetChannel takes at most 50 ARNs (IVS API reference)."""

NOT_FOUND_SECONDS = 60
"""How long a channel that IVS does not know is taken as unknown without asking again."""

RECHECK_SECONDS = 600
"""How old what we know of a channel may get before it is asked for again, in the background."""

DUE_EVERY_SECONDS = 10

_PENDING_MAX = 10_000
_RECENT_SECONDS = 5
"""How long an answer, or that there was none, is remembered here: until every refresh has it, and so that an outage of
IVS makes a channel's asks wait once in this time and not each."""

_log = structlog.get_logger(__name__)


class _Question(Future["KnownChannel | None"]):
    """One unknown channel, and everyone who waits for it; None: IVS could not be asked in time."""

    def __init__(self, wait_until: float) -> None:
        super().__init__()
        self.wait_until = wait_until


def _answered(known: KnownChannel | None) -> Future[KnownChannel | None]:
    answered: Future[KnownChannel | None] = Future()
    answered.set_result(known)
    return answered


class Directory:
    """Answers what is known of a channel, and finds out what is not."""

    def __init__(
        self,
        store: ChannelStore,
        leases: Leases,
        control_plane: ControlPlane,
        clock: Clock,
        *,
        wait_seconds: float,
        calls_per_second: float,
    ) -> None:
        self._store = store
        self._leases = leases
        self._control_plane = control_plane
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._turn_seconds = 1 / calls_per_second
        self._due_again_at = 0.0
        self._lock = threading.Lock()
        self._pending: dict[str, _Question] = {}
        self._recent: TTLCache[str, KnownChannel | None] = TTLCache(
            maxsize=_PENDING_MAX, ttl=_RECENT_SECONDS, timer=clock.monotonic
        )
        self.poke: Callable[[], None] = lambda: None
        """Set by whoever runs `once`: makes it run at once."""

    def is_current(self, channel: KnownChannel) -> bool:
        """Whether this may be answered as it is; a channel that IVS did not know is asked for again after a minute."""
        return channel.playback_url is not None or self._age(channel.checked_at) < NOT_FOUND_SECONDS

    def ask(self, channel_arn: str) -> tuple[Future[KnownChannel | None], float]:
        """A question about a channel that the snapshot does not know, and how many seconds it is worth waiting for."""
        with self._lock:
            question = self._pending.get(channel_arn)
            if question is None:
                if channel_arn in self._recent or len(self._pending) >= _PENDING_MAX:
                    return _answered(self._recent.get(channel_arn)), 0
                question = self._pending[channel_arn] = _Question(self._clock.monotonic() + self._wait_seconds)
        self.poke()
        return question, max(0.0, question.wait_until - self._clock.monotonic())

    def once(self) -> None:
        """Answer what is pending from the store or IVS, and look again at what was last looked at long ago."""
        with self._lock:
            wanted = list(self._pending)
        if wanted:
            self._answer([_known_of(row) for row in self._store.get(wanted)])
        self._look_up([arn for arn in wanted if arn in self._pending] or self._due())

    def _due(self) -> list[str]:
        """What was last looked at long ago; the store is asked for it now and then only."""
        now = self._clock.monotonic()
        if now < self._due_again_at:
            return []
        self._due_again_at = now + DUE_EVERY_SECONDS
        return self._store.due(self._now() - timedelta(seconds=RECHECK_SECONDS), CHANNELS_PER_CALL)

    def _look_up(self, arns: list[str]) -> None:
        by_region: dict[str, list[str]] = {}
        for arn in arns:
            by_region.setdefault(parse_arn(arn, "channel").place.region, []).append(arn)
        failures = []
        for region, there in by_region.items():
            if self._leases.acquire(f"channel directory {region}", str(uuid.uuid4()), self._turn_seconds):
                try:
                    self._ask_ivs(region, there[:CHANNELS_PER_CALL])
                except ControlPlaneError as failure:  # a region that is down delays only itself
                    failures.append(failure)
        if failures:
            raise failures[0]

    def _ask_ivs(self, region: str, arns: list[str]) -> None:
        try:
            answer = self._control_plane.call(region, "BatchGetChannel", {"arns": arns})
        except ControlPlaneError:
            self._give_up(arns)
            raise
        now = self._now()
        rows = [
            ChannelRecord(c["arn"], c.get("playbackUrl"), bool(c.get("authorized")), now, 0)
            for c in answer.get("channels", ())
        ]
        for error in answer.get("errors", ()):
            if error.get("code") in _ABSENT and error.get("arn") in arns:
                rows.append(ChannelRecord(error["arn"], None, False, now, 0))
            else:
                _log.warning("IVS would not describe a channel", code=error.get("code"), channel=error.get("arn"))
        self._store.record(rows)
        self._answer([_known_of(row) for row in rows])
        self._give_up(arns)

    def _answer(self, found: list[tuple[str, KnownChannel]]) -> None:
        for arn, known in found:
            if not self.is_current(known):
                continue
            with self._lock:
                self._recent[arn] = known
                question = self._pending.pop(arn, None)
            if question is not None:
                question.set_result(known)

    def _give_up(self, arns: list[str]) -> None:
        """Let those who still wait go on without an answer."""
        for arn in arns:
            with self._lock:
                question = self._pending.pop(arn, None)
                if question is not None:
                    self._recent[arn] = None
            if question is not None:
                question.set_result(None)

    def _age(self, checked_at: datetime) -> float:
        return (self._now() - checked_at).total_seconds()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


_ABSENT = frozenset({"ResourceNotFoundException", "404"})
"""INFERRED: how BatchGetChannel spells a missing channel in `errors[].code` is not documented. An exception's name and
a bare status are the two forms that AWS shows for other batch operations of IVS."""


def _known_of(row: ChannelRecord) -> tuple[str, KnownChannel]:
    return row.arn, KnownChannel(row.playback_url, row.authorized, row.checked_at)

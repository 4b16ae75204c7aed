"""A store, a local IVS with real rate limits, and dispatchers between them, on a manual clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from tests.storage.samples import MAX_STALENESS_SECONDS, make_due
from tests.support.clocks import ManualClock
from tests.support.crashes import CrashPoint
from tests.support.local_control_plane import PLACE, LocalPlane
from tokensvc.revocations.dispatcher import DispatchContext, Dispatcher, DispatchResult
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.store import NewRevocation
from tokensvc.storage.store import Store

_numbers = itertools.count()
AT_ONCE = 1000


class DispatchScenario:
    """The revocations of one deployment in one account and region."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.ivs = LocalPlane(self.clock)
        self.channel = self.ivs.channel()
        self.asked: dict[tuple[str, str], int] = {}
        """By channel and viewer, the highest version that was answered 202."""
        self.passes: list[DispatchResult] = []
        self._dice = random.Random(11)

    def close(self) -> None:
        self.ivs.close()

    def accept(self, viewers: Sequence[str], priority: Priority = Priority.BULK, channel: str = "") -> list[str]:
        """Accept one revocation for each viewer; return their ids."""
        where, ids = channel or self.channel, []
        for start in range(0, len(viewers), AT_ONCE):
            some = viewers[start : start + AT_ONCE]
            wanted = [NewRevocation(f"r{next(_numbers)}", (where,), (viewer,)) for viewer in some]
            for viewer, accepted in zip(some, self.store.revocations.accept("b", wanted, priority, MAX_STALENESS_SECONDS), strict=True):
                self.asked[where, viewer] = max(self.asked.get((where, viewer), 0), accepted.version)
                ids.append(accepted.id)
        return ids

    def context(self, wire: CrashPoint | None = None) -> DispatchContext:
        """A dispatcher's dependencies, counted by the crash point if there is one."""
        wire = wire or CrashPoint()
        queue, ivs = wire.around(self.store.revocation_queue), wire.around(self.ivs)
        return DispatchContext(queue=queue, control_plane=ivs, clock=self.clock, jitter=self._dice.random)

    def dispatcher(self, rate_fraction: float = 1.0, wire: CrashPoint | None = None) -> Dispatcher:
        """A dispatcher of a new leader."""
        return Dispatcher(self.context(wire), PLACE, rate_fraction)

    def run(self, dispatcher: Dispatcher, seconds: float) -> None:
        """Run it for so long, as its background task would: a pass whenever one is due."""
        ends_at = self.clock.monotonic() + seconds
        while True:
            self.passes.append(dispatcher.run_once())
            wait = max(self.passes[-1].next_run_in_seconds, 0.001)
            if self.clock.monotonic() + wait > ends_at:
                self.clock.advance(ends_at - self.clock.monotonic())
                return
            self.clock.advance(wait)

    def drain(self, dispatcher: Dispatcher, within_seconds: float = 3600) -> float:
        """Work until nothing waits; how long that took. What rests is let go on at once, for the store's clock, which
        it rests by, is not the test's."""
        began = self.clock.monotonic()
        while self.queued():
            assert self.clock.monotonic() - began < within_seconds, self.store.revocation_queue.backlogs()
            make_due(self.store)
            self.run(dispatcher, 1.0)
        return self.clock.monotonic() - began

    def queued(self) -> int:
        """The number of queued entries."""
        return sum(waiting.queued for waiting in self.store.revocation_queue.backlogs().values())

    def check_nothing_lost(self) -> None:
        """Check that IVS recorded every accepted revocation that is not queued."""
        for (channel, viewer), version in self.asked.items():
            assert self.ivs.revoked(channel, viewer) >= version, viewer

    def state(self, revocation_id: str) -> RevocationState:
        return self.store.revocations.get(revocation_id, ("*",)).state

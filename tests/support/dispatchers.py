"""A store, a local IVS with real rate limits, and dispatchers between them, on a manual clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from tests.storage.samples import MAX_STALENESS_SECONDS, make_due
from tests.support.audit import EVENT
from tests.support.clocks import ManualClock
from tests.support.crashes import CrashPoint
from tests.support.local_control_plane import ACCOUNT_REGION, LocalControlPlane
from tokensvc.revocations.dispatcher import DispatchContext, Dispatcher, DispatchResult
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.store import NewRevocation
from tokensvc.storage.store import Store

_numbers = itertools.count()
BATCH_SIZE = 1000


class DispatchScenario:
    """The revocations of one deployment in one account and region."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.ivs = LocalControlPlane(self.clock)
        self.channel = self.ivs.channel()
        self.accepted_versions: dict[tuple[str, str], int] = {}
        """By channel and viewer, the highest accepted version."""
        self.results: list[DispatchResult] = []
        self._random = random.Random(11)

    def close(self) -> None:
        self.ivs.close()

    def accept(self, viewers: Sequence[str], priority: Priority = Priority.BULK, channel: str = "") -> list[str]:
        """Accept one revocation for each viewer; return their ids."""
        channel, ids = channel or self.channel, []
        for start in range(0, len(viewers), BATCH_SIZE):
            batch = viewers[start : start + BATCH_SIZE]
            revocations = [NewRevocation(f"r{next(_numbers)}", (channel,), (viewer,)) for viewer in batch]
            for viewer, accepted in zip(
                batch,
                self.store.revocations.accept("b", revocations, priority, MAX_STALENESS_SECONDS, events=[EVENT]),
                strict=True,
            ):
                self.accepted_versions[channel, viewer] = max(
                    self.accepted_versions.get((channel, viewer), 0), accepted.version
                )
                ids.append(accepted.id)
        return ids

    def context(self, crash_point: CrashPoint | None = None) -> DispatchContext:
        """A dispatcher's dependencies, counted by the crash point if there is one."""
        crash_point = crash_point or CrashPoint()
        queue, ivs = crash_point.wrap(self.store.revocation_queue), crash_point.wrap(self.ivs)
        return DispatchContext(queue=queue, control_plane=ivs, clock=self.clock, jitter=self._random.random)

    def dispatcher(self, rate_fraction: float = 1.0, crash_point: CrashPoint | None = None) -> Dispatcher:
        """A dispatcher of a new leader."""
        return Dispatcher(self.context(crash_point), ACCOUNT_REGION, rate_fraction)

    def run(self, dispatcher: Dispatcher, seconds: float) -> None:
        """Run it for that long as its background task would: a pass whenever one is due."""
        ends_at = self.clock.monotonic() + seconds
        while True:
            self.results.append(dispatcher.run_once())
            wait = max(self.results[-1].next_run_in_seconds, 0.001)
            if self.clock.monotonic() + wait > ends_at:
                self.clock.advance(ends_at - self.clock.monotonic())
                return
            self.clock.advance(wait)

    def drain(self, dispatcher: Dispatcher, within_seconds: float = 3600) -> float:
        """Run until the queue is empty; return how many seconds that took. Deferred entries are made due
        immediately, because they wait by the store's clock, which the test does not control."""
        started_at = self.clock.monotonic()
        while self.queued():
            assert self.clock.monotonic() - started_at < within_seconds, self.store.revocation_queue.backlogs()
            make_due(self.store)
            self.run(dispatcher, 1.0)
        return self.clock.monotonic() - started_at

    def queued(self) -> int:
        """The number of queued entries."""
        return sum(backlog.queued for backlog in self.store.revocation_queue.backlogs().values())

    def check_nothing_lost(self) -> None:
        """Check that IVS recorded every accepted revocation that is not queued."""
        for (channel, viewer), version in self.accepted_versions.items():
            assert self.ivs.revoked(channel, viewer) >= version, viewer

    def state(self, revocation_id: str) -> RevocationState:
        return self.store.revocations.get(revocation_id, ("*",)).state

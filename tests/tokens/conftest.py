"""A simulated IVS, and channel caches that share a rate limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.clocks import ManualClock
from tests.support.leases import ManualLeases
from tests.support.simulated_ivs import SimulatedIvs
from tokensvc.deployment.leases import Leases
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.channels import ChannelStore

WAIT = 0.3
Make = Callable[..., ChannelCache]


@pytest.fixture
def ivs() -> SimulatedIvs:
    return SimulatedIvs()


@pytest.fixture
def make(store: Store, ivs: SimulatedIvs, clock: ManualClock) -> Make:
    """Makes directories, as workers of one deployment have them; leases run on the test's clock unless told."""
    shared = ManualLeases(clock)

    def directory(
        leases: Leases = shared,
        channels: ChannelStore = store.channels,
        wake: Callable[[], object] = lambda: None,
    ) -> ChannelCache:
        return ChannelCache(
            store=channels,
            leases=leases,
            control_plane=ivs,
            clock=clock,
            lookup_timeout_seconds=WAIT,
            calls_per_second=1,
            wake=wake,
        )

    return directory


@pytest.fixture
def directory(make: Make) -> ChannelCache:
    return make()

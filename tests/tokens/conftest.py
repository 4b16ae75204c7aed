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
MakeChannelCache = Callable[..., ChannelCache]


@pytest.fixture
def ivs() -> SimulatedIvs:
    return SimulatedIvs()


@pytest.fixture
def make_channel_cache(store: Store, ivs: SimulatedIvs, clock: ManualClock) -> MakeChannelCache:
    """Makes the channel caches of one deployment's workers; leases run on the test's clock by default."""
    shared = ManualLeases(clock)

    def channel_cache(
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

    return channel_cache


@pytest.fixture
def channel_cache(make_channel_cache: MakeChannelCache) -> ChannelCache:
    return make_channel_cache()

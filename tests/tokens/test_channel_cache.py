"""The channel cache: one lookup for all requests that wait, within the deployment's rate limit."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests.support.clocks import ManualClock
from tests.support.simulated_ivs import SimulatedIvs
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import WAIT, MakeChannelCache
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import DUE_INTERVAL_SECONDS, RECHECK_SECONDS, ChannelCache


def test_an_unknown_channel_is_looked_up(channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store) -> None:
    ivs.add_channels([arn(1)])
    lookup, seconds = channel_cache.look_up(arn(1), "shop")
    assert not lookup.done()
    assert seconds == pytest.approx(WAIT)
    channel_cache.run_once()
    known = lookup.result(0)
    assert known is not None
    assert (known.playback_url, known.authorized) == (ivs.channels[arn(1)]["playbackUrl"], True)
    assert [row.playback_url for row in store.channels.get([arn(1)])] == [known.playback_url]


def test_a_lookup_wakes_the_background_task(make_channel_cache: MakeChannelCache) -> None:
    poked = threading.Event()
    channel_cache = make_channel_cache(wake=poked.set)
    channel_cache.look_up(arn(1), "shop")
    assert poked.is_set()


def test_concurrent_requests_share_one_lookup_and_one_call(channel_cache: ChannelCache, ivs: SimulatedIvs) -> None:
    ivs.add_channels([arn(1)])
    ready, lookups = threading.Barrier(8, timeout=30), []

    def look_up() -> None:
        ready.wait()
        lookups.append(channel_cache.look_up(arn(1), "shop")[0])

    threads = [threading.Thread(target=look_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel_cache.run_once()
    assert len({id(lookup) for lookup in lookups}) == 1
    assert ivs.requests_of("BatchGetChannel") == [{"arns": [arn(1)]}]


def test_all_requests_share_the_deadline_of_the_first(channel_cache: ChannelCache, clock: ManualClock) -> None:
    assert channel_cache.look_up(arn(1), "shop")[1] == pytest.approx(0.3)
    clock.advance(0.2)
    assert channel_cache.look_up(arn(1), "shop")[1] == pytest.approx(0.1)
    assert channel_cache.look_up(arn(2), "shop")[1] == pytest.approx(0.3), "another channel is another lookup"
    clock.advance(0.2)
    assert channel_cache.look_up(arn(1), "shop")[1] == 0
    clock.advance(60)
    assert channel_cache.look_up(arn(1), "shop")[1] == 0, "the lookup continues, and nobody waits again"


def test_a_channel_that_another_worker_looked_up_is_read_from_the_store(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs
) -> None:
    ivs.add_channels([arn(1)])
    one, other = make_channel_cache(), make_channel_cache()
    one.look_up(arn(1), "shop")
    one.run_once()
    lookup, _ = other.look_up(arn(1), "shop")
    other.run_once()
    assert lookup.result(0) is not None
    assert len(ivs.requests_of("BatchGetChannel")) == 1


def test_a_result_is_cached_until_every_refresh_has_read_it(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([arn(1)])
    channel_cache.look_up(arn(1), "shop")
    channel_cache.run_once()
    clock.advance(4)
    again, seconds = channel_cache.look_up(arn(1), "shop")
    assert (again.result(0) is not None, seconds) == (True, 0)
    assert len(ivs.requests_of("BatchGetChannel")) == 1


def test_a_call_requests_at_most_50_channels_and_all_lookups_complete(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    everyone = [arn(n) for n in range(120)]
    ivs.add_channels(everyone)
    lookups = [channel_cache.look_up(a, "shop")[0] for a in everyone]
    for _ in range(3):
        channel_cache.run_once()
        clock.advance(1)
    assert [len(request["arns"]) for request in ivs.requests_of("BatchGetChannel")] == [50, 50, 20]
    assert all(lookup.result(0) for lookup in lookups)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_whole_deployment_makes_one_call_a_second_per_region(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs, clock: ManualClock, workers: int
) -> None:
    directories = [make_channel_cache() for _ in range(workers)]
    called_at: list[float] = []
    number = 0
    for _ in range(100):
        for channel_cache in directories:
            number += 1
            channel_cache.look_up(arn(number), "shop")
            before = len(ivs.calls)
            channel_cache.run_once()
            called_at += [clock.now()] * (len(ivs.calls) - before)
        clock.advance(0.1)
    assert 9 <= len(called_at) <= 10
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(called_at))


def test_each_region_has_its_own_rate_limit(channel_cache: ChannelCache, ivs: SimulatedIvs) -> None:
    for region in ("us-east-1", "eu-west-1"):
        channel_cache.look_up(arn(1, region), "shop")
    channel_cache.run_once()
    assert [region for region, _, _ in ivs.calls] == ["us-east-1", "eu-west-1"]


def test_the_rate_limit_holds_with_leases_in_the_store(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs, store: Store
) -> None:
    """The test above, with the leases that production uses."""
    one, other = make_channel_cache(store.leases), make_channel_cache(store.leases)
    for number, channel_cache in enumerate((one, other, one, other)):
        channel_cache.look_up(arn(number), "shop")
        channel_cache.run_once()
    assert len(ivs.requests_of("BatchGetChannel")) == 1


def test_known_channels_are_rechecked_in_the_background(
    channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    ivs.add_channels([arn(1), arn(2)])
    for number in (1, 2):
        channel_cache.look_up(arn(number), "shop")
    channel_cache.run_once()
    clock.advance(RECHECK_SECONDS - 1)
    channel_cache.run_once()
    assert len(ivs.calls) == 1
    clock.advance(DUE_INTERVAL_SECONDS + 1)
    ivs.channels[arn(1)]["playbackUrl"] = "https://moved.test/a.m3u8"
    del ivs.channels[arn(2)]
    channel_cache.run_once()
    assert {row.arn: row.playback_url for row in store.channels.get([arn(1), arn(2)])} == {
        arn(1): "https://moved.test/a.m3u8",
        arn(2): None,
    }

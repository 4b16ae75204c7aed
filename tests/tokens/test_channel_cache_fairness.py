"""The channel cache while one caller requests more channels than all others: no caller delays another for long, and
invented channels take bounded memory and no rows."""

from __future__ import annotations

import contextlib
import math
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.leases import ManualLeases
from tests.support.refresh_worker import CountingWorker
from tests.support.simulated_ivs import SimulatedIvs, outage
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import MakeChannelCache
from tokensvc.deployment.versions import Position
from tokensvc.errors import ControlPlaneError
from tokensvc.storage.store import Store
from tokensvc.tokens import channel_cache as module
from tokensvc.tokens.channel_cache import (
    CHANNELS_PER_CALL,
    DUE_INTERVAL_SECONDS,
    NOT_FOUND_SECONDS,
    PENDING_MAX,
    PENDING_PER_CALLER_MAX,
    RECENT_MAX,
    RECHECK_SECONDS,
    RECHECKS_PER_CALL,
    ChannelCache,
)
from tokensvc.tokens.snapshot import KnownChannel

pytestmark = pytest.mark.slow

INVENTED = 12_000
NEW = arn(900_000)
"""Another caller's channel, made just now."""


def run_one_call(channel_cache: ChannelCache, clock: ManualClock) -> None:
    """Run for the time of one BatchGetChannel call."""
    channel_cache.run_once()
    clock.advance(1)


def has_url(lookup: Future[KnownChannel | None]) -> bool:
    known = lookup.result(0) if lookup.done() else None
    return known is not None and known.playback_url is not None


def test_another_callers_channel_is_in_the_next_call_during_a_flood(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([NEW])
    for number in range(INVENTED):
        channel_cache.look_up(arn(number), "flood")
    for number in range(20):
        run_one_call(channel_cache, clock)
        channel_cache.look_up(arn(INVENTED + number), "flood")
    lookup, _ = channel_cache.look_up(NEW, "shop")
    run_one_call(channel_cache, clock)
    assert has_url(lookup)


def test_it_is_looked_up_within_a_few_calls_when_every_worker_is_flooded(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([NEW])
    workers = [make_channel_cache() for _ in range(4)]
    for worker in workers:
        for number in range(INVENTED):
            worker.look_up(arn(number), "flood")
    lookup, _ = workers[-1].look_up(NEW, "shop")
    for number in range(2 * len(workers)):
        for worker in workers[number % 4 :] + workers[: number % 4]:  # the first of them makes the call
            worker.run_once()
        clock.advance(1)
    assert has_url(lookup)


def test_a_channel_that_another_caller_requested_first_is_looked_up_in_each_callers_turn(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """Otherwise a caller could delay others' channels by requesting them at the end of its own queue."""
    ivs.add_channels([NEW])
    for number in range(PENDING_PER_CALLER_MAX - 1):
        channel_cache.look_up(arn(number), "flood")
    first, _ = channel_cache.look_up(NEW, "flood")
    second, _ = channel_cache.look_up(NEW, "shop")
    assert first is second
    run_one_call(channel_cache, clock)
    assert has_url(second)


def test_every_caller_gets_one_channel_before_any_gets_two(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    callers = 120
    for caller in range(callers):
        for number in range(3):
            channel_cache.look_up(arn(1000 * caller + number), f"caller{caller}")
    calls = math.ceil(callers / CHANNELS_PER_CALL)
    for _ in range(calls):
        run_one_call(channel_cache, clock)
    requested = [a for request in ivs.requests_of("BatchGetChannel") for a in request["arns"]]
    assert {arn(1000 * caller) for caller in range(callers)} <= set(requested)
    assert len(requested) == calls * CHANNELS_PER_CALL, "no ARN of a call is left unused"


def test_a_callers_queue_is_bounded_and_further_requests_do_not_wait(channel_cache: ChannelCache) -> None:
    for number in range(PENDING_PER_CALLER_MAX):
        assert not channel_cache.look_up(arn(number), "flood")[0].done()
    lookup, seconds = channel_cache.look_up(arn(INVENTED), "flood")
    assert (lookup.result(0), seconds) == (None, 0)
    assert channel_cache.look_up(arn(5), "flood")[1] > 0, "earlier requests still wait"
    assert not channel_cache.look_up(arn(INVENTED), "shop")[0].done()


def test_when_all_queues_together_are_full_the_longest_drops_one(channel_cache: ChannelCache) -> None:
    callers = PENDING_MAX // PENDING_PER_CALLER_MAX
    lookups = [
        channel_cache.look_up(arn(1000 * caller + number), f"caller{caller}")[0]
        for caller in range(callers)
        for number in range(PENDING_PER_CALLER_MAX)
    ]
    assert not any(lookup.done() for lookup in lookups)
    new, _ = channel_cache.look_up(NEW, "shop")
    assert not new.done()
    [dropped] = [number for number, lookup in enumerate(lookups) if lookup.done()]
    assert dropped % PENDING_PER_CALLER_MAX == PENDING_PER_CALLER_MAX - 1, "the newest of a queue"
    assert lookups[dropped].result(0) is None
    assert len(channel_cache._pending) == PENDING_MAX
    refused, _ = channel_cache.look_up(arn(800_000), "caller1")
    assert refused.result(0) is None, "a full queue does not grow"


def test_known_channels_are_rechecked_during_a_flood(
    channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    known = [arn(700_000 + number) for number in range(30)]
    ivs.add_channels(known)
    for known_arn in known:
        channel_cache.look_up(known_arn, "shop")
    run_one_call(channel_cache, clock)
    for known_arn in known:
        ivs.channels[known_arn]["playbackUrl"] = "https://moved.test/a.m3u8"
    clock.advance(RECHECK_SECONDS)
    for number in range(PENDING_PER_CALLER_MAX):
        channel_cache.look_up(arn(number), "flood")
    before = len(ivs.calls)
    for _ in range(3):
        run_one_call(channel_cache, clock)
    assert {row.playback_url for row in store.channels.get(known)} == {"https://moved.test/a.m3u8"}
    for request in ivs.requests_of("BatchGetChannel")[before:]:
        assert len(request["arns"]) == CHANNELS_PER_CALL
        assert len(set(request["arns"]) & set(known)) == RECHECKS_PER_CALL


def test_unknown_channels_are_looked_up_while_thousands_of_rechecks_are_due(
    channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    known = [arn(700_000 + number) for number in range(2_000)]
    ivs.add_channels([*known, *(arn(number) for number in range(40))])
    for start in range(0, len(known), PENDING_PER_CALLER_MAX):
        for known_arn in known[start : start + PENDING_PER_CALLER_MAX]:
            channel_cache.look_up(known_arn, "shop")
        for _ in range(PENDING_PER_CALLER_MAX // CHANNELS_PER_CALL):
            run_one_call(channel_cache, clock)
    clock.advance(RECHECK_SECONDS)
    lookups = [channel_cache.look_up(arn(number), "shop")[0] for number in range(40)]
    run_one_call(channel_cache, clock)
    assert all(has_url(lookup) for lookup in lookups)
    assert len(ivs.requests_of("BatchGetChannel")[-1]["arns"]) == CHANNELS_PER_CALL, "rechecks fill the rest"


def test_two_workers_do_not_recheck_the_same_channel(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([arn(number) for number in range(20)])
    one, other = make_channel_cache(), make_channel_cache()
    for number in range(20):
        one.look_up(arn(number), "shop")
    run_one_call(one, clock)
    clock.advance(RECHECK_SECONDS)
    other._read_due()
    run_one_call(one, clock)
    run_one_call(other, clock)
    assert [len(request["arns"]) for request in ivs.requests_of("BatchGetChannel")] == [20, 20]


def test_rechecks_of_a_region_that_is_down_do_not_displace_others(
    channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DUE_MAX", 10)
    here = [arn(number, "eu-west-1") for number in range(5)]
    down = [arn(number) for number in range(20)]
    ivs.add_channels([*here, *down])
    for known in (down, here):  # those of the region that is down are due longest
        for known_arn in known:
            channel_cache.look_up(known_arn, "shop")
        run_one_call(channel_cache, clock)
    clock.advance(RECHECK_SECONDS)
    ivs.errors["us-east-1"] = outage()
    ivs.calls.clear()
    for _ in range(int(3 * DUE_INTERVAL_SECONDS)):
        with contextlib.suppress(ControlPlaneError):
            run_one_call(channel_cache, clock)
    assert {a for region, _, request in ivs.calls if region == "eu-west-1" for a in request["arns"]} == set(here)


def test_invented_channels_leave_no_rows_and_do_not_fill_snapshots(
    migrated: Path, tmp_path: Path, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """A flood of four minutes, during which IVS is asked about invented channels."""
    deployment = InMemoryDeployment(migrated, tmp_path / "keys")
    store = deployment.store
    clock.wall = store.versions.read().now
    worker = CountingWorker(deployment, clock)
    channel_cache = ChannelCache(
        store=store.channels,
        leases=ManualLeases(clock),
        control_plane=ivs,
        clock=clock,
        lookup_timeout_seconds=0.3,
        calls_per_second=1,
    )
    ivs.add_channels([NEW])
    channel_cache.look_up(NEW, "shop")
    for second in range(INVENTED // CHANNELS_PER_CALL):
        for number in range(60):
            channel_cache.look_up(arn(60 * second + number), "flood")
        run_one_call(channel_cache, clock)
        assert len(channel_cache._recent) <= CHANNELS_PER_CALL * (NOT_FOUND_SECONDS + 1) <= RECENT_MAX
        assert len(channel_cache._pending) <= PENDING_PER_CALLER_MAX
    worker.refresh.run_once()
    assert list(worker.refresh.current.channels) == [NEW]
    assert [row.arn for row in store.channels.changed_since(Position(), 10).rows] == [NEW]
    assert store.versions.read().channels.number == 1, "no worker reads anything because of it"


def test_the_cache_of_absent_channels_is_bounded_at_any_rate(store: Store, clock: ManualClock) -> None:
    ivs = SimulatedIvs()
    channel_cache = ChannelCache(
        store=store.channels,
        leases=ManualLeases(clock),
        control_plane=ivs,
        clock=clock,
        lookup_timeout_seconds=0.3,
        calls_per_second=1000,
    )
    for number in range(RECENT_MAX + 500):
        channel_cache.look_up(arn(number), "flood")
        if number % CHANNELS_PER_CALL == 0:
            channel_cache.run_once()
            clock.advance(0.001)
    assert len(channel_cache._recent) <= RECENT_MAX


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 30), st.integers(0, 4), st.sampled_from(["us-east-1", "eu-west-1"])),
            st.sampled_from(["run_one_call", "outage"]),
        ),
        max_size=80,
    )
)
def test_every_lookup_completes_and_all_queues_become_empty(
    store: Store, monkeypatch: pytest.MonkeyPatch, events: list[tuple[int, int, str] | str]
) -> None:
    with monkeypatch.context() as patched:
        for name, bound in {"PENDING_MAX": 12, "PENDING_PER_CALLER_MAX": 5, "CHANNELS_PER_CALL": 3}.items():
            patched.setattr(module, name, bound)
        clock, ivs = ManualClock(), SimulatedIvs()
        ivs.add_channels(arn(number, region) for number in range(0, 30, 2) for region in ("us-east-1", "eu-west-1"))
        channel_cache = ChannelCache(
            store=store.channels,
            leases=ManualLeases(clock),
            control_plane=ivs,
            clock=clock,
            lookup_timeout_seconds=0.3,
            calls_per_second=1,
        )
        lookups = []
        for event in events:
            if isinstance(event, tuple):
                number, caller, region = event
                lookups.append(channel_cache.look_up(arn(number, region), f"caller{caller}")[0])
                sizes = [queues.size for queues in channel_cache._queues.values()]
                assert sum(sizes) == sum(len(lookup.callers) for lookup in channel_cache._pending.values()) <= 12
            else:
                ivs.losses = {"BatchGetChannel": "before"} if event == "outage" else {}
                with contextlib.suppress(ControlPlaneError):
                    run_one_call(channel_cache, clock)
        for _ in range(20):
            with contextlib.suppress(ControlPlaneError):
                run_one_call(channel_cache, clock)
        assert all(lookup.done() for lookup in lookups)
        assert not channel_cache._pending
        assert not any(queues.by_caller or queues.size for queues in channel_cache._queues.values())

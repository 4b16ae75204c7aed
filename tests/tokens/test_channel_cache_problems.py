"""The channel cache when IVS or the store does not respond, or does not know the channel."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future

import pytest
from structlog.testing import capture_logs

from tests.support.clocks import ManualClock
from tests.support.simulated_ivs import SimulatedIvs, outage, throttle
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import WAIT, MakeChannelCache
from tokensvc.errors import ControlPlaneError, ControlPlaneThrottled, ControlPlaneUnavailable, StoreUnavailable
from tokensvc.runner import IDLE
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import DUE_INTERVAL_SECONDS, NOT_FOUND_SECONDS, RECHECK_SECONDS, ChannelCache
from tokensvc.tokens.channels import ChannelStore
from tokensvc.tokens.snapshot import KnownChannel


@pytest.mark.parametrize("failure", [throttle(), outage()], ids=["a throttle", "an outage"])
def test_without_a_response_of_ivs_lookups_complete_empty_and_nobody_waits_again(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock, failure: ControlPlaneError
) -> None:
    ivs.add_channels([arn(1)])
    ivs.errors["BatchGetChannel"] = failure
    lookup, _ = channel_cache.look_up(arn(1), "shop")
    with pytest.raises((ControlPlaneThrottled, ControlPlaneUnavailable)):
        channel_cache.run_once()
    assert lookup.result(0) is None
    for _ in range(4):
        again, seconds = channel_cache.look_up(arn(1), "shop")
        assert (again.result(0), seconds) == (None, 0)
        clock.advance(1)
    clock.advance(2)
    ivs.errors.clear()
    later, seconds = channel_cache.look_up(arn(1), "shop")
    assert seconds == pytest.approx(WAIT)
    channel_cache.run_once()
    assert later.result(0) is not None


def test_a_failing_region_does_not_delay_others(channel_cache: ChannelCache, ivs: SimulatedIvs) -> None:
    ivs.add_channels([arn(2, "eu-west-1"), arn(3, "us-west-2")])
    ivs.errors["us-east-1"] = outage()
    down, fine, too = (channel_cache.look_up(a, "shop")[0] for a in (arn(1), arn(2, "eu-west-1"), arn(3, "us-west-2")))
    with pytest.raises(ControlPlaneUnavailable):
        channel_cache.run_once()
    assert down.result(0) is None
    assert fine.result(0) is not None
    assert too.result(0) is not None


def test_the_absence_of_a_channel_is_cached_for_a_minute(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    lookup, _ = channel_cache.look_up(arn(1), "shop")
    channel_cache.run_once()
    absent = lookup.result(0)
    assert absent is not None
    assert absent.playback_url is None
    assert channel_cache.is_current(absent)
    clock.advance(NOT_FOUND_SECONDS - 0.1)
    assert channel_cache.is_current(absent)
    clock.advance(0.1)
    assert not channel_cache.is_current(absent), "the channel may have been created in the meantime"
    ivs.add_channels([arn(1)])
    again, seconds = channel_cache.look_up(arn(1), "shop")
    assert seconds == pytest.approx(WAIT)
    channel_cache.run_once()
    found = again.result(0)
    assert found is not None
    assert found.playback_url is not None
    assert channel_cache.is_current(found)


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "404"])
def test_both_forms_of_a_missing_channel_are_recognized(
    channel_cache: ChannelCache, ivs: SimulatedIvs, code: str
) -> None:
    ivs.absent_code = code
    lookup, _ = channel_cache.look_up(arn(1), "shop")
    channel_cache.run_once()
    assert lookup.result(0) is not None


def test_any_other_error_of_a_channel_does_not_mean_absence(
    channel_cache: ChannelCache, ivs: SimulatedIvs, store: Store
) -> None:
    """Otherwise tokens for an existing channel would be refused with 404."""
    ivs.absent_code = "AccessDeniedException"
    lookup, _ = channel_cache.look_up(arn(1), "shop")
    with capture_logs() as lines:
        channel_cache.run_once()
    assert lookup.result(0) is None
    assert not store.channels.get([arn(1)])
    assert [line["code"] for line in lines] == ["AccessDeniedException"]


def test_an_outdated_absence_in_the_store_is_not_used(
    make_channel_cache: MakeChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    one, other = make_channel_cache(), make_channel_cache()
    ivs.add_channels([arn(1)])
    one.look_up(arn(1), "shop")
    one.run_once()
    del ivs.channels[arn(1)]
    clock.advance(RECHECK_SECONDS + 1)
    one.run_once()
    clock.advance(NOT_FOUND_SECONDS)
    ivs.add_channels([arn(1)])
    lookup, _ = other.look_up(arn(1), "shop")
    other.run_once()
    known = lookup.result(0)
    assert known is not None
    assert known.playback_url is not None


class UnavailableChannelStore:
    """A channel store that can be made unavailable."""

    def __init__(self, channels: ChannelStore) -> None:
        self.channels = channels
        self.away = False

    def __getattr__(self, name: str) -> object:
        if self.away:
            raise StoreUnavailable("the store cannot be reached")
        return getattr(self.channels, name)


def test_without_a_store_nobody_waits_twice_and_lookups_work_when_it_is_back(
    make_channel_cache: MakeChannelCache, store: Store, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    channels = UnavailableChannelStore(store.channels)
    channel_cache = make_channel_cache(channels=channels)
    ivs.add_channels([arn(1)])
    channels.away = True
    lookup, _ = channel_cache.look_up(arn(1), "shop")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            channel_cache.run_once()
        clock.advance(1)
        assert channel_cache.look_up(arn(1), "shop") == (lookup, 0)
    channels.away = False
    channel_cache.run_once()
    assert lookup.result(0) is not None


def test_every_lookup_completes(channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock) -> None:
    """Many threads make requests while IVS succeeds, returns errors and fails: in the end every lookup is complete."""
    ivs.add_channels(arn(n) for n in range(0, 300, 2))
    lookups: list[Future[KnownChannel | None]] = []
    finished = threading.Event()

    def look_up() -> None:
        lookups.extend(channel_cache.look_up(arn(number), "shop")[0] for number in range(300))
        finished.set()

    thread = threading.Thread(target=look_up)
    thread.start()
    turn = 0
    while not finished.is_set() or not all(lookup.done() for lookup in lookups):
        turn += 1
        assert turn < 100_000
        ivs.losses = {"BatchGetChannel": "after"} if turn % 5 == 0 else {}
        with contextlib.suppress(ControlPlaneUnavailable):
            channel_cache.run_once()
        clock.advance(1)
    thread.join()
    assert len(lookups) == 300
    assert all(len(request["arns"]) <= 50 for request in ivs.requests_of("BatchGetChannel"))


def test_an_outage_of_ivs_ends_with_a_successful_call_and_not_with_an_idle_run(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """Otherwise the log would report the end of an ongoing outage, and its start again at the next call."""
    ivs.add_channels([arn(1), arn(2)])
    ivs.errors["BatchGetChannel"] = outage()
    channel_cache.look_up(arn(1), "shop")
    with pytest.raises(ControlPlaneUnavailable):
        channel_cache.run_once()
    clock.advance(DUE_INTERVAL_SECONDS + 1)
    assert channel_cache.run_once() is IDLE, "the store was read, and IVS was not asked"
    ivs.errors.clear()
    channel_cache.look_up(arn(2), "shop")
    assert channel_cache.run_once() is None
    assert channel_cache.run_once() is IDLE


@pytest.mark.slow
def test_a_channel_error_of_ivs_is_logged_once_a_minute(
    channel_cache: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.absent_code = "AccessDeniedException"
    with capture_logs() as lines:
        for number in range(120):
            channel_cache.look_up(arn(number), "shop")
            channel_cache.run_once()
            clock.advance(1)
    assert len(lines) == 2

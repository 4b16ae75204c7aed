"""The channel directory when IVS or the store does not answer, or does not know."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future

import pytest
from structlog.testing import capture_logs

from tests.support.clocks import ManualClock
from tests.support.simulated_ivs import SimulatedIvs, outage, throttle
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import WAIT, Make
from tokensvc.errors import ControlPlaneError, ControlPlaneThrottled, ControlPlaneUnavailable, StoreUnavailable
from tokensvc.runner import IDLE
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import DUE_INTERVAL_SECONDS, NOT_FOUND_SECONDS, RECHECK_SECONDS, ChannelCache
from tokensvc.tokens.channels import ChannelStore
from tokensvc.tokens.snapshot import KnownChannel


@pytest.mark.parametrize("failure", [throttle(), outage()], ids=["a throttle", "an outage"])
def test_when_ivs_gives_no_answer_nobody_gets_one_and_nobody_waits_again(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock, failure: ControlPlaneError
) -> None:
    ivs.add_channels([arn(1)])
    ivs.refuse["BatchGetChannel"] = failure
    question, _ = directory.look_up(arn(1), "shop")
    with pytest.raises((ControlPlaneThrottled, ControlPlaneUnavailable)):
        directory.run_once()
    assert question.result(0) is None
    for _ in range(4):
        again, seconds = directory.look_up(arn(1), "shop")
        assert (again.result(0), seconds) == (None, 0)
        clock.advance(1)
    clock.advance(2)
    ivs.refuse.clear()
    later, seconds = directory.look_up(arn(1), "shop")
    assert seconds == pytest.approx(WAIT)
    directory.run_once()
    assert later.result(0) is not None


def test_trouble_in_one_region_keeps_no_other_waiting(directory: ChannelCache, ivs: SimulatedIvs) -> None:
    ivs.add_channels([arn(2, "eu-west-1"), arn(3, "us-west-2")])
    ivs.refuse["us-east-1"] = outage()
    down, fine, too = (directory.look_up(a, "shop")[0] for a in (arn(1), arn(2, "eu-west-1"), arn(3, "us-west-2")))
    with pytest.raises(ControlPlaneUnavailable):
        directory.run_once()
    assert down.result(0) is None
    assert fine.result(0) is not None
    assert too.result(0) is not None


def test_a_channel_that_ivs_does_not_know_is_unknown_for_a_minute(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    question, _ = directory.look_up(arn(1), "shop")
    directory.run_once()
    absent = question.result(0)
    assert absent is not None
    assert absent.playback_url is None
    assert directory.is_current(absent)
    clock.advance(NOT_FOUND_SECONDS - 0.1)
    assert directory.is_current(absent)
    clock.advance(0.1)
    assert not directory.is_current(absent), "it may have been made meanwhile"
    ivs.add_channels([arn(1)])
    again, seconds = directory.look_up(arn(1), "shop")
    assert seconds == pytest.approx(WAIT)
    directory.run_once()
    found = again.result(0)
    assert found is not None
    assert found.playback_url is not None
    assert directory.is_current(found)


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "404"])
def test_both_spellings_of_absence_are_understood(directory: ChannelCache, ivs: SimulatedIvs, code: str) -> None:
    ivs.absent_code = code
    question, _ = directory.look_up(arn(1), "shop")
    directory.run_once()
    assert question.result(0) is not None


def test_any_other_error_of_a_channel_is_no_absence(directory: ChannelCache, ivs: SimulatedIvs, store: Store) -> None:
    """Calling it 404 would refuse tokens for a channel that is there."""
    ivs.absent_code = "AccessDeniedException"
    question, _ = directory.look_up(arn(1), "shop")
    with capture_logs() as lines:
        directory.run_once()
    assert question.result(0) is None
    assert not store.channels.get([arn(1)])
    assert [line["code"] for line in lines] == ["AccessDeniedException"]


def test_an_old_absence_in_the_store_answers_nobody(make: Make, ivs: SimulatedIvs, clock: ManualClock) -> None:
    one, other = make(), make()
    ivs.add_channels([arn(1)])
    one.look_up(arn(1), "shop")
    one.run_once()
    del ivs.channels[arn(1)]
    clock.advance(RECHECK_SECONDS + 1)
    one.run_once()
    clock.advance(NOT_FOUND_SECONDS)
    ivs.add_channels([arn(1)])
    question, _ = other.look_up(arn(1), "shop")
    other.run_once()
    known = question.result(0)
    assert known is not None
    assert known.playback_url is not None


class AwayStore:
    """A channel store that does not answer while it is away."""

    def __init__(self, channels: ChannelStore) -> None:
        self.channels = channels
        self.away = False

    def __getattr__(self, name: str) -> object:
        if self.away:
            raise StoreUnavailable("the store cannot be reached")
        return getattr(self.channels, name)


def test_without_a_store_nobody_waits_twice_and_it_is_found_when_it_is_back(
    make: Make, store: Store, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    channels = AwayStore(store.channels)
    directory = make(channels=channels)
    ivs.add_channels([arn(1)])
    channels.away = True
    question, _ = directory.look_up(arn(1), "shop")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            directory.run_once()
        clock.advance(1)
        assert directory.look_up(arn(1), "shop") == (question, 0)
    channels.away = False
    directory.run_once()
    assert question.result(0) is not None


def test_no_question_is_ever_left_open(directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock) -> None:
    """Many ask while answers, refusals and outages come: in the end each has its answer."""
    ivs.add_channels(arn(n) for n in range(0, 300, 2))
    questions: list[Future[KnownChannel | None]] = []
    finished = threading.Event()

    def ask() -> None:
        questions.extend(directory.look_up(arn(number), "shop")[0] for number in range(300))
        finished.set()

    thread = threading.Thread(target=ask)
    thread.start()
    turn = 0
    while not finished.is_set() or not all(question.done() for question in questions):
        turn += 1
        assert turn < 100_000
        ivs.lose = {"BatchGetChannel": "after"} if turn % 5 == 0 else {}
        with contextlib.suppress(ControlPlaneUnavailable):
            directory.run_once()
        clock.advance(1)
    thread.join()
    assert len(questions) == 300
    assert all(len(request["arns"]) <= 50 for request in ivs.asked("BatchGetChannel"))


def test_an_outage_of_ivs_is_over_when_a_call_succeeds_and_not_by_a_run_without_one(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """The loop's log would report the end of an outage that lasts, and its start again at the next call."""
    ivs.add_channels([arn(1), arn(2)])
    ivs.refuse["BatchGetChannel"] = outage()
    directory.look_up(arn(1), "shop")
    with pytest.raises(ControlPlaneUnavailable):
        directory.run_once()
    clock.advance(DUE_INTERVAL_SECONDS + 1)
    assert directory.run_once() is IDLE, "the store was read, and IVS was not asked"
    ivs.refuse.clear()
    directory.look_up(arn(2), "shop")
    assert directory.run_once() is None
    assert directory.run_once() is IDLE


def test_a_channel_that_ivs_does_not_describe_is_logged_once_a_minute(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.absent_code = "AccessDeniedException"
    with capture_logs() as lines:
        for number in range(120):
            directory.look_up(arn(number), "shop")
            directory.run_once()
            clock.advance(1)
    assert len(lines) == 2
